"""The same request has the same name everywhere, and every part that results depend on is part of the name."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustray.tasks.errors import InputError
from robustray.tasks.lab import keys
from robustray.tasks.lab.protocol import BlockFunction, Context, Needs, Tensor, block_function


@dataclass(frozen=True, kw_only=True)
class Inner:
    sizes: tuple[float, ...] = (0.1, 0.2)


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str = "a"
    inner: Inner = Inner()


@dataclass(frozen=True, kw_only=True)
class Twin:
    """Another type with the fields of `Outer`."""

    name: str = "a"
    inner: Inner = Inner()


@dataclass(frozen=True)
class CallsAFieldType:
    type: str


@dataclass(frozen=True)
class Artefact:
    """A reference of which only the hash counts."""

    content_hash: str
    name: str = "artefact"
    modules: tuple[str, ...] = ()

    def fetch(self) -> None:
        return None

    def build(self, payload: Any, device: str) -> None:
        return None


# -- canonical JSON ----------------------------------------------------------------------------------------------------

CANONICAL: list[tuple[Any, str]] = [
    (None, "null"),
    (True, "true"),
    (1, "1"),
    (1.0, "1.0"),
    (0.1, "0.1"),
    (8 / 255, "0.03137254901960784"),
    (-0.0, "-0.0"),
    (1e22, "1e+22"),
    (5e-324, "5e-324"),
    (2**80, "1208925819614629174706176"),
    ("é\u2028", '"\\u00e9\\u2028"'),
    ([], "[]"),
    ((1, [2]), "[1,[2]]"),
    (range(3), "[0,1,2]"),
    ({"b": 1, "a": (2,)}, '{"a":[2],"b":1}'),
    (np.float64(0.1), "0.1"),
    (np.float32(0.1), "0.10000000149011612"),
    (np.int16(-3), "-3"),
    (np.bool_(True), "true"),
    (np.array(2.5), "2.5"),
    (np.str_("x"), '"x"'),
    (Inner(), f'{{"sizes":[0.1,0.2],"type":"{Inner.__module__}:Inner"}}'),
]


@pytest.mark.parametrize(("value", "text"), CANONICAL, ids=[text[:30] for _, text in CANONICAL])
def test_canonical(value: Any, text: str) -> None:
    assert keys.canonical(value) == text
    assert keys.canonical(keys.plain(value)) == text  # making it plain twice changes nothing


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        np.float32("nan"),
        [1, [2, -math.inf]],
        {"a": {"b": math.nan}},
        b"abc",  # would read as [97, 98, 99]
        bytearray(b"abc"),
        memoryview(b"abc"),
        {1, 2},
        {1: "a"},
        1j,
        np.complex64(1),
        np.longdouble(1),  # has no exact Python float
        np.zeros(3),
        np.zeros((1, 1)),
        object(),
        Inner,
        len,
        iter([1]),
        CallsAFieldType("x"),  # its field and the class's name would fight for one word
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_json_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(InputError) as refused:
        keys.canonical(value)
    assert len(str(refused.value).splitlines()) == 1


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(JSON_VALUES)
def test_canonical_json_is_exact(value: Any) -> None:
    """Reading it back gives the same value, bit for bit (`repr` tells -0.0 from 0.0 and 1 from 1.0)."""
    read = json.loads(keys.canonical(value))
    assert keys.canonical(read) == keys.canonical(value)
    assert repr(_sorted(read)) == repr(_sorted(value))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def test_the_order_of_a_dictionary_does_not_matter_and_that_of_a_list_does() -> None:
    assert keys.digest({"a": 1, "b": 2}) == keys.digest({"b": 2, "a": 1})
    assert keys.digest([1, 2]) != keys.digest([2, 1])


def test_digest_is_fixed_for_ever() -> None:
    """A change of the key's definition orphans every store; it needs a line in the change log."""
    assert keys.digest({"a": [1, 2.5, None, "x"]}) == "629bba16e68e57c0"


# -- keys of steps and blocks ------------------------------------------------------------------------------------------


@block_function(version=1, columns={"x": pa.int64(), "y": Tensor("uint8")})
def measure(items: Sequence[Any], context: Context) -> Mapping[str, Any]:
    return {"x": items, "y": np.zeros((len(items), 1), "uint8")}


@block_function(version=1, columns={"x": pa.int64(), "y": Tensor("uint8")})
def other(items: Sequence[Any], context: Context) -> Mapping[str, Any]:
    return measure(items, context)


