"""`robustray import weights`: a PyTorch checkpoint to safetensors."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from robustray.tasks.flags import optional
from robustray.tasks.importers import Written

if TYPE_CHECKING:
    from robustray.tasks.models.imports import Taken


@dataclass(frozen=True, kw_only=True)
class Flags:
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
    """Which weights of a file with several: averaged, raw, or the name of an entry (state_dict, model_ema). If not
    given, the averaged ones where there are any."""


def run(source: Path, flags: Flags) -> Written:
    """Raises: InputError as `import_weights`."""
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
    return Written(lines=lines, next=f"run attack-sweep --data NAME --model {model}")


def _which(taken: Taken) -> list[str]:
    """Which of several weights were taken, and whether they are averaged; empty where there was no choice."""
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
