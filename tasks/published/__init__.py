"""Published figures, each table once: what studies stand beside. One module per source.

Only figures that are quoted with their scale and source leave this room, as `PaperFigure`s.
"""
