"""A landing pad: a camera flies down to it, led by a network that sees where the pad is (after arXiv:2012.12235).

| module | gives | on |
|---|---|---|
| `settings` | `Flight`: heights, steps, what counts as landed | nothing heavy |
| `scenes` | `Scenes`, drawn by index; `drawn`: what the camera sees, differentiable by the pad | torch, anywhere |
| `environment` | `LandingPad`, a Gymnasium environment; `Site`, its renderer | MuJoCo, needs OpenGL |
| `regressor` | `PadNet`, its training, and pads designed for it | torch, anywhere |
| `flights` | whole flights with one pad, by episode | MuJoCo, needs OpenGL |
"""
