"""imagecorruptions-imaug with the parameters of either table: the peer that corruptions are checked and timed against.

Its functions are called as they are; only the line in which each chooses its parameters by severity, those of
ImageNet-C, is replaced. Two differ from the generators of both benchmarks, and are the generators' own unless they are
timed (`own`): the zoom of snow, which cuts off what is too much on all sides, not at the lower right; and
elastic_transform, of which the package has a simpler one, put together here from scikit-image, SciPy and OpenCV.

Needs the environment of `benchmarks/peers_corruptions.txt`.
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.corruptions.tables import CORRUPTIONS, PARAMETERS, Table

Peer = Callable[[Any, int], Any]


def peer(name: str, table: Table, severity: int, *, own: bool = False) -> Callable[[NDArray[np.uint8]], NDArray[Any]]:
    """A function from an image (height, width, 3) uint8 to a corrupted one in [0, 1], float64.

    own: the package's function even where its definition is another one (for timing).
    """
    from PIL import Image

    function = _function(name, table, severity, own)
    return lambda image: np.asarray(function(Image.fromarray(image), severity), dtype=np.float64) / 255


@functools.cache
def _function(name: str, table: Table, severity: int, own: bool) -> Peer:
    from imagecorruptions import corruptions

    assert name in CORRUPTIONS
    chosen = _as_it_wants(name, PARAMETERS[name][table][severity - 1])
    if name == "elastic-transform" and not own:
        return functools.partial(_elastic, chosen)
    # the package's own elastic_transform has other parameters: as they are
    function = getattr(corruptions, name.replace("-", "_"))
    if name == "elastic-transform":
        return function
    scope = {**vars(corruptions), "CHOSEN": chosen}
    if not own:
        scope["clipped_zoom"] = _zoomed
    exec(_rewritten(function), scope)
    return scope[function.__name__]


class _Chosen(ast.NodeTransformer):
    """`c = [...][severity - 1]` becomes `c = CHOSEN`."""

    def visit_Assign(self, node: ast.Assign) -> ast.Assign:
        if ast.unparse(node.targets[0]) == "c":
            node.value = ast.Name("CHOSEN", ast.Load())
        return node


def _rewritten(function: Callable[..., Any]) -> Any:
    tree = _Chosen().visit(ast.parse(textwrap.dedent(inspect.getsource(function))))
    return compile(ast.fix_missing_locations(tree), "<imagecorruptions>", "exec")


def _as_it_wants(name: str, parameters: tuple[float, ...]) -> Any:
    """A number by itself, whole ones as int, and zoom's factors one by one."""
    if name == "zoom-blur":
        return np.arange(1, *parameters)
    whole = tuple(int(value) if value == int(value) else value for value in parameters)
    return whole[0] if len(whole) == 1 else whole


def _zoomed(image: NDArray[Any], factor: float) -> NDArray[Any]:
    from scipy.ndimage import zoom

    height, width = image.shape[:2]
    kept = [int(np.ceil(side / factor)) for side in (height, width)]
    top, left = (height - kept[0]) // 2, (width - kept[1]) // 2
    large = zoom(image[top : top + kept[0], left : left + kept[1]], (factor, factor, 1), order=1)
    top, left = (large.shape[0] - height) // 2, (large.shape[1] - width) // 2
    return large[top : top + height, left : left + width]


def _elastic(parameters: tuple[float, float, float], image: Any, severity: int) -> NDArray[Any]:
    """Hendrycks and Dietterich's: three points move at random, then every pixel by smooth noise."""
    import cv2
    from scipy.ndimage import map_coordinates
    from skimage.filters import gaussian

    alpha, sigma, reach = parameters
    pixels: NDArray[Any] = np.asarray(image, dtype=np.float32) / 255
    height, width = pixels.shape[:2]
    middle, apart = np.asarray((height, width), np.float32) // 2, min(height, width) // 3
    old = np.asarray([middle + apart, [middle[0] + apart, middle[1] - apart], middle - apart], np.float32)
    new = old + np.random.uniform(-reach, reach, old.shape).astype(np.float32)
    pixels = cv2.warpAffine(
        pixels, cv2.getAffineTransform(old, new), (width, height), borderMode=cv2.BORDER_REFLECT_101
    )
    moves = [
        gaussian(np.random.uniform(-1, 1, (height, width)), sigma, mode="reflect", truncate=3) * alpha for _ in range(2)
    ]
    rows, columns = np.mgrid[:height, :width]
    place = [rows + moves[1], columns + moves[0]]
    channels = [map_coordinates(pixels[..., k], place, order=1, mode="reflect") for k in range(3)]
    return np.clip(np.stack(channels, axis=-1), 0, 1) * 255
