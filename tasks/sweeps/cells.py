"""The sweep itself: cells (data, model, norm, attack, seed) attacked at growing sizes.

Sizes are outermost; within a size all cells are side by side, and cascades go stage by stage. A stage gets the images
that stood before it, gathered from all blocks and cut anew, so that the last few survivors of a long cascade fill their
blocks. There is one barrier per stage of a size, never one per cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from robustray.tasks.attacks.blocks import attack_block
from robustray.tasks.attacks.transfer import Exchange, transferred_block
from robustray.tasks.errors import InputError
from robustray.tasks.kit.images import NEEDS
from robustray.tasks.lab.keys import digest
from robustray.tasks.sweeps.named import named_stages
from robustray.tasks.sweeps.options import Options, block_size
from robustray.tasks.sweeps.records import Cell, merged, records, survivors, survivors_of_clean

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.attacks.settings import Attack
    from robustray.tasks.lab import BlockFunction, Handle, Lab, Reference

Opened = Mapping[str, "Reference"]
"""Name -> model or data set."""


def attack_cells(
    options: Options,
    lab: Lab,
    models: Opened,
    data: Opened,
    cells: Mapping[Cell, tuple[Sequence[float], pd.DataFrame]],
) -> pd.DataFrame:
    """Records (`sweeps.records.records`) of all cells.

    cells: each with its sizes, ascending, and rows of `predict_block` of the images that it is about; attacked are
    those of them that the model classifies correctly.

    Raises: as `sweep_cells`.
    """
    sizes = {cell: each for cell, (each, _) in cells.items()}
    clean = {cell: rows for cell, (_, rows) in cells.items()}
    alive = {cell: survivors_of_clean(rows) for cell, rows in clean.items()}
    return records(clean, sweep_cells(options, lab, models, data, sizes, alive))


def sweep_cells(
    options: Options,
    lab: Lab,
    models: Opened,
    data: Opened,
    sizes: Mapping[Cell, Sequence[float]],
    alive: Mapping[Cell, Sequence[int]],
) -> dict[Cell, list[tuple[float, pd.DataFrame]]]:
    """Every cell's rows by size. sizes: of each cell, ascending. alive: the images with which each cell starts.

    Raises: InputError if the attack transfer has no source for one of the models. WorkFailed.
    """
    alive = dict(alive)
    found: dict[Cell, list[tuple[float, pd.DataFrame]]] = {cell: [] for cell in sizes}
    for position in range(max(map(len, sizes.values()), default=0)):
        now = {cell: each[position] for cell, each in sizes.items() if position < len(each)}
        for cell, rows in attack_one_size(options, lab, models, data, now, alive).items():
            found[cell].append((now[cell], rows))
            alive[cell] = survivors(rows)
    return found


def attack_one_size(
    options: Options,
    lab: Lab,
    models: Opened,
    data: Opened,
    sizes: Mapping[Cell, float],
    alive: Mapping[Cell, Sequence[int]],
) -> dict[Cell, pd.DataFrame]:
    """Attack one size of all cells: start every cell's first stage, read them all, and start the next stages on the
    images that remain correct."""
    stages = {cell: named_stages(cell.attack, cell.norm, eps, options) for cell, eps in sizes.items()}
    rows: dict[Cell, pd.DataFrame] = {}
    for position in range(max(map(len, stages.values()))):
        handles: dict[Cell, Handle[pd.DataFrame]] = {}
        asked: dict[str, Handle[pd.DataFrame]] = {}  # apgd-ce by itself is also a stage of autoattack: one computation
        for cell in (cell for cell in sizes if position < len(stages[cell])):
            work = _work(cell, *stages[cell][position], options, models)
            items = alive[cell] if position == 0 else survivors(rows[cell])
            same = digest([work.function.qualified_name, cell.data, cell.model, cell.seed, work.settings, items])
            handles[cell] = asked.get(same) or lab.map(
                "attack",
                work.function,
                items,
                block=work.block,
                seed=cell.seed,
                settings=work.settings,
                refs={"model": models[cell.model], "data": data[cell.data], **work.sources},
                needs=NEEDS,
            )
            asked[same] = handles[cell]
        for cell, handle in handles.items():
            rows[cell] = merged(rows.get(cell), handle.result(), stages[cell][position][0])
    return rows


class _Work(NamedTuple):
    """How a stage is run."""

    function: BlockFunction
    settings: Any
    block: int
    sources: Opened


def _work(cell: Cell, name: str, attack: Attack, options: Options, models: Opened) -> _Work:
    block = block_size(name, options, num_restarts=getattr(attack, "num_restarts", 1))
    if cell.attack != "transfer":
        return _Work(attack_block, attack, block, {})
    sources = {
        f"source {i}": models[source] for i, source in enumerate(foreign_sources(cell.model, options.sources, models))
    }
    return _Work(transferred_block, Exchange(attack=attack, models=tuple(sources)), block, sources)


def foreign_sources(model: str, sources: Sequence[str], models: Opened) -> list[str]:
    """The sources that are not the model itself, also under another name. Raises: InputError if none is left."""

    def identity(name: str) -> str:
        return models[name].content_hash if name in models else name  # one that the run will train

    foreign = [source for source in sources if identity(source) != identity(model)]
    if sources and not foreign:
        raise InputError(f"--sources {' '.join(sources)}: nothing but {model} itself; name another model")
    return foreign
