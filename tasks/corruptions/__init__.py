"""Common corruptions (Hendrycks and Dietterich, arXiv:1903.12261): `tables` says how strong, `corrupt` does it.

The 14 of the 15 that need no photographs, and a computed frost under a name of its own. Importing this loads nothing.
"""
