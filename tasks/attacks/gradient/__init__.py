"""A model as attacks see it: one gradient for the pixels, from a faster copy where that copy is proven equal."""
