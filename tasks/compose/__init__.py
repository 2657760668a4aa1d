"""Pictures out of parts: objects cut out by masks, backgrounds without their object, things placed and pasted.

| module | gives | on |
|---|---|---|
| `cut` | `object_masks`, `box_masks`, `rejected`; `filled`, `tiled`, `pasted` | NumPy, uint8 or float |
| `place` | `Placement`, drawn per image; `placed`, `blended` | torch, with gradients |
"""
