"""Models by name: what is loaded, what the hash sees, and what is refused."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from robustray.tasks.errors import InputError
from robustray.tasks.models import build_model, open_model
from robustray.tasks.models.weights import from_safetensors, to_safetensors, weights_of


def digits_weights(num_classes: int = 10, seed: int = 0) -> dict[str, np.ndarray]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return weights_of(build_model("digits:mlp", num_classes))


def written(path: Path, weights: dict[str, np.ndarray], **metadata: Any) -> Path:
    path.write_bytes(to_safetensors(weights, **metadata))
    return path


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Write a module of the user's and return the name of its function `build`."""
    monkeypatch.syspath_prepend(tmp_path)
    count = iter(range(100))

    def write(body: str) -> str:
        module = f"own_model_{tmp_path.name}_{next(count)}".replace("-", "_")
        (tmp_path / f"{module}.py").write_text(f"import torch\nfrom torch import nn\n{body}\n")
        return f"{module}:build"

    return write


LINEAR = "def build(num_classes=10):\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))"


def outputs(name: str, **kwargs: Any) -> torch.Tensor:
    ref = open_model(name, data_root=None, **kwargs)
    model = ref.build(ref.fetch(), "cpu")
    return model(torch.linspace(0, 1, 128).view(2, 1, 8, 8))


def test_weights_come_back_to_the_bit_and_frozen(tmp_path: Path) -> None:
    weights = digits_weights()
    ref = open_model(f"digits:mlp@{written(tmp_path / 'w.safetensors', weights)}", data_root=None)
    payload = ref.fetch()
    for array in payload["weights"].values():  # as in shared memory
        array.flags.writeable = False
    model = ref.build(payload, "cpu")
    loaded = weights_of(model)
    assert loaded.keys() == weights.keys() and all(np.array_equal(loaded[key], weights[key]) for key in weights)
    assert not model.training and not any(p.requires_grad for p in model.parameters())


def test_the_number_of_classes_is_that_of_the_weights(tmp_path: Path, own: Callable[[str], str]) -> None:
    path = written(tmp_path / "w.safetensors", digits_weights(num_classes=7))
    assert outputs(f"digits:mlp@{path}").shape == (2, 7)
    linear = {"1.weight": np.zeros((5, 64), np.float32), "1.bias": np.zeros(5, np.float32)}
    path = written(tmp_path / "v.safetensors", linear)
    assert outputs(f"{own(LINEAR)}@{path}").shape == (2, 5)
    assert outputs(f"{own(LINEAR.replace('=10', ''))}@{path}").shape == (2, 5)


def test_building_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    path = written(tmp_path / "w.safetensors", digits_weights())
    before = torch.random.get_rng_state()
    outputs(f"digits:mlp@{path}")
    assert torch.equal(before, torch.random.get_rng_state())


def test_batch_counters_may_be_absent(tmp_path: Path) -> None:
    weights = weights_of(build_model("small:s"))
    lean = {key: value for key, value in weights.items() if not key.endswith("num_batches_tracked")}
    assert len(lean) == 47
    for name, kept in (("full", weights), ("lean", lean)):
        open_model(f"small:s@{written(tmp_path / f'{name}.safetensors', kept)}", data_root=None).fetch()


def test_normalisation_that_came_with_the_weights_is_used(tmp_path: Path) -> None:
    weights = digits_weights()
    plain = outputs(f"digits:mlp@{written(tmp_path / 'a.safetensors', weights)}")
    same = outputs(f"digits:mlp@{written(tmp_path / 'b.safetensors', weights, mean=[0.3053], std=[0.3765])}")
    other = outputs(f"digits:mlp@{written(tmp_path / 'c.safetensors', weights, mean=[0.0], std=[1.0])}")
    assert torch.equal(plain, same) and not torch.equal(plain, other)


def test_the_hash_sees_weights_and_architecture_but_no_path(tmp_path: Path) -> None:
    first = written(tmp_path / "a.safetensors", digits_weights())
    copy = written(tmp_path / "b.safetensors", digits_weights())
    other = written(tmp_path / "c.safetensors", digits_weights(seed=1))
    names = [f"digits:mlp@{first}", f"digits:mlp@{copy}", f"digits:mlp@{other}", f"digits:cnn@{first}"]
    hashes = [open_model(name, data_root=None).content_hash for name in names]
    assert hashes[0] == hashes[1] and len(set(hashes)) == 3


