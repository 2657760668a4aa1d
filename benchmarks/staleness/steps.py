"""The tiny run: ten steps of all sorts that take about a second. Called in a process that has the edited tree.

Nothing of robustray is imported before a function here is called.
"""

from __future__ import annotations

import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

State = Literal["current", "old", "missing", "broken"]
"""What the lab says of the pieces of the tree before the edit; "broken" where it fails."""
Opened = Callable[[Any], Any]
"""A function from a lab to the handle of a step."""

WEIGHTS = {"mlp": "digits:mlp", "cnn": "digits:cnn", "res": "cifar:resnet20", "scn": "scenes:cnn"}


def prepare(folder: Path) -> None:
    """Weights and images that the steps use. By the tree before any edit."""
    import numpy as np
    import torch

    from robustray.tasks.data.export import write_shards
    from robustray.tasks.lab.serial import SerialLab
    from robustray.tasks.lab.store import Store
    from robustray.tasks.models.registry import build_model
    from robustray.tasks.models.weights import to_safetensors, weights_of
    from robustray.tasks.training.settings import TrainSpec

    lab = SerialLab(store=Store(str(folder / "trained")))
    trained = lab.train([TrainSpec(model=WEIGHTS[name], data="digits:train", epochs=5) for name in ("mlp", "cnn")])
    torch.manual_seed(0)
    models = {name: build_model(WEIGHTS[name]) for name in ("res", "scn")}
    models |= {name: lab.load(ref) for name, ref in zip(("mlp", "cnn"), trained.result(), strict=True)}
    for name, model in models.items():
        (folder / f"{name}.safetensors").write_bytes(to_safetensors(weights_of(model)))
    pixels = np.random.default_rng(0).integers(0, 256, (16, 3, 32, 32), dtype=np.uint8)
    write_shards(folder, "test", pixels, np.arange(16) % 10, ["x"] * 16, [str(label) for label in range(10)])


def steps(folder: Path) -> Mapping[str, Opened]:
    """Name -> how to ask a lab for it."""
    from robustray.tasks.attacks.blocks import attack_block, predict_block
    from robustray.tasks.attacks.family import ApgdCE, Square
    from robustray.tasks.attacks.settings import PGD
    from robustray.tasks.attacks.traces import trace_block
    from robustray.tasks.data.views import resize, subset
    from robustray.tasks.training.settings import TrainSpec

    def asked(
        step: str, function: Any, model: str, data: Callable[[Any], Any], num: int, settings: Any = None
    ) -> Opened:
        def ask(lab: Any) -> Any:
            refs = {"model": lab.model(f"{WEIGHTS[model]}@{folder / model}.safetensors"), "data": data(lab)}
            return lab.map(step, function, range(num), block=16, settings=settings, refs=refs, seed=1)

        return ask

    def digits(lab: Any) -> Any:
        return lab.data("digits:test")

    def shards(lab: Any) -> Any:
        return lab.data(f"{folder}:test")

    linf = PGD(norm="linf", eps=0.1, num_steps=3, num_restarts=2, random_start=True)
    l2 = PGD(norm="l2", eps=0.5, num_steps=3, exit_rule="last")
    traced = PGD(
        norm="linf", eps=0.1, num_steps=3, random_start=False, exit_rule="last", attack_misclassified=True,
        precision="fp32",
    )  # fmt: skip
    spec = TrainSpec(
        model="digits:mlp", data="digits:train", epochs=1, batch_size=256, loss="adversarial", eps=0.1, num_steps=2,
        random_start=True, augmentation="crop-flip", validation=64, check_steps=2,
    )  # fmt: skip
    return {
        "predictions, digits:mlp": asked("clean", predict_block, "mlp", digits, 32),
        "PGD linf, digits:mlp": asked("attack", attack_block, "mlp", digits, 32, linf),
        "PGD l2, digits:cnn": asked("attack", attack_block, "cnn", digits, 32, l2),
        "APGD-CE, digits:cnn": asked(
            "attack", attack_block, "cnn", digits, 16, ApgdCE(norm="linf", eps=0.1, num_steps=5)
        ),
        "Square, digits:mlp": asked(
            "attack", attack_block, "mlp", digits, 16, Square(norm="linf", eps=0.1, num_queries=20)
        ),
        "trace of PGD, digits:mlp": asked("trace", trace_block, "mlp", digits, 16, traced),
        "predictions, cifar:resnet20 on shards": asked("clean", predict_block, "res", shards, 16),
        "predictions, cifar:resnet20 on a view": asked(
            "clean", predict_block, "res", lambda lab: resize(subset(shards(lab), range(8)), 24), 8
        ),
        "predictions, scenes:cnn": asked("clean", predict_block, "scn", lambda lab: lab.data("scenes:test,n=16"), 16),
        "adversarial training, digits:mlp": lambda lab: lab.train([spec]),
    }


def looked_at(folder: Path, tree: Path) -> dict[str, list[int]]:
    """File of the tree -> the lines that run when the steps are asked for and computed; [] for a file that is only read
    to hash its code."""
    lines: dict[str, set[int]] = {}

    def trace(frame: Any, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(str(tree)):
            return None
        lines.setdefault(frame.f_code.co_filename, set()).add(frame.f_lineno)
        return trace

    sys.settrace(trace)
    try:
        from robustray.tasks.lab import code

        read = code._read

        def noted(path: Path) -> bytes:
            lines.setdefault(str(path), set())
            return read(path)

        code._read = noted
        with tempfile.TemporaryDirectory() as empty:
            compute(Path(empty), folder)
            serve(Path(empty) / "0", folder)
    finally:
        sys.settrace(None)
    return {str(Path(file).relative_to(tree / "robustray")): sorted(found) for file, found in lines.items()}


def serve(store: Path, folder: Path) -> dict[str, State]:
    """What the lab says of the pieces in `store`, read as a study reads them; nothing is computed."""
    from robustray.tasks.lab.journal import Journal
    from robustray.tasks.lab.serial import SerialLab
    from robustray.tasks.lab.store import Store

    found: dict[str, State] = {}
    for name, ask in steps(folder).items():
        journal = Journal()
        try:
            handle = ask(SerialLab(store=Store(str(store)), journal=journal))
            (count,) = journal.counts.values()
            if handle.open_jobs or not count.reused_blocks:
                found[name] = "missing"
                continue
            handle.result()
            found[name] = "old" if count.old_blocks else "current"
        except Exception:
            found[name] = "broken"
    return found


def compute(store: Path, folder: Path) -> dict[str, list[str] | str]:
    """Files that each step wrote into `store`, which is empty; a text where it failed."""
    from robustray.tasks.lab.serial import SerialLab
    from robustray.tasks.lab.store import Store

    found: dict[str, list[str] | str] = {}
    for name, ask in steps(folder).items():
        try:
            handle = ask(SerialLab(store=Store(str(store / str(len(found))))))
            handle.result()
            found[name] = [str(path) for path in sorted((store / str(len(found))).rglob("*-*")) if path.is_file()]
        except Exception:
            found[name] = traceback.format_exc().splitlines()[-1][:200]
    return found
