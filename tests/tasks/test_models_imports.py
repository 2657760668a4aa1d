"""Checkpoints of PyTorch become safetensors, and nothing in them is run."""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from robustray.distributed.commands.imports import main
from robustray.tasks.errors import InputError
from robustray.tasks.models import build_model, open_model
from robustray.tasks.models.imports import import_weights
from robustray.tasks.models.weights import from_safetensors, to_safetensors, weights_of

State = dict[str, Any]


def state(name: str = "cifar:resnet20", num_classes: int = 10) -> State:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return dict(build_model(name, num_classes).state_dict())


def prefixed(prefix: str, values: State) -> State:
    return {prefix + key: value for key, value in values.items()}


def robust_checkpoint(mean: float = 0.4914, weights: State | None = None) -> State:
    """The layout of the published robust checkpoints: every weight twice, the normaliser, and what training needs."""
    weights = weights or state()
    stats = {"new_mean": torch.full((3, 1, 1), mean), "new_std": torch.full((3, 1, 1), 0.2)}
    model = {
        **prefixed("module.normalizer.", stats),
        **prefixed("module.model.", weights),
        **prefixed("module.attacker.normalize.", stats),
        **prefixed("module.attacker.model.", weights),
    }
    return {"model": model, "epoch": 3, "amp": None, "adv_prec1": torch.tensor(53.5), **training_state()}


def training_state() -> State:
    parameter = torch.nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.9)
    parameter.sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0)
    return {"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}


def changed(checkpoint: State, **entries: Any) -> State:
    """With other entries in its model; None takes one out. "__" stands for the dots of a key."""
    model = {**checkpoint["model"], **{key.replace("__", "."): value for key, value in entries.items()}}
    return {**checkpoint, "model": {key: value for key, value in model.items() if value is not None}}


LAYOUTS: dict[str, Callable[[], Any]] = {
    "bare": state,
    "state_dict": lambda: {"state_dict": state(), "epoch": 1},
    "model": lambda: {"model": state()},
    "data parallel": lambda: {"state_dict": prefixed("module.", state())},
    "compiled": lambda: prefixed("_orig_mod.", state()),
    "net": lambda: {"net": prefixed("module.", state()), "acc": 93.1, "epoch": 2},
    "robust": robust_checkpoint,
    "robust, one copy": lambda: {"model": {k: v for k, v in robust_checkpoint()["model"].items() if "attack" not in k}},
    "half precision": lambda: {k: v.half() if v.is_floating_point() else v for k, v in state().items()},
    "channels last": lambda: {
        k: v.contiguous(memory_format=torch.channels_last) if v.ndim == 4 else v for k, v in state().items()
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_weights_of_the_model(layout: str, tmp_path: Path) -> None:
    source, target = tmp_path / "model.pt", tmp_path / "out" / "w.safetensors"
    torch.save(LAYOUTS[layout](), source)
    done = import_weights(source, target, "cifar:resnet20")
    expected = state()
    assert set(done.keys) == set(expected) and done.num_classes == 10 and not done.left_out
    ref = open_model(f"cifar:resnet20@{target}", data_root=None)
    loaded = weights_of(ref.build(ref.fetch(), "cpu"))
    tolerance = 1e-3 if layout == "half precision" else 0
    assert all(abs(torch.tensor(loaded[key]) - expected[key]).max() <= tolerance for key in expected)
    assert [path.name for path in target.parent.iterdir()] == ["w.safetensors"]


def opened(name: str, path: Path) -> Any:
    ref = open_model(f"{name}@{path}", data_root=None)
    return ref.build(ref.fetch(), "cpu")


@pytest.mark.parametrize(
    "name, old_format",
    [("cifar:resnet18-w16", True), ("cifar:resnet50-w4", False), ("torchvision:resnet18", False)],
)
def test_a_robust_checkpoint_becomes_the_model_it_holds(name: str, old_format: bool, tmp_path: Path) -> None:
    checkpoint = robust_checkpoint(mean=0.25, weights=state(name, num_classes=7))
    torch.save(checkpoint, tmp_path / "model.pt", _use_new_zipfile_serialization=not old_format)
    done = import_weights(tmp_path / "model.pt", tmp_path / "w.safetensors", name)
    assert (done.architecture, done.num_classes, done.brought) == (name, 7, True)
    assert done.mean == (0.25,) * 3 and done.std == pytest.approx((0.2,) * 3)
    model = opened(name, tmp_path / "w.safetensors")
    expected: Any = build_model(name, 7, mean=[0.25] * 3, std=[0.2] * 3)
    expected.load_state_dict({k.removeprefix("module.model."): v for k, v in checkpoint["model"].items() if "e.m" in k})
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model(images), expected.eval()(images))


@pytest.mark.parametrize("prefix", ["normalizer.mean", "normalize.mean", "mean", "mu"])
def test_normalisers_of_other_layouts_are_kept(prefix: str, tmp_path: Path) -> None:
    std = prefix.replace("mean", "std").replace("mu", "sigma")
    stats = {prefix: torch.full((1, 3, 1, 1), 0.5), std: torch.full((1, 3, 1, 1), 0.25)}
    torch.save({"state_dict": {**state(), **stats}}, tmp_path / "model.pt")
    done = import_weights(tmp_path / "model.pt", tmp_path / "w.safetensors", "cifar:resnet20")
    assert (done.mean, done.std, done.brought) == ((0.5,) * 3, (0.25,) * 3, True)


def test_a_normalisation_may_be_given_and_else_is_the_architectures(tmp_path: Path) -> None:
    source, target = tmp_path / "model.pt", tmp_path / "w.safetensors"
    torch.save(state("cifar:wrn-10-1"), source)
    done = import_weights(source, target, "cifar:wrn-10-1")
    assert not done.brought and done.mean == pytest.approx((0.4914, 0.4822, 0.4465))
    done = import_weights(source, target, "cifar:wrn-10-1", mean=[0], std=[1])
    assert done.brought and done.mean == (0.0,) * 3
    model = opened("cifar:wrn-10-1", target)
    assert model.mean.flatten().tolist() == [0.0] * 3 and model.std.flatten().tolist() == [1.0] * 3
    import_weights(source, target, "cifar:wrn-10-1", mean=[0.1, 0.2, 0.3], std=[0.5])
    assert opened("cifar:wrn-10-1", target).mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])


