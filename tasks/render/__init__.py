"""Textured solids seen by cameras: one renderer designs, another judges.

| module | gives | on |
|---|---|---|
| `meshes` | `Mesh`: triangles with a flat unfolding (UV); `normalised` | NumPy |
| `obj` | `read_obj`, `obj_text` | text files |
| `solids`, `parts` | a car, an airplane and a ship from blocks and tubes, unfolded | NumPy |
| `cameras` | `Views`, drawn by index; `Light` | torch |
| `raster` | `rasterise`, `textured`: the renderer that designs, differentiable by the texture | torch, anywhere |
| `simulator` | `Stage`: the renderer that judges | MuJoCo, needs OpenGL |
| `weather` | fog, dust, rain, snow and dusk from colours and depth | torch |
"""
