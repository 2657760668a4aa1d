"""What `evaluate` keeps in a store: the rows of every finished block, under all that they depend on.

A model given as an object has no name. It is known again by its classes' source, its structure, its weights, and what
it says, to the bit, of the first images: so a number that is no parameter (a temperature) makes another model, too.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import nn

from robustray.tasks.attacks.precision import resolve_precision
from robustray.tasks.attacks.search.cascade import Stage
from robustray.tasks.attacks.settings import Attack
from robustray.tasks.corruptions.settings import Corruption
from robustray.tasks.data.images import ImageData, hash_arrays
from robustray.tasks.errors import InputError
from robustray.tasks.lab import keys, pieces
from robustray.tasks.lab.code import PIECE, code_hash, settings_roots
from robustray.tasks.lab.protocol import Needs
from robustray.tasks.lab.store import Store

VERSION = 1
"""To be raised when the same rows mean something else."""
LOOKED_AT = 128
"""Images by whose logits a model is known again."""
TOLD = b"robustray"
"""Where in a file's schema that stands which is no column."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What became of a block of images. Columns (n,), of an attack by the names of `attacking.Outcome`."""

    columns: Mapping[str, NDArray[Any]]
    warnings: tuple[str, ...] = ()
    stages: tuple[Stage, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The finished blocks of one attack, or corruption, on one model and data set."""

    store: Store
    key: str
    code: str
    found: Mapping[str, list[pieces.Piece]] = field(default_factory=dict)

    @classmethod
    def open(
        cls, store: Store, met: Attack | Corruption, content: Mapping[str, Any], roots: set[str], *, function: str
    ) -> Self:
        """content: what the rows depend on besides what the images meet. function: what computes the rows, as
        "module:function". Raises: InputError for an attack without exact form."""
        try:
            named = keys.plain(met)
            code = code_hash({*PIECE, function, *roots, *settings_roots(met)})
        except InputError as error:
            raise InputError(f"store: {met!r} could not be known again: {error}") from error
        key = keys.digest({"evaluate": VERSION, "attack": named, **content}, length=24)
        return cls(store=store, key=key, code=code, found=pieces.listing(store, key))

    def read(self, block: Sequence[int]) -> Rows | None:
        """None where these images are not there, or by other code; also where the file is damaged."""
        found = (piece for piece in self.found.get(self._name(block), ()) if piece.code == self.code)
        table = next((table for piece in found if (table := pieces.read(self.store, piece)) is not None), None)
        if table is None:
            return None
        told = json.loads(table.schema.metadata[TOLD])
        return Rows(
            columns={name: table.column(name).to_numpy() for name in table.column_names},
            warnings=tuple(told["warnings"]),
            stages=tuple(Stage(*stage) for stage in told["stages"]),
        )

    def write(self, block: Sequence[int], rows: Rows) -> None:
        """Publish a block in one write."""
        stages = [[stage.name, stage.attacked, stage.broken, stage.standing] for stage in rows.stages]
        told = json.dumps({"warnings": rows.warnings, "stages": stages})
        table = pa.table({name: pa.array(values) for name, values in rows.columns.items()})
        pieces.publish(
            self.store,
            table.replace_schema_metadata({TOLD: told.encode()}),
            step_key=self.key,
            first=block[0],
            block_key=self._name(block),
            code=self.code,
        )

    def _name(self, block: Sequence[int]) -> str:
        return keys.block_key(self.key, block[0], list(block))


def identified(model: Any, data: ImageData, *, seed: int, where: torch.device) -> tuple[dict[str, Any], set[str]]:
    """What rows depend on besides the attack, and where the model's code begins.

    Raises: InputError for a function, and for a model whose state has more than tensors in it.
    """
    if not isinstance(model, nn.Module):
        raise InputError("store: a function could not be known again; give a torch module, or leave the store out")
    model_hash, roots = _model(model, data, where)
    content = {
        "model": model_hash,
        "data": hash_arrays(data),
        "seed": seed,
        "numerics": keys.numerics_class(where.type, Needs(threads=torch.get_num_threads())),
        "precision": resolve_precision(where.type),
    }
    return content, roots


def _model(model: nn.Module, data: ImageData, where: torch.device) -> tuple[str, set[str]]:
    from robustray.tasks.attacks.gradient.verdicts import predict_logits

    digest, roots = hashlib.sha256(repr(model).encode()), set()
    for kind in sorted(
        {type(module) for module in model.modules()}, key=lambda kind: (kind.__module__, kind.__qualname__)
    ):
        if kind.__module__ == "__main__" or "<locals>" in kind.__qualname__:
            digest.update(_source(kind).encode())
        elif kind.__module__.partition(".")[0] != "torch":
            roots.add(f"{kind.__module__}:{kind.__qualname__}")
    for name, value in model.state_dict().items():
        if not isinstance(value, torch.Tensor):
            raise InputError(
                f"store: {name} of the model is no tensor, so it could not be known again; leave the store out"
            )
        array = value.detach().cpu().contiguous()
        digest.update(f"{name}{array.dtype}{tuple(array.shape)}".encode())
        digest.update(array.reshape(-1).view(torch.uint8).numpy().tobytes())
    logits = predict_logits(model, data.batch(range(min(LOOKED_AT, len(data))))[0].to(where))
    digest.update(np.ascontiguousarray(logits.cpu().numpy()).tobytes())
    return digest.hexdigest(), roots


def _source(kind: type) -> str:
    """Of a class of a notebook or of a function. Raises: InputError where nobody wrote it down."""
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError) as error:
        raise InputError(
            f"store: the source of {kind.__qualname__} is not to be found, so it could not be known again: move it "
            "to a module that can be imported, or leave the store out"
        ) from error
