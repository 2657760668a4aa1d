"""Foregrounds on many backgrounds: composed on the device in batches, answered and forgotten (paper, section 4).

A composition is a foreground, by its mask, on the tiled background of another image. |foregrounds| x |backgrounds| of
them are never stored: a block of foregrounds sees the backgrounds in batches, each of which is brought to the device
once for the whole block. One foreground after the other is put on it in the same memory: only the rows that the last
one covered, and the part that this one covers, are written.

Answers are found with a fast copy of the network (batch norm folded, in bf16 where the hardware has it). What the copy
can't tell beyond doubt is asked of the network itself, in fp32: how far the copy's logits are off is measured on the
first batch of every block, and an answer whose lead is not several times that is asked again, together with others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from robustray.tasks.attacks.gradient.folding import fast_copy
from robustray.tasks.attacks.gradient.verdicts import FrozenModel, predict_logits
from robustray.tasks.attacks.precision import Arithmetic
from robustray.tasks.errors import InputError
from robustray.tasks.kit.memory import keep_freed_memory
from robustray.tasks.lab.protocol import Context, block_function
from robustray.tasks.lab.protocol import Tensor as Column
from robustray.tasks.studies.backgrounds import in9

if TYPE_CHECKING:
    from robustray.tasks.attacks.gradient.refusals import Model
    from robustray.tasks.data.images import ImageData

SAFETY = 2.0
"""An answer of the copy stands if its lead is more than this many times the most that any difference of two of the
copy's logits was off."""
CALIBRATION = 128
"""Compositions on which the copy is compared with the network, in every block."""
NONE = -1
"""No background has fooled the network."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What a foreground is put on, and how answers are found."""

    backgrounds: tuple[int, ...]
    """Images whose tiled backgrounds are used, in this order."""
    batch_size: int = 128
    precision: Arithmetic = "fp32"
    """Of the search; no answer depends on it."""
    looked_up: bool = False
    """Answers are ImageNet's classes, to be read as one of nine."""


class Answerer:
    """Answers of a network, found with its fast copy where it has one. A context, like `FrozenModel`."""

    def __init__(self, model: Model, shape: torch.Size, precision: Arithmetic) -> None:
        """shape: (channels, height, width) of an image."""
        self._model, self._precision, self._shape = model, precision, shape
        self._view = FrozenModel(model)
        self._copy: nn.Module | None = None
        self._doubt: float | None = None
        self.num_asked_again = 0
        """Compositions that the copy could not answer beyond doubt."""

    def __enter__(self) -> Answerer:
        self._view.__enter__()
        keep_freed_memory()
        if isinstance(self._model, nn.Module):
            self._copy = fast_copy(self._model, self._shape).module
        return self

    def __exit__(self, *error: Any) -> None:
        self._view.__exit__(*error)

    def __call__(self, images: Tensor) -> Tensor:
        """(batch,): the answer to each image (batch, channels, height, width), that of the network in fp32."""
        answers, open_ = self.guess(images)
        if open_.any():
            answers[open_] = self.again(images[open_])
        return answers

    def guess(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(batch,) each: answers, and whether they are in doubt; what is not is the network's answer in fp32."""
        if self._copy is not None and self._doubt is None:
            self._doubt = self._error(images[:CALIBRATION])
        if self._copy is None or self._doubt is None:
            answers = self._exact(images)
            return answers, torch.zeros_like(answers, dtype=torch.bool)
        best = self._search(images).topk(2, dim=1)
        return best.indices[:, 0].clone(), (best.values[:, 0] - best.values[:, 1]) <= self._doubt

    def again(self, images: Tensor) -> Tensor:
        """(batch,): the network's answers to what was in doubt."""
        self.num_asked_again += len(images)
        return self._exact(images)

    def _search(self, images: Tensor) -> Tensor:
        assert self._copy is not None
        with (
            torch.inference_mode(),
            torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=self._precision == "bf16"),
        ):
            return self._copy(images).float()

    def _exact(self, images: Tensor) -> Tensor:
        return predict_logits(self._model, images).argmax(1)

    def _error(self, images: Tensor) -> float | None:
        """The lead that an answer of the copy needs. What all logits of an image share changes no answer. None for a
        copy that writes into its images, which others still need: it is given up."""
        handed = images.clone(memory_format=torch.preserve_format)
        off = self._search(handed) - predict_logits(self._model, images)
        if not torch.equal(handed, images):
            self._copy = None
            return None
        return SAFETY * float((off.amax(1) - off.amin(1)).max())


