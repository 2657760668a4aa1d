"""What a lab asks of a model that a run has trained: why robust accuracies of it would be no evidence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from robustray.tasks.audit.lines import LOOKED_AT, no_evidence
from robustray.tasks.kit.images import NEEDS
from robustray.tasks.lab.protocol import Context, block_function

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.attacks.settings import Attack
    from robustray.tasks.lab.protocol import Handle, Lab, Reference

AUDIT = "audit"
"""The step under which models are asked."""


@block_function(version=1, columns={"index": pa.int64(), "lines": pa.string()})
def audit_block(indices: Sequence[int], context: Context) -> Mapping[str, Any]:
    """The cheap checks of an audit (`lines.no_evidence`) for the attack `context.settings`, on the first images of the
    data set: `lines`, joined by line feeds, empty where nothing speaks against robust accuracies. indices: (0,)."""
    data = context.load("data")
    images, _ = data.batch(range(min(LOOKED_AT, len(data))))
    lines = no_evidence(context.load("model"), images.to(context.device), [context.settings], seed=context.seed)
    return {"index": indices, "lines": ["\n".join(lines)] * len(indices)}


def ask(lab: Lab, model: Reference, data: Reference, attack: Attack, *, seed: int) -> Handle[pd.DataFrame]:
    """Rows of `audit_block`, under the declared step "audit"."""
    return lab.map(
        AUDIT,
        audit_block,
        range(1),
        block=1,
        seed=seed,
        settings=attack,
        refs={"model": model, "data": data},
        needs=NEEDS,
    )


def told(found: Iterable[tuple[str, pd.DataFrame]]) -> tuple[str, ...]:
    """Warnings for a page. found: what a model is called, and its rows of `audit_block`."""
    return tuple(
        f"{name}: {line}" for name, rows in found for text in rows.lines.tolist() for line in text.splitlines() if line
    )
