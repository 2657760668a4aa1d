"""On the real tree: an edit makes old exactly what depends on it. The files are edited where CODE reads them."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from robustray.tasks.attacks.blocks import attack_block, predict_block
from robustray.tasks.attacks.family import Square
from robustray.tasks.attacks.settings import PGD
from robustray.tasks.data.export import write_shards
from robustray.tasks.lab import code
from robustray.tasks.lab.definitions import Definitions
from robustray.tasks.lab.handles import MapHandle
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.models.registry import build_model
from robustray.tasks.models.weights import to_safetensors, weights_of
from robustray.tasks.training.handle import TrainHandle
from robustray.tasks.training.settings import TrainSpec

Codes = Callable[[], dict[str, str]]
MLP = frozenset({"clean mlp", "pgd mlp", "train mlp"})
DIGITS = MLP | {"square cnn"}
MAPS = frozenset({"clean mlp", "pgd mlp", "square cnn", "clean resnet"})
ATTACKS = frozenset({"pgd mlp", "square cnn"})
TRAIN = frozenset({"train mlp"})
RESNET = frozenset({"clean resnet"})
ALL = MAPS | TRAIN


@dataclass(frozen=True)
class Edit:
    """Another statement at the beginning of each function in the files whose names begin like this."""

    files: str
    """Below the repository."""
    old: frozenset[str]
    within: str = ""
    """Only of this top-level definition."""

    def __call__(self, source: bytes) -> bytes:
        tree = ast.parse(source)
        for top in tree.body:
            if not self.within or getattr(top, "name", "") == self.within:
                for node in ast.walk(top):
                    if isinstance(node, ast.FunctionDef):
                        node.body.append(ast.parse("edited = 1").body[0])
        return ast.unparse(ast.fix_missing_locations(tree)).encode()


EDITS = [
    Edit("tasks/models/digits.py", MLP, "DigitsMlp"),
    Edit("tasks/models/digits.py", frozenset({"square cnn"}), "DigitsCnn"),
    Edit("tasks/models/resnet_cifar.py", RESNET),
    Edit("tasks/models/torchvision_nets.py", frozenset()),
    Edit("tasks/models/normalised.py", ALL, "Normalised"),
    Edit("tasks/models/registry.py", ALL, "build_model"),
    Edit("tasks/models/imports.py", frozenset()),
    Edit("tasks/data/decode.py", RESNET),
    Edit("tasks/data/parquet.py", RESNET, "ParquetSource"),
    Edit("tasks/data/digits.py", DIGITS),
    Edit("tasks/data/images.py", ALL, "ImageData"),
    Edit("tasks/data/imports.py", frozenset()),
    Edit("tasks/attacks/search/square.py", frozenset({"square cnn"})),
    Edit("tasks/attacks/search/apgd.py", frozenset()),
    Edit("tasks/attacks/search/rows.py", ATTACKS | TRAIN),  # a training is checked by PGD
    Edit("tasks/attacks/search/record.py", ATTACKS | TRAIN),
    Edit("tasks/attacks/search/pgd.py", ATTACKS - {"square cnn"} | TRAIN),
    Edit("tasks/attacks/gradient/verdicts.py", ALL, "FrozenModel"),
    Edit("tasks/attacks/gradient/view.py", ATTACKS | TRAIN, "GradientView"),
    Edit("tasks/attacks/gradient/folding.py", ATTACKS | TRAIN),
    Edit("tasks/attacks/gradient/fusing.py", ATTACKS | TRAIN),
    Edit("tasks/attacks/gradient/agreement.py", ATTACKS | TRAIN),
    Edit("tasks/attacks/settings.py", ATTACKS - {"square cnn"} | TRAIN, "PGD"),
    Edit("tasks/attacks/blocks.py", ATTACKS, "_attack"),
    Edit("tasks/attacks/blocks.py", frozenset({"clean mlp", "clean resnet"}), "predict_block"),
    Edit("tasks/attacks/catalogue.py", frozenset()),
    Edit("tasks/training/step.py", TRAIN),
    Edit("tasks/training/augment.py", TRAIN),
    Edit("tasks/training/recipes.py", frozenset()),
    Edit("tasks/lab/pieces.py", MAPS, "to_table"),
    Edit("tasks/lab/jobs.py", ALL, "numerics"),
    Edit("tasks/lab/seeds.py", TRAIN),
    Edit("tasks/lab/handles.py", frozenset()),
    Edit("tasks/report/", frozenset()),
    Edit("tasks/figures/", frozenset()),
    Edit("tasks/evaluation/", frozenset()),
    Edit("tasks/studies/", frozenset()),
    Edit("tasks/sweeps/", frozenset()),
    Edit("tasks/statistics/paired.py", frozenset()),
    Edit("tasks/study.py", frozenset()),
    Edit("tasks/execution.py", frozenset()),
    Edit("distributed/", frozenset()),
    Edit("robustray/__init__.py", frozenset()),
]


@pytest.fixture(scope="module")
def codes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Codes]:
    """CODE of five steps, as the lab plans them; nothing runs."""
    folder = tmp_path_factory.mktemp("code")
    for name in ("digits:mlp", "digits:cnn", "cifar:resnet20"):
        (folder / f"{name[-3:]}.safetensors").write_bytes(to_safetensors(weights_of(build_model(name))))
    pixels = np.zeros((2, 3, 32, 32), np.uint8)
    write_shards(folder, "test", pixels, np.array([0, 1]), ["a", "b"], [str(label) for label in range(10)])

    def read() -> dict[str, str]:
        code.forget()
        lab = SerialLab(store=Store(str(folder / "store")))
        mlp, cnn, resnet = (
            lab.model(f"{name}@{folder}/{name[-3:]}.safetensors")
            for name in ("digits:mlp", "digits:cnn", "cifar:resnet20")
        )
        digits, shards = lab.data("digits:test"), lab.data(f"{folder}:test")
        handles = {
            "clean mlp": lab.map("clean", predict_block, [0], block=1, refs={"model": mlp, "data": digits}),
            "clean resnet": lab.map("clean", predict_block, [0], block=1, refs={"model": resnet, "data": shards}),
            "pgd mlp": lab.map(
                "attack",
                attack_block,
                [0],
                block=1,
                settings=PGD(norm="linf", eps=0.1),
                refs={"model": mlp, "data": digits},
            ),
            "square cnn": lab.map(
                "attack",
                attack_block,
                [0],
                block=1,
                settings=Square(norm="linf", eps=0.1),
                refs={"model": cnn, "data": digits},
            ),
            "train mlp": lab.train([TrainSpec(model="digits:mlp", data="digits:train", epochs=1)]),
        }
        found = {}
        for name, handle in handles.items():
            assert isinstance(handle, MapHandle | TrainHandle)
            job = handle.blocks[0] if isinstance(handle, MapHandle) else handle.jobs[0]
            found[name] = job.code
        return found

    yield read
    code.forget()


@pytest.fixture(scope="module")
def before(codes: Codes) -> dict[str, str]:
    torch.manual_seed(0)
    return codes()


@pytest.mark.parametrize("edit", EDITS, ids=[f"{edit.files} {edit.within}".strip() for edit in EDITS])
def test_an_edit_makes_old_exactly_what_depends_on_it(
    edit: Edit, codes: Codes, before: dict[str, str], repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, edited = code._read, []

    def read_edited(path: Path) -> bytes:
        source = read(path)
        if path.resolve().relative_to(repository).as_posix().startswith(edit.files):
            edited.append(path)
            return edit(source)
        return source

    assert any(repository.glob(f"{edit.files}*"))
    monkeypatch.setattr(code, "_read", read_edited)
    after = codes()
    assert {name for name in before if after[name] != before[name]} == edit.old
    assert edited or not edit.old


@pytest.mark.parametrize(
    ("words", "other"),
    [
        ('"""The model that attacks', '"""THE model that attacks'),
        ("# not persistent", "# never persistent"),
        ("fake_relu and no_relu exclude each other", "fake_relu and no_relu can't be had at once"),
        ("def _normalise(self, images: Tensor)", "def _normalise(self, images: nn.Parameter)"),
        ("if fake_relu and no_relu:", "if fake_relu or no_relu:"),
    ],
    ids=["docstring", "comment", "error", "annotation", "refusal"],
)
def test_words_make_nothing_old(
    words: str, other: str, codes: Codes, before: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, changed = code._read, []

    def read_edited(path: Path) -> bytes:
        text = read(path).decode()
        if path.name == "normalised.py":
            assert words in text
            changed.append(path)
        return text.replace(words, other).encode()

    monkeypatch.setattr(code, "_read", read_edited)
    assert codes() == before and changed


@pytest.mark.parametrize(
    ("source", "other", "counts"),
    [
        ("if x:\n  raise InputError('a')\n", "if not x:\n  raise InputError('b')\n", False),
        ("if x:\n  raise InputError\n", "if not x:\n  pass\n", False),
        ("if f(x):\n  raise KeyError\n", "if f(x):\n  pass\n", True),
        ("x = 1\n", "pass\n", True),
        ("if x:\n  raise ValueError\n", "if not x:\n  raise ValueError\n", True),
        ("if y := x:\n  raise InputError\n", "if y := x + 1:\n  raise InputError\n", True),
        ("if x:\n  x = 1\n  raise InputError\n", "if x:\n  x = 2\n  raise InputError\n", True),
        ("if x:\n  raise InputError\nelse:\n  x = 1\n", "if x:\n  raise InputError\nelse:\n  x = 2\n", True),
        ("if TYPE_CHECKING:\n  import a\n", "if TYPE_CHECKING:\n  import b\n", False),
        ("if TYPE_CHECKING:\n  x = 1\nelse:\n  x = 2\n", "if TYPE_CHECKING:\n  x = 1\nelse:\n  x = 3\n", True),
        ("y: int = 1\n", "y: float = 1\n", False),
        ("y: int = 1\n", "y: ClassVar[int] = 1\n", True),
        ("assert x, 'a'\n", "assert x, 'b'\n", False),
        ("assert x\n", "assert not x\n", False),
        ("assert (y := x)\n", "assert (y := x + 1)\n", True),
        ("raise KeyError('a') from x\n", "raise KeyError('b')\n", False),
        ("raise KeyError\n", "raise IndexError\n", True),
        ("x = 'a'\n", "x = 'b'\n", True),
    ],
)
def test_what_counts_in_a_definition(source: str, other: str, counts: bool) -> None:
    def text(body: str) -> str:
        inner = "".join(f"  {line}\n" for line in body.splitlines())
        made = Definitions("m", f"def f(x):\n{inner}".encode(), False, lambda name: None, lambda package, name: False)
        return made.look_up("f")[0]

    assert (text(source) != text(other)) == counts


def test_a_name_of_a_package_is_not_its_module_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`statistics.bootstrap` is a function out of the module of that name; `search.noise` is a module."""
    found = code.reached(["robustray.tasks.statistics:bootstrap", "robustray.tasks.attacks.search:noise"])
    assert "robustray.tasks.statistics.bootstrap:bootstrap" in found
    assert "robustray.tasks.attacks.search.noise:uniform" in found
    (tmp_path / "mine_with_both.py").write_text("from robustray.tasks.statistics import bootstrap\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "robustray.tasks.statistics.bootstrap:bootstrap" in code.reached(["mine_with_both"])