def batches(pixels: Tensor, size: int) -> Iterator[tuple[int, Tensor]]:
    """Backgrounds (n, channels, height, width) in [0, 1] or uint8 -> (first, batch in channels_last, as floats)."""
    for first in range(0, len(pixels), size):
        part = pixels[first : first + size]
        floats = part.to(torch.float32).div_(255) if part.dtype == torch.uint8 else part
        yield first, floats.contiguous(memory_format=torch.channels_last)


class Canvas:
    """A batch of backgrounds that one foreground after the other is put on, always in the same memory."""

    def __init__(self, backgrounds: Tensor) -> None:
        """backgrounds: (batch, channels, height, width) in channels_last; not changed."""
        self._backgrounds = backgrounds
        self._shown = backgrounds.clone(memory_format=torch.preserve_format)
        self._covered: slice | None = None

    def put(self, each: Foreground) -> Tensor:
        """The foreground on every background. Returns: (batch, channels, height, width), good until the next call, and
        not to be written to."""
        if self._covered is not None:
            self._shown[:, :, self._covered] = self._backgrounds[:, :, self._covered]
        rows, columns = self._covered, _ = each.place
        behind = self._backgrounds[:, :, rows, columns]
        self._shown[:, :, rows, columns] = torch.where(each.mask, each.image, behind)
        return self._shown


@dataclass(frozen=True, kw_only=True)
class Foreground:
    """An object that is put on backgrounds."""

    index: int
    label: int
    place: tuple[slice, slice]
    """Rows and columns that it covers: the smallest rectangle around its mask."""
    image: Tensor
    """(channels, rows, columns), in channels_last as the backgrounds are."""
    mask: Tensor
    """(channels, rows, columns), in channels_last too."""


def foregrounds(data: ImageData, indices: Sequence[int], device: str) -> list[Foreground]:
    """Raises: InputError for data without masks."""
    if data.masks is None:
        raise InputError(f"{data.name} has no masks: nothing says what to put on backgrounds")
    images, labels = data.batch(indices)
    found = []
    for index, label, image in zip(indices, labels.tolist(), images, strict=True):
        mask = torch.from_numpy(data.masks[index])
        rows, columns = _extent(mask.any(1)), _extent(mask.any(0))
        cut = image[:, rows, columns], mask[rows, columns].expand(len(image), -1, -1)
        inner, shape = (part.permute(1, 2, 0).contiguous().permute(2, 0, 1).to(device) for part in cut)
        found.append(Foreground(index=int(index), label=label, place=(rows, columns), image=inner, mask=shape))
    return found


def _extent(covered: Tensor) -> slice:
    """From the first True to the last one; of nothing, nothing."""
    places = covered.nonzero()[:, 0].tolist()
    return slice(places[0], places[-1] + 1) if places else slice(0, 0)


def swept(answer: Answerer, objects: Sequence[Foreground], backgrounds: Tensor, *, batch_size: int) -> Tensor:
    """(foregrounds, backgrounds) int16: the answer to every composition. What is in doubt is kept until there are
    enough for a batch, and asked again together."""
    found = torch.empty(len(objects), len(backgrounds), dtype=torch.int16)
    waiting: list[Tensor] = []
    places: list[tuple[int, int]] = []

    def ask_again() -> None:
        if waiting:
            rows, columns = torch.tensor(places).T
            found[rows, columns] = answer.again(torch.cat(waiting)).to(found)
            waiting.clear()
            places.clear()

    for first, batch in batches(backgrounds, batch_size):
        canvas = Canvas(batch)
        for row, each in enumerate(objects):
            shown = canvas.put(each)
            answers, open_ = answer.guess(shown)
            found[row, first : first + len(batch)] = answers.to(found)
            if open_.any():
                waiting.append(shown[open_])
                places += [(row, first + place) for place in open_.nonzero()[:, 0].tolist()]
                if len(places) >= batch_size:
                    ask_again()
    ask_again()
    return found


