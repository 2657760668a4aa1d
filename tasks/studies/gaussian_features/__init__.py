"""Robust maximum likelihood of two Gaussians (arXiv:1905.02175, section 4)."""
