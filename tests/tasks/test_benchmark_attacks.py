"""The benchmark of the attacks: arithmetic of records, tables, and our own contenders on a few images; no timings."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch


@pytest.fixture(scope="module")
def parts(repository: Path) -> dict[str, ModuleType]:
    """The modules of benchmarks/versus that need neither Ray nor another library."""
    from importlib import import_module

    sys.path.insert(0, str(repository))
    try:
        names = ("records", "rounds", "tables", "bound", "constructing", "peers")
        return {name: import_module(f"benchmarks.versus.{name}") for name in names}
    finally:
        sys.path.remove(str(repository))


@pytest.fixture(scope="module")
def rec(parts: dict[str, ModuleType]) -> Any:
    return parts["records"]


def record(rec: Any, **changes: Any) -> Any:
    first = rec.Record(
        kind="pgd", model="small:linf8", norm="linf", contender=rec.LAST, precision="fp32", round=0, images=4,
        threads=1, wall=2.0, cpu=1.0, foreign_load=0.0, standing="5", code="c",
    )  # fmt: skip
    return replace(first, **changes)


def test_standing_images_survive_the_file(rec: Any, tmp_path: Path) -> None:
    stand = [True, False, False, True, True, False, True]
    records = [record(rec, images=7, standing=rec.standing(stand)), record(rec, standing=rec.standing([False] * 4))]
    rec.save(tmp_path / "new" / "records.json", {"cpus": 2}, records)
    assert rec.load(tmp_path / "new" / "records.json") == ({"cpus": 2}, records)
    assert records[0].stand == stand
    assert [r.accuracy for r in records] == [pytest.approx(400 / 7), 0.0]
    assert rec.load(tmp_path / "none.json") == ({}, [])


def test_only_rounds_of_the_same_code_images_and_threads_are_added_to(rec: Any) -> None:
    good = record(rec)
    others = [record(rec, code="d"), record(rec, images=8), record(rec, threads=2), record(rec, norm="l2")]
    assert rec.still_good([good, *others], good.cell, 4, 1, "c") == [good]


def test_rounds_of_other_processors_do_not_mix(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(repository))
    from benchmarks import attacks

    monkeypatch.setattr(attacks, "processor", lambda: "avx2")
    machine: dict[str, Any] = {}
    attacks.update(machine, Path("records.json"))
    assert machine["cpu"] == "avx2"
    monkeypatch.setattr(attacks, "processor", lambda: "avx2 amx_bf16")
    with pytest.raises(SystemExit, match=r"records.json was measured on a CPU with avx2, this one has avx2 amx_bf16"):
        attacks.update(machine, Path("records.json"))
    assert machine["cpu"] == "avx2"


def rounds_of(rec: Any, walls: dict[str, tuple[float, ...]], **changes: Any) -> list[Any]:
    """One record for each contender and round."""
    return [
        record(rec, contender=name, round=number, wall=wall, cpu=wall / 2, **changes)
        for name, values in walls.items()
        for number, wall in enumerate(values)
    ]


def test_the_ratio_is_that_of_medians_to_the_fastest_peer(rec: Any) -> None:
    records = rounds_of(rec, {rec.LAST: (2.0, 1.0, 4.0), "slow": (9.0, 9.0, 9.0), "fast": (3.0, 4.0, 2.0)})
    (found,) = rec.compare(records)
    assert (found.rival, found.by, found.rounds, found.images) == ("fast", "wall", 3, 4)
    assert found.ratio == 3.0 / 2.0
    assert (found.low, found.high) == (0.5, 4.0)
    assert (found.accuracy, found.rival_accuracy, found.same_images) == (50.0, 50.0, 100.0)
    assert found.rate == 4 / 2.0
    assert (found.aim, found.verdict) == (1.5, "aim")


@pytest.mark.parametrize(("ours", "verdict"), [(2.0, "aim"), (2.3, "accepted"), (2.4, "below")])
def test_accepted_is_85_percent_of_the_aim(rec: Any, ours: float, verdict: str) -> None:
    (found,) = rec.compare(rounds_of(rec, {rec.LAST: (ours,), "peer": (3.0,)}))
    assert found.verdict == verdict


def test_cpu_time_counts_where_others_were_busy(rec: Any) -> None:
    records = rounds_of(rec, {rec.LAST: (2.0,), "peer": (3.0,)})
    (found,) = rec.compare([replace(records[0], cpu=0.5), replace(records[1], cpu=2.0, foreign_load=0.4)])
    assert (found.by, found.ratio, found.foreign_load) == ("cpu", 4.0, 0.4)


def test_a_weaker_peer_is_no_rival_and_our_other_forms_are_none(rec: Any) -> None:
    records = rounds_of(rec, {rec.LAST: (2.0,), rec.FIRST: (0.1,), "peer": (3.0,)})
    records += rounds_of(rec, {"weaker": (1.0,)}, standing="f")
    last, first = rec.compare(records)
    assert (last.rival, last.ratio) == ("peer", 1.5)
    assert (first.rival, first.ratio, first.aim) == ("peer", pytest.approx(30.0), None)
    assert rec.compare([r for r in records if r.contender in (rec.LAST, "weaker")]) == []


def test_parts_of_ours_are_compared_in_one_precision(rec: Any) -> None:
    fp32 = rounds_of(rec, {rec.OURS: (4.0,), "its convolutions": (3.0,)}, kind="bound")
    bf16 = rounds_of(rec, {rec.OURS: (2.0,), "its convolutions": (1.0,)}, kind="bound", precision="bf16")
    assert [(c.precision, c.ratio) for c in rec.compare(fp32 + bf16)] == [("fp32", 0.75), ("bf16", 0.5)]


def test_a_ratio_can_grow_until_only_convolutions_take_time(rec: Any) -> None:
    speeds = rounds_of(rec, {rec.LAST: (2.0,), rec.FIRST: (1.0,), "peer": (3.0,)})
    parts = rounds_of(rec, {rec.OURS: (4.0,), "its convolutions": (3.0,)}, kind="bound")
    assert [(c.line.kind, c.ceiling) for c in rec.compare(speeds + parts)] == [
        ("pgd", pytest.approx(1.5 / 0.75)),
        ("pgd", None),  # an exit at the first success has other costs
        ("bound", None),
    ]
    assert [c.ceiling for c in rec.compare(speeds)] == [None, None]


def test_tables_say_what_was_measured(rec: Any, parts: dict[str, ModuleType]) -> None:
    records = rounds_of(rec, {rec.LAST: (2.0, 2.0), "peer": (3.0, 3.2)})
    text = parts["tables"].speeds(records)
    assert "**PGD-20, last iterate**" in text
    row = next(line for line in text.splitlines() if line.startswith("| `small:linf8`"))
    for words in ("ℓ∞ 8/255", "peer", "1.55 (1.50–1.60)", "wall", "1.50", "1.27", "aim", "50.0 % / 50.0 %"):
        assert words in row
    assert "2 rounds" in text

    strong = [
        record(rec, kind="strength", contender=name, precision="fp32", standing=standing)
        for name, standing in ((rec.LAST, "5"), ("foolbox", "7"))
    ]
    text = parts["tables"].strength(strong)
    assert "50.0 [" in text and "75.0 [" in text and "-25.0 [" in text


def case(parts: dict[str, ModuleType], norm: str) -> Any:
    """A tiny model that a step can fool, and images; what real ones need is no different."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4 * 64, 10)
    )
    images = torch.rand(20, 3, 8, 8)
    model = model.eval().requires_grad_(False)
    return parts["rounds"].Case(model=model, images=images, labels=model(images).argmax(1), norm=norm, batch_size=8)


