"""Images with labels, by name: `open_data("cifar10:test", data_root=...)` gives a reference the lab can ship."""

from robustray.tasks.data.images import ImageData
from robustray.tasks.data.reference import DataRef, open_data

__all__ = ["DataRef", "ImageData", "open_data"]
