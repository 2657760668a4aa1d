"""Common corruptions (Hendrycks and Dietterich, arXiv:1903.12261): `tables` says how strong, `corrupt` does it.

Three of the fifteen are here: Gaussian noise, brightness and contrast. Importing this loads nothing.
"""
