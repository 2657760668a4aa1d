"""Models by name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from numpy.typing import NDArray

from robustray.tasks.data.files import file_sha256, read_file
from robustray.tasks.data.own import load_function
from robustray.tasks.errors import InputError
from robustray.tasks.models.published import PUBLISHED
from robustray.tasks.models.registry import build_model, check_name, code_root, model_entry, takes_num_classes

if TYPE_CHECKING:
    from torch import nn

StoreWeights = Callable[[str], tuple[str, bytes]]
"""Key of a training in the store -> (architecture, safetensors bytes). Raises: InputError for an unknown key."""

PICKLED = (".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".bin", ".tar")


class ModelPayload(TypedDict):
    """What `ModelRef.fetch` returns: plain values and arrays."""

    architecture: str
    num_classes: int | None
    mean: list[float] | None
    std: list[float] | None
    """None: those of the architecture. Weights files that were imported may bring theirs."""
    weights: dict[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class ModelRef:
    """A trained model by name: a `robustray.tasks.lab.protocol.Reference` whose object is a frozen torch module."""

    name: str
    """The name as the user wrote it: "cifar:resnet20@w.safetensors"."""
    architecture: str
    """A name of the registry, or the user's own "module:function"."""
    weights_file: str | None = None
    store_key: str | None = None
    """The training in a store whose weights these are; None for a file or the user's own function."""
    read_weights: Callable[[], bytes] | None = field(default=None, repr=False, compare=False)
    """How to get the weights of `store_key`. Stays on the driver: only `fetch` and the hash need it."""

    @property
    def content_hash(self) -> str:
        """SHA-256 (hex) of architecture and weights."""
        return hashlib.sha256(f"{self.architecture}\0{self._weights_hash}".encode()).hexdigest()

    @property
    def modules(self) -> tuple[str, ...]:
        """Roots of CODE: the network itself, and what loads weights into it."""
        return ("robustray.tasks.models.reference:ModelRef", code_root(self.architecture))

    @cached_property
    def _weights_hash(self) -> str:
        if self.weights_file is not None:
            return file_sha256(Path(self.weights_file))
        if self.store_key is not None:
            return hashlib.sha256(self._from_store()).hexdigest()
        digest = hashlib.sha256()
        for key, value in sorted(self._built.items()):
            digest.update(f"{key}\0{value.dtype.str}{value.shape}".encode() + value.tobytes())
        return digest.hexdigest()

    @cached_property
    def _built(self) -> dict[str, NDArray[Any]]:
        """What the user's own function without weights built. It is stored, since the function may draw other weights
        when called again, and the hash would then belong to a model that is not used."""
        from robustray.tasks.models.weights import check_finite, weights_of

        weights = weights_of(self._build(None))
        if weights:  # a fixed filter has none: it can be attacked, though not trained
            check_finite(weights, self.name)
        return weights

    def fetch(self) -> ModelPayload:
        """Read the weights and check that they fit.

        The number of classes is that of the weights' last linear layer. One's own function without weights is called
        under a fixed seed, and what it built travels as weights, so that all actors have the same model.

        Raises: InputError for damaged, non-finite or unfitting weights, and for errors in the user's own function.
        """
        from robustray.tasks.models.weights import check_fit, class_key, from_safetensors

        if self.weights_file is None and self.store_key is None:
            return ModelPayload(
                architecture=self.architecture, num_classes=None, mean=None, std=None, weights=self._built
            )

        data = read_file(Path(self.weights_file)) if self.weights_file is not None else self._from_store()
        weights, metadata = from_safetensors(data, self.weights_file or self.name)
        num_classes = None
        if takes_num_classes(self.architecture):
            # a required num_classes gets any value: only the name of the head is read from these first builds
            head = class_key(self._build)
            if head in weights and weights[head].ndim == 2:
                num_classes = int(weights[head].shape[0])
        where = self.weights_file or self.name
        model = self._build(num_classes)
        check_fit(weights, model, where, self.architecture)
        brought = _check_normalisation(model, metadata, where, self.architecture)
        if model_entry(self.architecture) is None:
            brought = {}  # one's own function decides
        return ModelPayload(
            architecture=self.architecture,
            num_classes=num_classes,
            mean=brought.get("mean"),
            std=brought.get("std"),
            weights=weights,
        )

    def build(self, payload: ModelPayload, device: str) -> nn.Module:
        """The model on `device`, in evaluation mode, with no parameter asking for gradients."""
        from robustray.tasks.models.weights import load_weights

        model = self._build(payload["num_classes"], mean=payload["mean"], std=payload["std"])
        load_weights(model, payload["weights"])
        return model.eval().requires_grad_(False).to(device)

    def _build(self, num_classes: int | None, **normalisation: list[float] | None) -> nn.Module:
        import torch

        with torch.random.fork_rng(devices=[]):  # building draws weights: leave the caller's generator alone
            torch.manual_seed(0)
            return build_model(self.architecture, num_classes, **normalisation)

    def _from_store(self) -> bytes:
        assert self.read_weights is not None, "a reference that travelled to an actor cannot read the store"
        return self.read_weights()

    def __getstate__(self) -> dict[str, Any]:
        # references travel without weights and the way to the store, but with the hash that needed them
        state = {**self.__dict__, "_weights_hash": self._weights_hash, "read_weights": None}
        state.pop("_built", None)
        return state