def test_a_stage_that_is_never_used_is_left_out(tmp_path: Path) -> None:
    weights = state("cifar:wrn-10-1")
    spare = {f"sub_{key}": value for key, value in weights.items() if key.startswith("block1.")}
    torch.save({"state_dict": prefixed("module.", {**weights, **spare})}, tmp_path / "model.pt")
    done = import_weights(tmp_path / "model.pt", tmp_path / "w.safetensors", "cifar:wrn-10-1")
    assert set(done.left_out) == set(spare) and set(done.keys) == set(weights)


@pytest.mark.parametrize(
    "name", ["cifar:resnet20", "cifar:resnet34-w4", "cifar:wrn-16-2", "small:s", "digits:cnn", "torchvision:resnet18"]
)
def test_without_a_name_the_architecture_is_found(name: str, tmp_path: Path) -> None:
    torch.save(state(name, num_classes=3), tmp_path / "model.pt")
    done = import_weights(tmp_path / "model.pt", tmp_path / "w.safetensors", None)
    assert (done.architecture, done.num_classes) == (name, 3)


OWN = """
import torch
class Net(torch.nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, num_classes))
    def forward(self, x):
        return self.model(x)
"""


def test_ones_own_network_may_keep_its_layers_under_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_net_of_imports.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    weights = {"model.1.weight": torch.zeros(5, 64), "model.1.bias": torch.ones(5)}
    torch.save(weights, tmp_path / "model.pt")
    done = import_weights(tmp_path / "model.pt", tmp_path / "w.safetensors", "own_net_of_imports:Net")
    assert done.keys == ("model.1.weight", "model.1.bias") and done.num_classes == 5 and done.mean is None
    with pytest.raises(InputError, match="one's own normalises by itself"):
        import_weights(
            tmp_path / "model.pt", tmp_path / "w.safetensors", "own_net_of_imports:Net", mean=[0.0], std=[1.0]
        )


# --- several weights in one file --------------------------------------------------------------------------------------


def averaged_state() -> State:
    return {key: value + 1 if value.is_floating_point() else value for key, value in state("digits:cnn").items()}