def test_a_model_of_the_store_is_looked_up_by_its_key_and_travels(tmp_path: Path) -> None:
    data = to_safetensors(digits_weights(), model="digits:mlp")
    asked = []

    def store(key: str) -> tuple[str, bytes]:
        asked.append(key)
        return "digits:mlp", data

    ref = open_model("run:abc", store_weights=store, data_root=None)
    payload = ref.fetch()
    assert set(asked) == {"abc"} and ref.architecture == "digits:mlp"
    there = pickle.loads(pickle.dumps(ref))
    assert there.content_hash == ref.content_hash
    assert there.build(payload, "cpu")(torch.zeros(1, 1, 8, 8)).shape == (1, 10)
    with pytest.raises(InputError, match="store"):
        open_model("run:abc", data_root=None)


def test_equal_weights_give_equal_bytes_whatever_the_order() -> None:
    weights = digits_weights()
    backwards = dict(reversed(weights.items()))
    assert to_safetensors(weights, a=1, b=[2.5]) == to_safetensors(backwards, b=[2.5], a=1)
    assert from_safetensors(to_safetensors(weights, a=1), "x")[1] == {"a": 1}


def test_ones_own_model_without_weights_is_the_same_everywhere(own: Callable[[str], str]) -> None:
    name = own(LINEAR)
    one, two = open_model(name, data_root=None), open_model(name, data_root=None)
    assert one.content_hash == two.content_hash and one.modules[-1] == name.partition(":")[0]
    torch.manual_seed(5)
    assert torch.equal(outputs(name), outputs(name))