def open_model(text: str, *, store_weights: StoreWeights | None = None, data_root: str | None) -> ModelRef:
    """Turn a name into a reference. Weights are not read yet.

    text: `NAME@WEIGHTS.safetensors` with an architecture of the registry; `my_pkg.my_mod:build[@WEIGHTS.safetensors]`;
    `run:KEY`, a model trained into the store; or a name in `PUBLISHED`, whose file is under DATA_ROOT/models.
    store_weights: how `run:KEY` is looked up.

    Raises: InputError for an unknown name, a missing or pickled weights file, or an architecture without weights.
    """
    name, separator, weights = text.partition("@")
    if name.startswith("run:"):
        return _open_run(text, store_weights)
    if name.lower().endswith((*PICKLED, ".safetensors")) or "/" in name:
        _refuse_pickled(name)
        raise InputError(f"{text!r} names no architecture: give NAME@{name}, as in cifar:resnet20@{name}")
    if not separator and name in PUBLISHED:
        return _open_published(name, data_root)
    if name in PUBLISHED and PUBLISHED[name][0] != name:
        raise InputError(f"{name} names published weights: for other weights give {PUBLISHED[name][0]}@{weights}")
    entry = _entry_or_own(name)
    if separator:
        _refuse_pickled(weights)
        if not weights.endswith(".safetensors"):
            raise InputError(f"{text!r}: weights must be a .safetensors file, got {weights!r}")
        path = Path(weights).expanduser().absolute()
        if not path.is_file():
            raise InputError(f"weights {path} {'are no file' if path.exists() else 'are missing'}")
        return ModelRef(name=text, architecture=name, weights_file=str(path))
    if entry:
        raise InputError(
            f"{name} has no weights: give {name}@FILE.safetensors; a .pt file goes through `robustray import weights`"
        )
    return ModelRef(name=text, architecture=name)


def _open_run(text: str, store_weights: StoreWeights | None) -> ModelRef:
    if store_weights is None:
        raise InputError(f"{text!r} names a model in a store: give the store that holds it")
    return open_stored(text, text.removeprefix("run:"), store_weights)


def open_stored(name: str, key: str, store_weights: StoreWeights) -> ModelRef:
    """The model `key` of a store, under a name. Raises: InputError as `store_weights`."""
    architecture, _ = store_weights(key)
    return ModelRef(name=name, architecture=architecture, store_key=key, read_weights=lambda: store_weights(key)[1])


def _open_published(name: str, data_root: str | None) -> ModelRef:
    architecture, file = PUBLISHED[name]
    path = Path(data_root or "DATA_ROOT", "models", file)
    if data_root is None or not path.is_file():
        raise InputError(
            f"{name} has no weights: found no {path} (--data-root, ROBUSTRAY_DATA); "
            f"give {architecture}@FILE.safetensors; a .pt file goes through `robustray import weights`"
        )
    return ModelRef(name=name, architecture=architecture, weights_file=str(path.absolute()))


def _check_normalisation(
    model: nn.Module, metadata: dict[str, Any], where: str, architecture: str
) -> dict[str, list[float]]:
    """The mean and std that came with the weights, if any did.

    Raises: InputError when they are unusable, or the user's own function built a `Normalised` with others.
    """
    from robustray.tasks.models.normalised import Normalised

    found = {name: metadata[name] for name in ("mean", "std") if metadata.get(name) is not None}
    for name, values in found.items():
        if not isinstance(values, list) or not all(isinstance(each, float) and 0 <= each < 1e3 for each in values):
            raise InputError(f"{where}: the metadata's {name} is {values!r}, expected one number per channel")
        if not isinstance(model, Normalised):
            continue
        built = getattr(model, name).flatten().tolist()
        if len(values) != len(built):
            raise InputError(f"{where}: the metadata's {name} is {values!r}, {architecture} has {len(built)} channels")
        if name == "std" and 0 in values:
            raise InputError(f"{where}: the metadata's std is {values!r}, expected numbers above 0")
        if model_entry(architecture) is None and any(abs(a - b) > 1e-4 for a, b in zip(values, built, strict=True)):
            raise InputError(f"{where} was trained with {name} {values}, {architecture} normalises with {built}")
    return found


def _entry_or_own(name: str) -> bool:
    """Whether the registry knows `name`; False for the user's own function, which is imported as a check."""
    if model_entry(name) is not None:
        check_name(name)
        return True
    try:
        load_function(name)
    except InputError as error:
        if isinstance(error.__cause__, ModuleNotFoundError):  # more likely a misspelt name than a lost module
            from robustray.tasks.models.registry import MODELS
            from robustray.tasks.words import nearest

            raise InputError(
                f"{error}, and there is no model of that name{nearest(name, {*MODELS, *PUBLISHED})}"
            ) from error
        raise
    return False


def _refuse_pickled(file: str) -> None:
    if file.lower().endswith(PICKLED):
        raise InputError(f"{file}: pickled weights are never loaded: `robustray import weights {file}` converts them")
