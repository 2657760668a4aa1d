"""Block functions of the labels study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pyarrow as pa

from robustray.tasks.data.scenes import render
from robustray.tasks.lab.protocol import Context, Tensor, block_function
from robustray.tasks.studies.labels.crowd import Crowd, answer


@block_function(
    version=2,
    columns={
        "index": pa.int64(),
        "objects": Tensor("int64"),
        "query": pa.int64(),
        "ticks": Tensor("uint8"),
        "surviving": Tensor("uint8"),
        "given_ticks": pa.int64(),
        "most_ticked": pa.int64(),
        "main": Tensor("int64"),
        "selected": Tensor("uint8"),
    },
)
def crowd_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Scenes by index, and what a crowd says of them. context.settings: a `Crowd`. Columns as in `crowd.Answers`;
    objects: (3,) classes of the scene's objects, the main one first, -1 where there is none."""
    crowd = cast(Crowd, context.settings)
    indices = np.asarray(items, dtype=np.int64)
    # What is in a scene does not depend on its size: the truth is read off the smallest.
    objects = render(replace(crowd.scenes, size=12, aa=1), indices).classes
    said = answer(crowd, objects, indices, context.seed)
    return {
        "index": indices,
        "objects": objects,
        "query": said.query,
        "ticks": said.ticks.astype(np.uint8),
        "surviving": said.surviving.astype(np.uint8),
        "given_ticks": said.given_ticks,
        "most_ticked": said.most_ticked,
        "main": said.main,
        "selected": said.selected.astype(np.uint8),
    }
