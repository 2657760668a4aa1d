"""The same as the command line, from Python: `robustray.run(STUDY)`."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from robustray.tasks.errors import InputError
from robustray.tasks.lab.base import BlockLab
from robustray.tasks.lab.protocol import Lab
from robustray.tasks.lab.runs import Run
from robustray.tasks.lab.store import Store
from robustray.tasks.study import Findings, load_study, refuse_idle, scale_of
from robustray.tasks.words import nearest


def run(
    study: str,
    settings: Any = None,
    *,
    size: str = "quick",
    lab: Lab | None = None,
    store: str | Path = "runs",
    workers: int = 0,
    data_root: str | Path | None = None,
    device: str = "auto",
) -> Findings:
    """Run a study and return what it found; tables, figures and the page are in the store as after the command.

    settings: the study's settings; those of `size` if None. lab: your own lab; then only the pieces are stored, and
    `store`, `workers`, `data_root` and `device` are the lab's. workers: 0 computes in this process.

    Raises: InputError for what cannot be used, and for settings that do nothing; WorkFailed when work failed (what
    finished is kept).
    """
    found = load_study(study)
    sizes: dict[str, Any] = {name: known for name, known in found.outline.sizes.items()}
    if size not in sizes:
        raise InputError(f"size {size!r}: there is no such size{nearest(size, sizes)}")
    if settings is None:
        settings = sizes[size]
    if not isinstance(settings, found.outline.settings):
        raise InputError(f"settings of {study} must be {found.outline.settings.__name__}, got {settings!r}")
    defaults = {field.name: field.default for field in dataclasses.fields(found.outline.settings)}
    refuse_idle(settings, *sizes.values(), SimpleNamespace(**defaults))
    if lab is not None:
        found.door(settings, lab)
        return found.run(settings, lab)

    from robustray.distributed.lab import open_lab
    from robustray.tasks.execution import Request, execute
    from robustray.tasks.report.progress import make_progress

    progress = make_progress()

    def make_lab(opened: Store) -> BlockLab:
        root = str(data_root or "") or os.environ.get("ROBUSTRAY_DATA") or None
        return open_lab(store=opened, workers=workers, address=None, device=device, data_root=root, progress=progress)

    def on_start(run: Run, lab: BlockLab) -> None:
        del run
        progress.expect(found.outline.estimate(settings).parts, lab.workers)

    request = Request(
        study=found,
        settings=settings,
        size=scale_of(found.outline, settings),
        command=f"robustray.run({study!r}, {settings!r})",
        options={"workers": workers, "device": device, "data_root": str(data_root) if data_root else None},
    )
    result = execute(request, store=Store(store), make_lab=make_lab, on_start=on_start, rewalk=True)
    assert result.findings is not None
    return result.findings