def challenged(
    answer: Answerer,
    objects: Sequence[Foreground],
    backgrounds: Tensor,
    *,
    batch_size: int,
    read: Callable[[Tensor], Tensor],
) -> list[tuple[int, int, int]]:
    """Per foreground: the place of the first background that makes the answer wrong (`NONE` for no one), that answer,
    and how many compositions were looked at. A foreground is done with the batch in which it falls.

    read: what an answer says: the class itself, or one of nine.
    """
    state: dict[int, tuple[int, int, int]] = {}
    for first, batch in batches(backgrounds, batch_size):
        canvas = Canvas(batch)
        for row, each in enumerate(objects):
            if row in state:
                continue
            said = read(answer(canvas.put(each)))
            wrong = (said != each.label).nonzero()[:, 0]
            if len(wrong):
                place = int(wrong[0])
                state[row] = (first + place, int(said[place]), first + len(batch))
        if len(state) == len(objects):
            break
    return [state.get(row, (NONE, each.label, len(backgrounds))) for row, each in enumerate(objects)]


# --- Block functions --------------------------------------------------------------------------------------------------


@block_function(
    version=1,
    columns={"index": pa.int64(), "label": pa.int64(), "answers": Column("int16"), "asked_again": pa.int64()},
)
def sweep_block(indices: Sequence[int], context: Context) -> Mapping[str, Any]:
    """The answer of "model" to each foreground of "data" on every background of "backgrounds": the full sweep, for the
    paper's success rates. `context.settings`: a `Sweep`. asked_again: of the block, in its first row."""
    how: Sweep = context.settings
    objects, pixels = _opened(indices, context)
    with Answerer(context.load("model"), pixels.shape[1:], how.precision) as answer:
        answers = read_as(how)(swept(answer, objects, pixels, batch_size=how.batch_size))
    return {
        "index": list(indices),
        "label": [each.label for each in objects],
        "answers": answers.to(torch.int16).numpy(),
        "asked_again": [answer.num_asked_again, *[0] * (len(objects) - 1)],
    }


@block_function(
    version=1,
    columns={
        "index": pa.int64(),
        "label": pa.int64(),
        "vulnerable": pa.bool_(),
        "background": pa.int64(),
        "answer": pa.int64(),
        "looked_at": pa.int64(),
    },
)
def challenge_block(indices: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Whether any background of "backgrounds" makes "model" give a wrong answer to each foreground of "data", of
    whatever class: the challenge. Stops early; the verdict is that of a full sweep. background: the image whose
    background it was, `NONE` for no one."""
    how: Sweep = context.settings
    objects, pixels = _opened(indices, context)
    with Answerer(context.load("model"), pixels.shape[1:], how.precision) as answer:
        found = challenged(answer, objects, pixels, batch_size=how.batch_size, read=read_as(how))
    return {
        "index": list(indices),
        "label": [each.label for each in objects],
        "vulnerable": [place != NONE for place, _, _ in found],
        "background": [NONE if place == NONE else how.backgrounds[place] for place, _, _ in found],
        "answer": [said for _, said, _ in found],
        "looked_at": [count for _, _, count in found],
    }


def _opened(indices: Sequence[int], context: Context) -> tuple[list[Foreground], Tensor]:
    """The foregrounds, and the backgrounds of the sweep in its order, uint8 where they are."""
    backgrounds: ImageData = context.load("backgrounds")
    chosen = np.asarray(context.settings.backgrounds)
    pixels = torch.from_numpy(np.ascontiguousarray(backgrounds.images[chosen])).to(context.device)
    return foregrounds(context.load("data"), indices, context.device), pixels


def read_as(how: Sweep) -> Callable[[Tensor], Tensor]:
    """How answers of the network are read."""
    if not how.looked_up:
        return lambda answers: answers
    table = torch.from_numpy(in9.table())
    return lambda answers: table.to(answers.device)[answers.long()]
