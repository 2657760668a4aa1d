"""Answers of crowds: tables that are checked when they are read, thinning, and what answers say together. There are no
models or images here."""
