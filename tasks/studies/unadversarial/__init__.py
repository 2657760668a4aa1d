"""Unadversarial examples (arXiv:2012.12235): patches that help a network see."""