def swa(count: int, weights: State) -> State:
    """The state of `torch.optim.swa_utils.AveragedModel`."""
    return {"n_averaged": torch.tensor(count), **prefixed("module.", weights)}


RAW = state("digits:cnn")
BOTH: dict[str, tuple[State, str, str]] = {
    "timm": ({"state_dict": RAW, "state_dict_ema": averaged_state(), "epoch": 3}, "state_dict", "state_dict_ema"),
    "torchvision": ({"model": RAW, "model_ema": swa(5, averaged_state())}, "model", "model_ema"),
    "ema": ({"net": prefixed("module.", RAW), "ema": averaged_state(), "acc": 0.9}, "net", "ema"),
    "averaged first": ({"swa_state_dict": averaged_state(), "state_dict": RAW}, "state_dict", "swa_state_dict"),
    "one level deeper": (
        {"model": {"state_dict": RAW}, "model_ema": {"module": averaged_state(), "decay": 0.99}},
        "model",
        "model_ema",
    ),
    "shadow weights beside their settings": (
        {"state_dict": RAW, "ema": {"decay": 0.99, "shadow": averaged_state()}},
        "state_dict",
        "ema",
    ),
    "online and average": ({"online": RAW, "ema": averaged_state()}, "online", "ema"),
    "by prefix": ({**prefixed("model.", RAW), **prefixed("ema_model.", averaged_state())}, "model", "ema_model"),
    "by prefix, with counters": (
        {**prefixed("online_model.", RAW), **prefixed("ema_model.", averaged_state()), "step": torch.tensor(7)},
        "online_model",
        "ema_model",
    ),
    "by prefix, averaged by torch": (
        {**prefixed("model.", RAW), **prefixed("model_ema.", swa(3, averaged_state()))},
        "model",
        "model_ema",
    ),
}


