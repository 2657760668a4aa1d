"""`robustray import`: public data sets and weights, converted to what is read here. Nothing is downloaded."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from robustray.distributed.commands.parsing import again, gather, optional, parse, typed_as
from robustray.tasks.errors import InputError
from robustray.tasks.words import nearest

if TYPE_CHECKING:
    from robustray.tasks.models.imports import Taken

KINDS = {
    "cifar10": "cifar10 SOURCE --data-root DIR: torchvision's cifar-10-batches-py, its .tar.gz, or Parquet shards",
    "weights": "weights FILE.pt [--output FILE.safetensors] [--arch NAME]: a PyTorch checkpoint; no code in it is run",
}


@dataclass(frozen=True, kw_only=True)
class DataFlags:
    """Convert a public data set to Parquet shards under a data root."""

    data_root: Annotated[str | None, optional("FOLDER")] = None
    """Folder of data sets; ROBUSTRAY_DATA if not given."""


@dataclass(frozen=True, kw_only=True)
class WeightFlags:
    """Convert a PyTorch checkpoint to safetensors; pickled code in it is never run."""

    output: Annotated[str | None, optional("FILE.safetensors")] = None
    """File to write; the source's name with .safetensors if not given."""
    arch: Annotated[str | None, optional("NAME")] = None
    """Architecture that the weights must fit, key by key, as in --model; if not given, one that fits is looked for."""
    mean: Annotated[tuple[float, ...], optional("NUMBER ...")] = ()
    """What pixels were normalised with in training, per channel or one number for all, where the file does not hold it
    and it is not the architecture's: `--mean 0 --std 1` for weights that were trained on plain pixels."""
    std: Annotated[tuple[float, ...], optional("NUMBER ...")] = ()
    """Goes with --mean."""
    which: Annotated[str | None, optional("ENTRY")] = None
    """Of a file with several weights: averaged, raw, or the name of an entry (state_dict, model_ema). If not given: the
    averaged ones, where there are some."""


def main(argv: list[str]) -> int:
    """Import one thing."""
    if argv and argv[0] in ("-h", "--help"):
        print(f"usage: {typed_as()} import KIND SOURCE [flags]\n\n  " + "\n  ".join(KINDS.values()))
        return 0
    kind = argv[0] if argv else ""
    if kind not in KINDS:
        asked = f"there is no import of {kind!r}" if kind else "import what?"
        raise InputError(f"{asked}{nearest(kind, KINDS)}")
    source = argv[1] if len(argv) > 1 and not argv[1].startswith("-") else None
    words = argv[2:] if source else argv[1:]
    prog = f"{typed_as()} import {kind} SOURCE"
    flags = (
        parse(DataFlags, gather(words, DataFlags), prog=prog, default=DataFlags())
        if kind == "cifar10"
        else parse(WeightFlags, gather(words, WeightFlags), prog=prog, default=WeightFlags())
    )
    if source is None:
        raise InputError(f"import {kind} from where? {KINDS[kind]}")
    path = Path(source).expanduser()
    if not path.exists():
        raise InputError(f"import {kind}: there is no {path}")
    written = _data(path, flags) if isinstance(flags, DataFlags) else _weights(path, flags)
    for line in written:
        print(line)
    return 0


def _data(source: Path, flags: DataFlags) -> list[str]:
    from robustray.tasks.data.imports import import_cifar10

    root = flags.data_root or os.environ.get("ROBUSTRAY_DATA")
    if not root:
        raise InputError("import cifar10: where to? give --data-root DIR, or set ROBUSTRAY_DATA")
    files = import_cifar10(source, Path(root).expanduser())
    next_command = again("run attack-sweep --data cifar10:test --model NAME@WEIGHTS.safetensors", data_root=root)
    return [*(f"wrote {file}" for file in files), f"next: {next_command}"]


def _weights(source: Path, flags: WeightFlags) -> list[str]:
    from robustray.tasks.models.imports import import_weights

    target = Path(flags.output).expanduser() if flags.output else source.with_suffix(".safetensors")
    done = import_weights(source, target, flags.arch, which=flags.which, mean=flags.mean, std=flags.std)
    classes = "" if done.num_classes is None else f", {done.num_classes} classes"
    lines = [f"wrote {target} ({len(done.keys)} tensors)"]
    if done.architecture is None:
        lines.append("they fit no architecture known here: --arch my_pkg.my_mod:build checks them against your own")
    else:
        lines.append(f"they fit {done.architecture}{classes}")
    lines += _which(done.taken)
    if done.left_out:
        lines.append(f"left out {len(done.left_out)} tensors of layers that are never used ({done.left_out[0]} ...)")
    if done.mean and done.std:
        mean, std = (" ".join(f"{each:.4g}" for each in values) for values in (done.mean, done.std))
        whose = "came with them" if done.brought else "are the architecture's; --mean and --std give others"
        lines.append(f"pixels: mean {mean}, std {std} {whose}")
    model = shlex.quote(f"{done.architecture or 'NAME'}@{target}")
    return [*lines, f"next: {again(f'run attack-sweep --data NAME --model {model}')}"]


def _which(taken: Taken) -> list[str]:
    """Of several weights, or of averaged ones, what was taken; nothing where there was no choice."""
    lines = []
    if taken.others:
        kind = "averaged" if taken.averaged else "raw"
        rest = " and ".join(map(repr, taken.others))
        lines.append(f"took {taken.entry!r} ({kind}); the file also holds {rest}: --which {taken.others[0]} takes that")
    elif taken.averaged and taken.entry:
        lines.append(f"took {taken.entry!r} (averaged), the only weights in the file")
    if taken.num_averaged is not None:
        count = taken.num_averaged
        average = f"an average of {count} models" if count else "no average yet: n_averaged is 0"
        lines.append(f"they come from torch's AveragedModel: {average}")
    return lines
