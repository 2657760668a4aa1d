"""Random edits of the tree, and a tiny run that tells what each of them did. See `benchmarks/stale_code.py`."""