@pytest.mark.parametrize("case", BOTH)
def test_of_raw_and_averaged_weights_it_says_which_it_took(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, raw, average = BOTH[case]
    monkeypatch.chdir(tmp_path)
    torch.save(checkpoint, "both.pt")
    for which, entry, other in (
        ([], average, raw),
        (["--which", "averaged"], average, raw),
        (["--which", average], average, raw),
        (["--which", "raw"], raw, average),
        (["--which", raw], raw, average),
    ):
        assert main(["weights", "both.pt", "--arch", "digits:cnn", *which]) == 0
        said = capsys.readouterr().out
        kind = "averaged" if entry == average else "raw"
        assert f"took {entry!r} ({kind}); the file also holds {other!r}: --which {other} takes that" in said
        expected = averaged_state() if entry == average else RAW
        written = from_safetensors((tmp_path / "both.safetensors").read_bytes(), "x")[0]
        assert all((written[key] == value.numpy()).all() for key, value in expected.items())


@pytest.mark.parametrize(
    ("which", "says"),
    [
        ("state_dict_em", "--which state_dict_em: .* holds no such weights: did you mean 'state_dict_ema'"),
        ("optimizer", "holds no such weights.*its weights are under 'state_dict', 'state_dict_ema'"),
    ],
)
def test_weights_that_are_not_there_cannot_be_chosen(which: str, says: str, tmp_path: Path) -> None:
    torch.save({**BOTH["timm"][0], **training_state()}, tmp_path / "both.pt")
    with pytest.raises(InputError, match=says):
        import_weights(tmp_path / "both.pt", tmp_path / "w.safetensors", "digits:cnn", which=which)
    torch.save(RAW, tmp_path / "one.pt")
    with pytest.raises(InputError, match="it holds one state dict alone"):
        import_weights(tmp_path / "one.pt", tmp_path / "w.safetensors", "digits:cnn", which="averaged")


def test_weights_under_a_name_of_ones_own_are_taken_when_they_are_named(tmp_path: Path) -> None:
    torch.save({"student": RAW, "epoch": 1}, tmp_path / "own.pt")
    with pytest.raises(InputError, match="holds tensors under 'student': say which, as in --which student"):
        import_weights(tmp_path / "own.pt", tmp_path / "w.safetensors", "digits:cnn")
    done = import_weights(tmp_path / "own.pt", tmp_path / "w.safetensors", "digits:cnn", which="student")
    assert done.taken.entry == "student" and not done.taken.averaged


@pytest.mark.parametrize(
    ("count", "says"), [(4, "AveragedModel: an average of 4 models"), (0, "no average yet: n_averaged is 0")]
)
def test_torchs_averaged_model_is_unwrapped(
    count: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    net = torch.optim.swa_utils.AveragedModel(build_model("digits:cnn"))
    net.n_averaged.fill_(count)
    torch.save(net.state_dict(), "swa.pt")
    assert main(["weights", "swa.pt", "--arch", "digits:cnn"]) == 0
    assert says in capsys.readouterr().out
    written = from_safetensors((tmp_path / "swa.safetensors").read_bytes(), "x")[0]
    assert all((written[key] == value.numpy()).all() for key, value in net.module.state_dict().items())


# --- kinds of numbers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(
    "kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2]
)
def test_floats_of_any_width_become_float32_whatever_the_file(kind: torch.dtype, suffix: str, tmp_path: Path) -> None:
    source, target = tmp_path / f"in{suffix}", tmp_path / "out.safetensors"
    expected = {key: value.to(kind) for key, value in state("digits:cnn").items()}
    torch.save(expected, source) if suffix == ".pt" else save_file(expected, source)
    import_weights(source, target, "digits:cnn")
    ref = open_model(f"digits:cnn@{target}", data_root=None)
    loaded = weights_of(ref.build(ref.fetch(), "cpu"))
    assert all(loaded[key].dtype == "f4" and (loaded[key] == expected[key].float().numpy()).all() for key in expected)


def test_safetensors_in_the_layouts_of_checkpoints_are_unwrapped(tmp_path: Path) -> None:
    save_file(prefixed("module.", RAW), tmp_path / "in.safetensors")
    done = import_weights(tmp_path / "in.safetensors", tmp_path / "out.safetensors", None)
    assert done.architecture == "digits:cnn"


def odd(value: Any) -> State:
    """A checkpoint of which one weight is of an odd kind."""
    return {"state_dict": {**RAW, "conv1.weight": value}}


with warnings.catch_warnings(action="ignore"):  # torch calls most of these deprecated or a prototype
    ODD: dict[str, tuple[Any, str]] = {
        "quantised": (torch.quantize_per_tensor(torch.randn(3, 3), 0.1, 0, torch.qint8), "quantised .qint8."),
        "quantised by channel": (
            torch.quantize_per_channel(torch.ones(2, 2), torch.ones(2), torch.zeros(2), 0, torch.quint8),
            "quantised .quint8.",
        ),
        "sparse": (torch.eye(3).to_sparse(), "sparse or nested tensor"),
        "sparse by rows": (torch.eye(3).to_sparse_csr(), "sparse or nested tensor"),
        "complex": (torch.zeros(3, dtype=torch.complex64), "complex .complex64."),
        "packed": (torch.zeros(4, dtype=torch.uint8).view(torch.float4_e2m1fn_x2), "packed or quantised"),
        "without values": (torch.empty(3, device="meta"), "no values"),
        "whole numbers": (torch.zeros_like(RAW["conv1.weight"], dtype=torch.int8), "holds int8, expected floats"),
    }


@pytest.mark.parametrize("case", ODD)
def test_weights_of_an_odd_kind_are_refused_in_one_line(case: str, tmp_path: Path) -> None:
    value, says = ODD[case]
    source = tmp_path / "odd.pt"
    torch.save(odd(value), source)
    with pytest.raises(InputError, match=says) as caught:
        import_weights(source, tmp_path / "w.safetensors", "digits:cnn")
    assert "\n" not in str(caught.value) and "conv1.weight" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["odd.pt"]


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
    "numbers": (lambda: saved({"a": 3}), "'a' is int, expected tensors: a state dict, bare or under 'state_dict', 'm"),
    "copies that differ": (
        lambda: saved(changed(robust_checkpoint(), module__attacker__model__linear__bias=torch.ones(10))),
        r"its two copies of model.linear.bias differ \(1 such\)",
    ),
    "two normalisers": (
        lambda: saved(changed(robust_checkpoint(), module__attacker__normalize__new_std=torch.ones(3, 1, 1))),
        "holds two normalisers: std",
    ),
    "half a normaliser": (
        lambda: saved({**state(), "normalizer.new_mean": torch.zeros(3, 1, 1)}),
        "a normaliser's mean alone",
    ),
    "no normaliser": (
        lambda: saved({**state(), "normalizer.new_mean": torch.zeros(3, 32, 32)}),
        r"normalizer.new_mean has shape \(3, 32, 32\), expected a normaliser's \(channels, 1, 1\)",
    ),
    "std 0": (
        lambda: saved(changed(robust_checkpoint(), module__normalizer__new_std=torch.zeros(3, 1, 1))),
        "new_std is .* expected one number above 0 per channel",
    ),
    "one channel": (
        lambda: saved({**state(), "mean": torch.zeros(1, 1, 1), "std": torch.ones(1, 1, 1)}),
        "normalises 1 channels, cifar:resnet20 has 3",
    ),
    "a lost layer": (
        lambda: saved(
            changed(robust_checkpoint(), module__model__bn1__bias=None, module__attacker__model__bn1__bias=None)
        ),
        "does not fit cifar:resnet20: it lacks bn1.bias",
    ),
    "another width": (
        lambda: saved(state("cifar:resnet18-w16")),
        "it lacks layer1.2.conv1.weight, .*has unknown layer2.0.shortcut.*more. It fits cifar:resnet18-w16$",
    ),
    "a misshapen layer": (
        lambda: saved({**state(), "conv1.weight": torch.zeros(16, 3, 5, 5)}),
        r"conv1.weight has shape \(16, 3, 5, 5\), expected \(16, 3, 3, 3\)",
    ),
    "a deeper one": (lambda: saved(state("cifar:resnet32")), "has unknown layer1.3.* more. It fits cifar:resnet32"),
    "only an attacker": (lambda: saved(prefixed("attacker.", state())), "holds no weights"),
    "another architecture": (
        lambda: saved(build_model("digits:mlp").state_dict()),
        "does not fit cifar:resnet20: .*It fits digits:mlp",
    ),
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


@pytest.mark.parametrize(
    "arch, mean, std, says",
    [
        ("cifar:resnet20", [0.0], [], "--mean and --std go together"),
        ("cifar:resnet20", [0.0] * 2, [1.0], "--mean has 2 numbers, cifar:resnet20 has 3 channels"),
        ("cifar:resnet20", [0.0], [0.0], r"--std is \[0.0\], expected one number above 0"),
        ("cifar:resnet20", [-1.0], [1.0], "--mean is"),
        ("cifar:resnet20", [0.3], [0.2], r"holds a normaliser with mean .*leave --mean out"),
        (None, [0.0], [1.0], "need --arch"),
        ("cifar:resnet21", [], [], "there is no model 'cifar:resnet21'"),
        ("torchvision:resnet19", [], [], "did you mean"),
    ],
)
def test_what_is_given_wrongly_is_refused(
    arch: str | None, mean: list[float], std: list[float], says: str, tmp_path: Path
) -> None:
    torch.save(robust_checkpoint(), tmp_path / "model.pt")
    with pytest.raises(InputError, match=says):
        import_weights(tmp_path / "model.pt", tmp_path / "w.safetensors", arch, mean=mean, std=std)
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_the_command_says_what_came_in_and_what_to_type_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(robust_checkpoint(), "model.pt")
    assert main(["weights", "model.pt"]) == 0
    wrote, fit, pixels, then = capsys.readouterr().out.splitlines()
    assert wrote == "wrote model.safetensors (116 tensors)" and fit == "they fit cifar:resnet20, 10 classes"
    assert pixels == "pixels: mean 0.4914 0.4914 0.4914, std 0.2 0.2 0.2 came with them"
    assert then.endswith("run attack-sweep --data NAME --model cifar:resnet20@model.safetensors")
    torch.save(state(), "model.pt")
    assert main(["weights", "model.pt", "--arch", "cifar:resnet20", "--mean", "0", "--std", "0.5", "1", "1"]) == 0
    assert "mean 0 0 0, std 0.5 1 1 came with them" in capsys.readouterr().out
    torch.save({"layer": torch.zeros(3)}, "model.pt")
    assert main(["weights", "model.pt", "--output", "odd.safetensors"]) == 0
    assert "they fit no architecture known here: --arch" in capsys.readouterr().out