def test_a_peer_that_misses_one_image_more_is_a_rival_and_lines_name_theirs(rec: Any) -> None:
    ours = rounds_of(rec, {rec.OURS: (2.0,)}, kind="construct", model="small:l2_05", precision="bf16")
    peers = rounds_of(rec, {"plain loop": (3.0,)}, kind="construct", model="small:l2_05", standing="7")
    peers += rounds_of(rec, {"robustness": (5.0,)}, kind="construct", model="small:l2_05")
    assert [(c.rival, c.ratio, c.verdict) for c in rec.compare(ours + peers)] == [
        ("robustness", 2.5, "aim"),
        ("plain loop", 1.5, "below"),
    ]


def test_a_construction_is_that_of_a_plain_loop(parts: dict[str, ModuleType]) -> None:
    from tests.tasks.digits_networks import digits, trained

    constructing, model = parts["constructing"], trained("cnn")
    starts, goal = constructing.pairs(model, digits(20)[0])
    steps = 6  # after more of them rounding may put a unit on the other side of its kink, and an image elsewhere
    ours = constructing.ours(model, steps, "fp32")(starts, goal)
    plain = constructing.plain(model, steps, 16, autocast=False)(starts, goal)
    torch.testing.assert_close(ours, plain, atol=1e-4, rtol=0)
    assert not any(constructing.farther(model, digits(20)[0], goal)), "the targets themselves are at their latents"


@pytest.mark.parametrize("kind", ["pgd", "apgd"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_ours_take_part_in_both_precisions(
    kind: str, norm: str, parts: dict[str, ModuleType], rec: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = parts["rounds"]
    monkeypatch.setitem(rounds.THEIRS, kind, {})
    here = case(parts, norm)
    monkeypatch.setattr(rounds, "_steps", lambda kind: 3)
    names = (rec.LAST, rec.FIRST) if kind == "pgd" else (rec.OURS,)
    orders = []
    for number in (0, 1):
        found = list(rounds.run_round(rec.Cell(kind, "small:linf8", norm), here, number, threads=1, code="c"))
        orders.append([(r.contender, r.precision) for r in found])
        assert set(orders[-1]) == {(name, precision) for name in names for precision in ("fp32", "bf16")}
        assert all(r.round == number and r.wall > 0 and len(r.stand) == r.images == 20 for r in found)
    assert orders[1] == orders[0][1:] + orders[0][:1]


def test_the_bound_runs_every_convolution_in_both_directions(parts: dict[str, ModuleType]) -> None:
    here = case(parts, "linf")
    for precision in ("fp32", "bf16"):
        parts["bound"].convolutions(here.model, here.images, precision)(2)
        parts["bound"].gradient_steps(here.model, here.images, here.labels, "linf", 8 / 255, precision)(2)
    run = parts["rounds"].contenders("bound", here, 1)
    assert {name for name, _ in run} == {"robustray", "its convolutions"}


def test_budgets_are_equal(parts: dict[str, ModuleType], rec: Any) -> None:
    rounds = parts["rounds"]
    here = case(parts, "l2")
    budget = here.budget(20)
    for attack in rounds._ours("pgd", here, 20, "fp32").values():
        assert (attack.eps, attack.num_steps, attack.step_size) == (budget.eps, 20, budget.step_size)
        assert budget.step_size == pytest.approx(0.1)
    assert len(rounds.cells("pgd")) == 6
    assert rounds.cells("autoattack") == [
        rec.Cell("autoattack", "small:linf8", "linf"),
        rec.Cell("autoattack", "small:l2_05", "l2"),
    ]
