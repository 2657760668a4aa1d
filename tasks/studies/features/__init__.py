"""Adversarial examples are features (arXiv:1905.02175)."""
