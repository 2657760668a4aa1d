"""One's own code by name: `my_pkg.my_mod:function`."""

from __future__ import annotations

import dataclasses
import importlib
import re
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from robustray.tasks.data.arrays import plain_array
from robustray.tasks.data.files import first_line
from robustray.tasks.data.images import ImageData, checked
from robustray.tasks.errors import InputError

_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def looks_like_own(text: str) -> bool:
    """Whether `text` has the form `module:function` or `package.module:function`."""
    return _NAME.fullmatch(text) is not None


def load_function(text: str) -> Callable[..., Any]:
    """The function behind `my_pkg.my_mod:function`.

    Raises: InputError when there is no such module, it fails while it is imported, or has no such function.
    """
    module_name, _, function_name = text.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # the module is the user's: whatever it raises is theirs to read
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and (module_name + ".").startswith(missing + "."):
            where = "the current folder and the installed packages" if sys.path[:1] in ([""], ["."]) else "sys.path"
            raise InputError(f"{text}: there is no module {missing!r} in {where}") from error
        raise InputError(f"{text}: importing {module_name} fails: {describe(error)}") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        known = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        from robustray.tasks.words import nearest

        raise InputError(f"{module_name} has no function {function_name!r}{nearest(function_name, known)}")
    return function


def describe(error: BaseException) -> str:
    """One line: kind, message and the place in the user's file."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {first_line(error)}{place}"


@dataclass(frozen=True, kw_only=True)
class OwnSource:
    """A function without arguments that returns `ImageData`, `(images, labels)` or `(images, labels, classes)`.

    Images are NCHW, uint8 or floats in [0, 1] of any width; labels whole numbers; both arrays, tensors or lists.
    Without class names they are "0", "1", ...
    """

    function: str

    @property
    def modules(self) -> tuple[str, ...]:
        return (self.function.partition(":")[0],)

    def fingerprint(self) -> None:
        """What a function returns is not known before it is called."""

    def fetch(self, name: str) -> ImageData:
        """Raises: InputError when the function fails or returns something else."""
        return dataclasses.replace(self._data, name=name)

    @cached_property
    def _data(self) -> ImageData:
        # Kept with this object: the function may be slow, or draw other images when it is called again, and then
        # the hash would belong to pixels that no one sees.
        function = load_function(self.function)
        try:
            result = function()
        except (Exception, SystemExit) as error:
            raise InputError(f"{self.function} raised {describe(error)}") from error
        return checked(_as_image_data(self.function, result))

    def __getstate__(self) -> dict[str, Any]:
        return {"function": self.function}  # references travel without their pixels


def _as_image_data(name: str, result: Any) -> ImageData:
    if isinstance(result, ImageData):
        return result
    if not isinstance(result, tuple) or len(result) not in (2, 3):
        raise InputError(
            f"{name} returned {type(result).__name__}, expected ImageData, (images, labels) "
            "or (images, labels, classes)"
        )
    images, labels = plain_array(result[0], f"{name}: images"), plain_array(result[1], f"{name}: labels")
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise InputError(f"{name}: labels are {labels.dtype} {labels.shape}, expected whole numbers of shape (n,)")
    labels = labels.astype(np.int64)  # before anything is reckoned with them: of uint8, -1 is an overflow
    if len(result) == 3:
        if isinstance(result[2], str) or not isinstance(result[2], Iterable):
            raise InputError(f"{name}: class names are {result[2]!r}, expected a list of them")
        classes = tuple(str(each) for each in result[2])
    else:
        classes = tuple(str(label) for label in range(int(labels.max(initial=-1)) + 1))
    return ImageData(name=name, images=np.ascontiguousarray(images), labels=labels, classes=classes)
