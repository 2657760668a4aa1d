"""Grids: many settings of one study, or many agents, as one table (docs/grids.md)."""
