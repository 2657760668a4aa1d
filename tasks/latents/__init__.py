"""What networks make of images before their last layer: cached latents, a head on them, and networks as judges.

`cache.latents` asks a lab for the latents of (model, data); every study that asks hits the same pieces. Importing this
loads nothing.
"""
