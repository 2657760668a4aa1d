"""Answers of crowds: tables checked at the door, thinning, and what answers say together. No model, no image."""
