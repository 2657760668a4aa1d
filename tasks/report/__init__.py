"""What a run shows: the page, the terminal's view, the progress. Nothing here computes a result."""