def _step_key(**changed: Any) -> str:
    asked: dict[str, Any] = {
        "step": "step",
        "function": measure,
        "seed": 0,
        "settings": Outer(),
        "refs": {"model": Artefact("aa"), "data": Artefact("bb")},
        "numerics": keys.numerics_class("cpu", Needs()),
    }
    asked |= changed
    return keys.step_key(asked.pop("step"), asked.pop("function"), **asked)


CHANGES: dict[str, dict[str, Any]] = {
    "step": {"step": "other step"},
    "function": {"function": other},
    "version": {"function": dataclasses.replace(measure, version=2)},
    "column type": {"function": dataclasses.replace(measure, columns={"x": pa.int32(), "y": Tensor("uint8")})},
    "tensor type": {"function": dataclasses.replace(measure, columns={"x": pa.int64(), "y": Tensor("int8")})},
    "column name": {"function": dataclasses.replace(measure, columns={"z": pa.int64(), "y": Tensor("uint8")})},
    "seed": {"seed": 1},
    "settings": {"settings": Outer(name="b")},
    "nested settings": {"settings": Outer(inner=Inner(sizes=(0.1, 0.2000000001)))},
    "type of settings": {"settings": Twin()},
    "no settings": {"settings": None},
    "content of a reference": {"refs": {"model": Artefact("aa"), "data": Artefact("bc")}},
    "exchanged references": {"refs": {"model": Artefact("bb"), "data": Artefact("aa")}},
    "one reference less": {"refs": {"model": Artefact("aa")}},
    "device": {"numerics": keys.numerics_class("cuda", Needs())},
    "threads": {"numerics": keys.numerics_class("cpu", Needs(threads=2))},
}


@pytest.mark.parametrize("what", CHANGES)
def test_whatever_rows_depend_on_changes_the_key(what: str) -> None:
    assert _step_key(**CHANGES[what]) != _step_key()


def test_all_these_keys_differ_from_each_other() -> None:
    assert len({_step_key(**change) for change in CHANGES.values()}) == len(CHANGES)


@pytest.mark.parametrize(
    "change",
    [
        {"refs": {"data": Artefact("bb"), "model": Artefact("aa")}},
        {"refs": {"model": Artefact("aa", name="another name"), "data": Artefact("bb", modules=("m",))}},
        {"seed": np.int64(0)},
        {"numerics": keys.numerics_class("cpu", Needs(gpus=0.25))},
    ],
    ids=["order of references", "names of references", "type of the seed", "share of a GPU"],
)
def test_what_rows_do_not_depend_on_leaves_the_key(change: dict[str, Any]) -> None:
    assert _step_key(**change) == _step_key()


def test_block_keys() -> None:
    key = keys.block_key("step", 4, [1, 2])
    assert key == keys.block_key("step", 4, (1, 2)) == keys.block_key("step", 4, range(1, 3))
    others: list[tuple[str, int, list[Any]]] = [
        ("step2", 4, [1, 2]),
        ("step", 5, [1, 2]),
        ("step", 4, [1, 2, 3]),
        ("step", 4, [1.0, 2]),
        ("step", 4, ["1", 2]),
    ]
    assert len({key, *(keys.block_key(*each) for each in others)}) == len(others) + 1


# -- what may be a block function --------------------------------------------------------------------------------------


def _closure() -> Callable[..., Any]:
    def inner(items: Sequence[Any], context: Context) -> Mapping[str, Any]:
        return {}

    return inner


def _of_main() -> Callable[..., Any]:
    def inner(items: Sequence[Any], context: Context) -> Mapping[str, Any]:
        return {}

    inner.__qualname__, inner.__module__ = "inner", "__main__"
    return inner


@pytest.mark.parametrize(
    "function", [lambda items, context: {}, _closure(), _of_main()], ids=["lambda", "closure", "main"]
)
def test_functions_without_a_stable_name_are_refused(function: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match="no stable name"):
        block_function(version=1, columns={})(function)


def test_a_block_function_is_called_like_the_function() -> None:
    assert isinstance(measure, BlockFunction)
    assert measure.qualified_name == f"{__name__}:measure"
    assert measure([3], Context(settings=None, seed=0, device="cpu", load=lambda role: None))["x"] == [3]


@pytest.mark.parametrize("bad", [{"threads": 0}, {"threads": -1}, {"gpus": -0.1}, {"gpus": 1.5}])
def test_impossible_needs_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Needs(**bad)