def test_names_of_published_weights_are_found_under_the_data_root(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    written(tmp_path / "models" / "small_linf8.safetensors", weights_of(build_model("small:s")))
    ref = open_model("small:linf8", data_root=str(tmp_path))
    assert (ref.name, ref.architecture) == ("small:linf8", "small:s")
    ref.fetch()


# --- refusals --------------------------------------------------------------------------------------------------------


def cut(path: Path, keep: float) -> Path:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    return path


def with_header(path: Path, header: bytes) -> Path:
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    return path


def changed(tmp: Path, **changes: np.ndarray | None) -> Path:
    weights: dict[str, np.ndarray | None] = {**digits_weights()}
    weights.update({key.replace("__", "."): value for key, value in changes.items()})
    return written(tmp / "w.safetensors", {key: value for key, value in weights.items() if value is not None})


def raw(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def double(tmp: Path) -> Path:
    save_file({key: value.astype(np.float64) for key, value in digits_weights().items()}, tmp / "w.safetensors")
    return tmp / "w.safetensors"


NAN = np.full((10,), np.nan, np.float32)
BAD_FILES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda t: t / "w.safetensors", "are missing"),
    "a folder": (lambda t: (written(t / "x", {}), t)[1] / ".safetensors", "are missing"),
    "truncated": (lambda t: cut(written(t / "w.safetensors", digits_weights()), 0.7), "truncated"),
    "empty": (lambda t: raw(t / "w.safetensors", b""), "truncated"),
    "text": (lambda t: raw(t / "w.safetensors", b"hello" * 100), "truncated"),
    "huge header": (lambda t: raw(t / "w.safetensors", b"\xff" * 100), "truncated"),
    "nonsense header": (lambda t: with_header(t / "w.safetensors", json.dumps({"a": 3}).encode()), "truncated"),
    "no weights": (lambda t: written(t / "w.safetensors", {}), "holds no weights"),
    "NaN": (lambda t: changed(t, head__bias=NAN), "head.bias holds NaN"),
    "double": (double, "stored as F64; .*robustray import weights .* float32"),
    "lost key": (lambda t: changed(t, hidden2__bias=None), "lacks hidden2.bias"),
    "unknown key": (lambda t: changed(t, more__bias=np.zeros(2, np.float32)), "has unknown more.bias"),
    "another architecture": (
        lambda t: written(t / "w.safetensors", weights_of(build_model("digits:cnn"))),
        "does not fit digits:mlp: it lacks hidden1.weight, hidden1.bias, .* has unknown conv1.bias, .* and 3 more",
    ),
    "another shape": (
        lambda t: changed(t, hidden2__bias=np.zeros(63, np.float32)),
        r"hidden2.bias has shape \(63,\), expected \(64,\)",
    ),
    "two heads": (lambda t: changed(t, head__bias=np.zeros(9, np.float32)), r"head.bias has shape \(9,\)"),
    "bad metadata": (lambda t: written(t / "w.safetensors", digits_weights(), mean=["a"]), "metadata's mean"),
    "three channels": (lambda t: written(t / "w.safetensors", digits_weights(), mean=[0.1] * 3), "has 1 channels"),
    "zero std": (lambda t: written(t / "w.safetensors", digits_weights(), std=[0.0]), "metadata's std"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_unusable_weights_are_refused_in_one_line_with_the_file(case: str, tmp_path: Path) -> None:
    make, says = BAD_FILES[case]
    path = make(tmp_path)
    with pytest.raises(InputError, match=says) as caught:
        open_model(f"digits:mlp@{path}", data_root=None).fetch()
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize(
    "name, says",
    [
        ("digits:mlp", "has no weights: give digits:mlp@FILE.safetensors; a .pt file goes through `robustray import w"),
        ("cifar:resnet20", "found no DATA_ROOT/models/resnet20_cifar10.safetensors .*cifar:resnet20@FILE.safetensors"),
        ("small:standard", "small:s@FILE.safetensors"),
        ("small:standard@w.safetensors", "small:s@w.safetensors"),
        ("digits:mlp@model.pt", "pickled weights are never loaded: `robustray import weights model.pt"),
        ("digits:mlp@model.PTH", "pickled weights are never loaded"),
        ("model.ckpt", "pickled weights are never loaded: `robustray import weights model.ckpt"),
        ("w.safetensors", "names no architecture: give NAME@w.safetensors"),
        ("digits:mlp@", "must be a .safetensors file"),
        ("digits:mlp@weights.npz", "must be a .safetensors file"),
        ("digit:mlp@w.safetensors", "no model of that name: did you mean 'digits:mlp'"),
        ("cifar:resnet21@w.safetensors", "there is no model 'cifar:resnet21'"),
        ("resnet", "there is no model 'resnet'"),
        ("", "there is no model ''"),
        ("torchvision:resnet19@w.safetensors", "no classifier 'resnet19': did you mean"),
        ("torchvision:resnet18", "torchvision:resnet18 has no weights: give torchvision:resnet18@FILE.safetensors"),
        ("cifar:wrn-28-10", "cifar:wrn-28-10 has no weights"),
        ("cifar:wrn-26-10@w.safetensors", "takes DEPTH 10, 16, 22"),
    ],
)
def test_names_that_lead_nowhere_say_what_to_write(name: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        open_model(name, data_root=None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "body, says",
    [
        ("def build():\n    raise OSError('no disk')", "build raised OSError: no disk .*own_model.*:4"),
        ("def build():\n    return 3", "build returned int, expected a torch.nn.Module"),
        ("def build(width):\n    return nn.Linear(width, 2)", "needs 'width': give it a default"),
        ("def build(num_classes):\n    return nn.Linear(1, num_classes)", "needs 'num_classes'"),
        ("build = 3", "no function 'build'"),
        ("def build():\n    m = nn.Linear(2, 2)\n    m.weight.data.fill_(float('nan'))\n    return m", "holds NaN"),
    ],
)
def test_errors_in_ones_own_function_name_it(own: Callable[[str], str], body: str, says: str) -> None:
    name = own(body)
    with pytest.raises(InputError, match=says) as caught:
        open_model(name, data_root=None).fetch()
    assert name.partition(":")[0] in str(caught.value)


def test_weights_with_another_normalisation_than_ones_own_are_refused(
    own: Callable[[str], str], tmp_path: Path
) -> None:
    name = own(
        "from robustray.tasks.models.digits import DigitsMlp\n"
        "from robustray.tasks.models.normalised import Normalised\n"
        "def build(num_classes=10):\n    return Normalised(DigitsMlp(num_classes), [0.5], [0.5])"
    )
    good = written(tmp_path / "a.safetensors", digits_weights(), mean=[0.5], std=[0.5])
    assert outputs(f"{name}@{good}").shape == (2, 10)
    bad = written(tmp_path / "b.safetensors", digits_weights(), mean=[0.4], std=[0.5])
    with pytest.raises(InputError, match=r"trained with mean \[0.4\], .* normalises with \[0.5\]"):
        open_model(f"{name}@{bad}", data_root=None).fetch()
