"""Checkpoints of PyTorch become safetensors, and nothing in them is run."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from robustray.tasks.errors import InputError
from robustray.tasks.models import build_model, open_model
from robustray.tasks.models.imports import import_weights
from robustray.tasks.models.weights import from_safetensors, to_safetensors, weights_of

State = dict[str, Any]


def state() -> State:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return dict(build_model("cifar:resnet20").state_dict())


def prefixed(prefix: str, values: State) -> State:
    return {prefix + key: value for key, value in values.items()}


def robust_checkpoint(mean: float = 0.4914) -> State:
    """The layout of the published robust checkpoints: every weight twice, and the normaliser."""
    stats = {"new_mean": torch.full((3, 1, 1), mean), "new_std": torch.full((3, 1, 1), 0.2)}
    model = {
        **prefixed("module.model.", state()),
        **prefixed("module.attacker.model.", state()),
        **prefixed("module.normalizer.", stats),
        **prefixed("module.attacker.normalize.", stats),
    }
    return {"model": model, "epoch": 3, "schedule": None, "optimizer": {"state": {}}}


LAYOUTS: dict[str, Callable[[], Any]] = {
    "bare": state,
    "state_dict": lambda: {"state_dict": state(), "epoch": 1},
    "model": lambda: {"model": state()},
    "data parallel": lambda: {"state_dict": prefixed("module.", state())},
    "compiled": lambda: prefixed("_orig_mod.", state()),
    "robust": robust_checkpoint,
    "half precision": lambda: {k: v.half() if v.is_floating_point() else v for k, v in state().items()},
    "channels last": lambda: {
        k: v.contiguous(memory_format=torch.channels_last) if v.ndim == 4 else v for k, v in state().items()
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_weights_of_the_model(layout: str, tmp_path: Path) -> None:
    source, target = tmp_path / "model.pt", tmp_path / "out" / "w.safetensors"
    torch.save(LAYOUTS[layout](), source)
    keys = import_weights(source, target, "cifar:resnet20")
    expected = state()
    assert set(keys) == set(expected)
    ref = open_model(f"cifar:resnet20@{target}", data_root=None)
    loaded = weights_of(ref.build(ref.fetch(), "cpu"))
    tolerance = 1e-3 if layout == "half precision" else 0
    assert all(abs(torch.tensor(loaded[key]) - expected[key]).max() <= tolerance for key in expected)
    assert [path.name for path in target.parent.iterdir()] == ["w.safetensors"]


def test_the_normaliser_of_a_robust_checkpoint_is_kept(tmp_path: Path) -> None:
    torch.save(robust_checkpoint(mean=0.25), tmp_path / "model.pt")
    import_weights(tmp_path / "model.pt", tmp_path / "w.safetensors", "cifar:resnet20")
    ref = open_model(f"cifar:resnet20@{tmp_path / 'w.safetensors'}", data_root=None)
    model: Any = ref.build(ref.fetch(), "cpu")
    assert model.mean.flatten().tolist() == [0.25] * 3 and model.std.flatten().tolist() == pytest.approx([0.2] * 3)


def test_safetensors_are_taken_too_and_an_architecture_is_optional(tmp_path: Path) -> None:
    source, target = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    source.write_bytes(to_safetensors(weights_of(build_model("digits:mlp", 7))))
    import_weights(source, target, None)
    assert from_safetensors(target.read_bytes(), "x")[1] == {}
    import_weights(source, target, "digits:mlp")
    assert from_safetensors(target.read_bytes(), "x")[1] == {"architecture": "digits:mlp"}


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return (exec, ("raise SystemExit('the pickle was run')",))


def saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "code in a checkpoint": (lambda: saved({"state_dict": state(), "more": Evil()}), "nothing was run"),
    "a whole model": (lambda: saved(build_model("digits:mlp")), "nothing was run"),
    "a bare pickle": (lambda: pickle.dumps(Evil(), protocol=2), "nothing was run"),
    "text": (lambda: b"hello" * 100, "cannot be read as a PyTorch file"),
    "empty": (lambda: b"", "cannot be read"),
    "truncated": (lambda: saved(state())[:-5000], "cannot be read"),
    "a list": (lambda: saved([torch.zeros(1)]), "holds list, expected a state dict"),
    "no weights": (lambda: saved({}), "expected a state dict"),
    "numbers": (lambda: saved({"a": 3}), "'a' is int"),
    "only an attacker": (lambda: saved(prefixed("attacker.", state())), "holds no weights"),
    "another architecture": (lambda: saved(build_model("digits:mlp").state_dict()), "does not fit cifar:resnet20"),
    "NaN": (lambda: saved({**state(), "bn1.weight": torch.full((16,), torch.nan)}), "bn1.weight holds NaN"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_checkpoints_are_refused_and_nothing_is_written(case: str, tmp_path: Path) -> None:
    make, says = BAD[case]
    source, target = tmp_path / "model.pt", tmp_path / "w.safetensors"
    source.write_bytes(make())
    with pytest.raises(InputError, match=says) as caught:
        import_weights(source, target, "cifar:resnet20")
    assert "\n" not in str(caught.value) and str(source) in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_bad_paths_are_refused(tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "model.pt")
    (tmp_path / "file").touch()
    for source, target, says in [
        (tmp_path / "nowhere.pt", tmp_path / "w.safetensors", "missing"),
        (tmp_path, tmp_path / "w.safetensors", "is no file"),
        (tmp_path / "model.pt", tmp_path / "w.pt", "must end in .safetensors"),
        (tmp_path / "model.pt", tmp_path / "file" / "w.safetensors", "cannot write"),
    ]:
        with pytest.raises(InputError, match=says):
            import_weights(source, target, None)
