"""Noise or signal: how much of an image classifier's answer comes from the background (arXiv:2006.09994)."""
