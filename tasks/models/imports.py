"""`robustray import weights`: a checkpoint of PyTorch -> safetensors, without running what it may hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from robustray.tasks.data.files import write_atomically
from robustray.tasks.errors import InputError
from robustray.tasks.models.checkpoints import as_arrays, check_stats, read_checkpoint, unwrap
from robustray.tasks.models.entries import choose, is_average, take_count
from robustray.tasks.models.fitting import fitting
from robustray.tasks.models.registry import build_model, check_name, model_entry, takes_num_classes
from robustray.tasks.models.weights import check_finite, class_key, head_key, is_counter, misfit, to_safetensors

if TYPE_CHECKING:
    from torch import nn

# TRADES published Wide ResNets with a stage that their forward pass never uses.
_UNUSED = "sub_block1."


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What was written, and what will become of it."""

    keys: tuple[str, ...]
    """Keys of the weights."""
    architecture: str | None
    """What the weights fit: the architecture asked for, else a known one that was found; None if none was."""
    num_classes: int | None
    """Outputs of the network's head; None where it has no linear one."""
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    """Normalisation per channel, in pixel units [0, 1], with which these weights are used; None where only the user's
    own code knows it."""
    brought: bool
    """mean and std came with the weights or were given for them; False: they are the architecture's."""
    left_out: tuple[str, ...]
    """Keys of layers that the network has, but never uses."""
    taken: Taken


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Which of a file's weights were taken."""

    entry: str = ""
    """Their name in the file; empty for a bare state dict."""
    others: tuple[str, ...] = ()
    """Names of the weights that were left: `which` takes one of them."""
    averaged: bool = False
    """Whether these are averaged weights, by their name."""
    num_averaged: int | None = None
    """Number of models that were averaged, where torch's `AveragedModel` says so."""


def import_weights(
    source: Path,
    target: Path,
    arch: str | None,
    *,
    which: str | None = None,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
) -> Imported:
    """Write the weights in `source` to `target` (.safetensors), whole or not at all.

    source: `.pt`-like or `.safetensors` file, in a layout of `checkpoints`. Floats of any width become float32.
    which: where it holds several weights, the name of an entry, "raw" or "averaged"; see `entries.choose`.
    arch: name of an architecture that the weights must fit, key by key; None to write them as they are.
    mean, std: what pixels were normalised with in training, one number per channel or one for all, where the file does
    not say so and `arch` says something else. Kept as metadata, as a normaliser in the file is, and used on loading.

    Raises: InputError for a file with pickled code (nothing of it is run), a damaged file, weights twice that differ,
    weights that do not fit, quantised, sparse or complex ones, a normalisation that contradicts the file's, a `which`
    that is not there, and an unwritable target.
    """
    if target.suffix != ".safetensors":
        raise InputError(f"{target} must end in .safetensors")
    if target.resolve() == source.resolve():
        raise InputError(f"{source} would be overwritten: give another --output")
    if arch is not None:
        model_entry(arch)
        check_name(arch)
    weights, metadata, taken = _read(source, arch, which)
    check_finite(weights, str(source))

    left_out: tuple[str, ...] = ()
    if arch is not None:
        if arch.startswith("cifar:wrn-"):
            left_out = tuple(key for key in weights if key.startswith(_UNUSED))
            weights = {key: value for key, value in weights.items() if key not in left_out}
        metadata["architecture"] = arch
    fits = arch if arch is not None else fitting(weights)
    model = None if fits is None else _fitting_model(weights, fits, str(source))
    given = _given(mean, std, metadata, arch, model, str(source))
    metadata.update(given)
    brought = {name: tuple(metadata[name]) for name in ("mean", "std") if name in metadata}
    used = brought or _stats_of(model)

    data = to_safetensors(weights, **metadata)
    write_atomically(target, lambda path: _write(path, data))
    head = None if model is None else head_key(model)
    if fits is not None and takes_num_classes(fits):
        head = class_key(lambda num_classes: build_model(fits, num_classes))
    return Imported(
        keys=tuple(weights),
        architecture=fits,
        num_classes=int(weights[head].shape[0]) if head in weights else None,
        mean=used.get("mean"),
        std=used.get("std"),
        brought=bool(brought),
        left_out=left_out,
        taken=taken,
    )


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _read(source: Path, arch: str | None, which: str | None) -> tuple[dict[str, NDArray[Any]], dict[str, Any], Taken]:
    """Weights under the network's own keys, metadata, and which weights these are."""
    where = str(source)
    loaded, metadata = read_checkpoint(source)
    if arch is not None and which is None and model_entry(arch) is None:
        # one's own network may well keep its layers under `model.`: then nothing is a wrapper
        expected = build_model(arch, 10).state_dict()
        if all(key in loaded or is_counter(key) for key in expected):
            return as_arrays(choose({"state_dict": loaded}, None, where).state, where), metadata, Taken()
    chosen = choose(loaded, which, where)
    if metadata:  # written here: under the network's own keys, and what it says of pixels is there already
        return as_arrays(chosen.state, where), metadata, Taken()
    state, count = take_count(chosen.state)
    taken = Taken(
        entry=chosen.entry,
        others=chosen.others,
        averaged=count is not None or is_average(chosen.entry),
        num_averaged=count,
    )
    state, stats = unwrap(state, where)
    return as_arrays(state, where), dict(stats), taken


def _fitting_model(weights: dict[str, NDArray[Any]], arch: str, where: str) -> nn.Module:
    """Raises: InputError if the weights do not fit."""
    num_classes = None
    if takes_num_classes(arch):
        head = class_key(lambda num_classes: build_model(arch, num_classes))
        if head in weights and weights[head].ndim == 2:
            num_classes = int(weights[head].shape[0])
    model = build_model(arch, num_classes)
    if why := misfit(weights, model):
        better = fitting(weights)
        raise InputError(f"{where} does not fit {arch}: {why}" + (f". It fits {better}" if better else ""))
    return model


def _given(
    mean: Sequence[float],
    std: Sequence[float],
    metadata: dict[str, Any],
    arch: str | None,
    model: nn.Module | None,
    where: str,
) -> dict[str, list[float]]:
    """The normalisation that was given by hand, as float32 for each channel. Raises: InputError."""
    import numpy as np

    channels = len(_stats_of(model).get("mean", ()))
    if channels and "mean" in metadata and len(metadata["mean"]) != channels:
        raise InputError(f"{where} normalises {len(metadata['mean'])} channels, {arch or 'its network'} has {channels}")
    if not mean and not std:
        return {}
    if not mean or not std:
        raise InputError("--mean and --std go together: give both")
    if arch is None or model_entry(arch) is None:
        raise InputError("--mean and --std need --arch with a registered architecture: one's own normalises by itself")
    given = {}
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, channels):
            raise InputError(f"--{name} has {len(values)} numbers, {arch} has {channels} channels")
        check_stats({name: list(values)}, f"--{name}")
        given[name] = [float(np.float32(each)) for each in values] * (channels // len(values))
    for name in given:
        if name in metadata and not np.allclose(metadata[name], given[name], atol=1e-4):
            raise InputError(f"{where} holds a normaliser with {name} {metadata[name]}: leave --{name} out")
    return given


def _stats_of(model: nn.Module | None) -> dict[str, tuple[float, ...]]:
    """mean and std of a registered architecture."""
    from robustray.tasks.models.normalised import Normalised

    if not isinstance(model, Normalised):
        return {}
    return {"mean": tuple(model.mean.flatten().tolist()), "std": tuple(model.std.flatten().tolist())}
