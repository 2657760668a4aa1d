"""The lab: what a study may ask for, and the bookkeeping that keeps every finished piece."""

from robustray.tasks.lab.protocol import BlockFunction, Context, Handle, Lab, Needs, Reference, Tensor, block_function

__all__ = ["BlockFunction", "Context", "Handle", "Lab", "Needs", "Reference", "Tensor", "block_function"]
