"""One optimiser of inputs, two drivers.

`items.ascend` moves every image on its own (inversion, generation, inpainting); `shared.SharedParameter` is one
parameter that many images carry (a universal perturbation, a patch, a texture), and `joint.JointParameter` moves the
model's weights along with it. All take the objectives, directions
and balls of `robustray.tasks.attacks`, and their settings are in `settings`. Importing this loads nothing.
"""
