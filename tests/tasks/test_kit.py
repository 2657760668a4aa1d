"""The kit of studies: rules and the claims made of them, composition, words, rows, doors of settings."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from robustray.tasks.data.images import ImageData
from robustray.tasks.errors import InputError
from robustray.tasks.kit import checks, images
from robustray.tasks.kit.claims import Repeats, claim, describe
from robustray.tasks.kit.compose import compose
from robustray.tasks.kit.draws import chosen
from robustray.tasks.kit.estimates import num_images
from robustray.tasks.kit.frames import at, columns, estimate_of, one, shown, side_by_side
from robustray.tasks.kit.outcomes import mean_difference, mean_share, shares
from robustray.tasks.kit.rules import Rule, above, amount, below, equivalent, within
from robustray.tasks.kit.sizes import reference_size
from robustray.tasks.kit.words import at_chance, listed, over_words, plural, slug
from robustray.tasks.statistics import Estimate
from robustray.tasks.study import Figure, PaperFigure, Table

# --- Rules ------------------------------------------------------------------------------------------------------------


def interval(lo: float, hi: float, n: int = 10) -> Estimate:
    return Estimate(value=(lo + hi) / 2, lo=lo, hi=hi, n=n)


@pytest.mark.parametrize(
    ("rule", "lo", "hi", "verdict"),
    [
        (above(0), 0.1, 0.2, "supported"),
        (above(0), -0.2, -0.1, "contradicted"),
        (above(0), -0.1, 0.1, "undecided"),
        (above(0), 0.0, 0.1, "undecided"),  # an open end: 0 itself is not above 0
        (above(0), -0.1, 0.0, "undecided"),
        (above(0.5), 0.1, 0.2, "contradicted"),
        (below(0.01), 0.0, 0.005, "supported"),
        (below(0.01), 0.02, 0.03, "contradicted"),
        (below(0.01), 0.005, 0.02, "undecided"),
        (within(0.006), -0.006, 0.006, "supported"),  # closed ends
        (within(0.006), 0.007, 0.009, "contradicted"),
        (within(0.006), -0.009, -0.007, "contradicted"),
        (within(0.006), 0.005, 0.007, "undecided"),
        (within(0.006), -1.0, 1.0, "undecided"),
        (within(0.2, 0.4), 0.25, 0.3, "supported"),
        (equivalent(0.01), -0.002, 0.003, "supported"),
        (equivalent(0.01), 0.02, 0.03, "contradicted"),
        (above(0), -math.inf, math.inf, "undecided"),  # a mean of one seed
    ],
)
def test_a_verdict_follows_from_where_the_interval_lies(rule: Rule, lo: float, hi: float, verdict: str) -> None:
    assert rule.verdict(interval(lo, hi) if math.isfinite(lo) else Estimate(value=0.1, lo=lo, hi=hi, n=1)) == verdict


def test_contradicted_means_that_the_opposite_is_supported() -> None:
    draws = np.random.default_rng(0)
    opposite = {"supported": "contradicted", "contradicted": "supported", "undecided": "undecided"}
    for lo, width, threshold in draws.uniform(-1, 1, (500, 3)):
        estimate = interval(lo, lo + abs(width))
        assert below(threshold).verdict(estimate) == opposite[above(threshold).verdict(estimate)]


def test_nothing_is_decided_without_data_or_with_too_few_units() -> None:
    rule = above(0).given(2, "seeds")
    assert above(0).verdict(Estimate(value=math.nan, lo=0.1, hi=0.2, n=0)) == "undecided"
    assert above(0).verdict(Estimate(value=math.nan, lo=math.nan, hi=math.nan, n=5)) == "undecided"
    assert rule.verdict(interval(0.1, 0.2), count=1) == "undecided"
    assert rule.verdict(interval(0.1, 0.2), count=2) == "supported"
    assert above(0).given(20, "images").verdict(interval(0.1, 0.2, n=19)) == "undecided"


@pytest.mark.parametrize(
    ("rule", "unit", "words"),
    [
        (above(0), "points", "is above 0, contradicted if below"),
        (above(0.5), "percent", "is above 50 %, contradicted if below"),
        (below(0.01), "percent", "is below 1 %, contradicted if above"),
        (within(0.006), "points", "lies within ±0.6 points, contradicted if it lies outside"),
        (within(0.2, 0.4), "number", "lies between 0.2 and 0.4, contradicted if it lies outside"),
        (above(-0.25), "number", "is above −0.25, contradicted if below"),
    ],
)
def test_the_words_of_a_rule_name_its_own_threshold(rule: Rule, unit: Any, words: str) -> None:
    assert rule.words(unit) == f"supported if its 95 % interval {words}"
    assert rule.given(3, "seeds").words(unit, "seeds") == (
        f"supported if its 95 % interval over seeds {words}; undecided with fewer than 3 seeds"
    )


def test_equivalence_says_which_test_it_is() -> None:
    assert equivalent(0.01).words("points").endswith("(equivalence: two one-sided tests at 2.5 %)")
    assert amount(0.1 + 0.2, "number") == "0.3"


@pytest.mark.parametrize(
    "make", [lambda: within(0.4, 0.2), lambda: above(math.nan), lambda: above(0).given(0, "seeds")]
)
def test_a_rule_that_makes_no_sense_is_refused(make: Callable[[], Rule]) -> None:
    with pytest.raises(InputError):
        make()


def test_a_claim_is_an_estimate_under_a_rule() -> None:
    paper = PaperFigure(figure="38.5 %", scale="ResNet-50", source="a table")
    made = claim(
        "Most break.", interval(0.6, 0.7, n=50), above(0.5), measured="share broken", over="images", paper=paper
    )
    assert made.estimate == pytest.approx(0.65) and made.interval == (0.6, 0.7) and made.n == 50
    assert made.verdict == "supported" and made.paper is paper
    assert made.test == (
        "share broken: supported if its 95 % interval over images is above 50 %, contradicted if below"
    )
    empty = claim("Most break.", Estimate(value=math.nan, lo=0, hi=1, n=0), above(0.5), measured="share broken")
    assert (empty.estimate, empty.interval, empty.n, empty.verdict) == (None, None, 0, "undecided")


def test_claims_of_too_few_repetitions_are_undecided_whatever_the_interval_says() -> None:
    chains = Repeats(count=2, units="chains", over="chains and images")
    made = chains.claim("It rises.", interval(0.1, 0.2), above(0), measured="difference")
    assert (
        (made.verdict, made.unit) == ("supported", "points")
        and not chains.too_few
        and not list(chains.warnings("chain"))
    )
    assert made.test == (
        "difference: supported if its 95 % interval over chains and images is above 0, contradicted if below; "
        "undecided with fewer than 2 chains"
    )
    alone = replace(chains, count=1)
    assert alone.claim("It rises.", interval(0.1, 0.2), above(0), measured="difference").verdict == "undecided"
    assert list(alone.warnings("chain", within="targets")) == [
        "one chain: intervals cover other targets but not other trainings, and claims about training stay undecided"
    ]
    agents = Repeats(count=3, least=4, units="agents", over="agents", unit="number")
    other = agents.claim("It rises.", interval(0.1, 0.2), above(0), measured="x", unit="percent", over="episodes")
    assert (other.verdict, other.unit) == ("undecided", "percent") and "over episodes is above" in other.test
    assert next(agents.warnings("agent")).startswith("3 agents: ")


@pytest.mark.parametrize(
    ("value", "rule", "lo", "hi", "agrees"),
    [
        (0.3, above(0), 0.1, 0.2, True),
        (0.3, above(0), -0.2, -0.1, False),
        (-0.3, above(0), -0.2, -0.1, True),  # both contradict it
        (0.3, above(0), -0.1, 0.1, None),  # undecided agrees with nothing
        (None, above(0), 0.1, 0.2, None),
        (0.006, within(0.006), 0.001, 0.002, True),  # closed ends
    ],
)
def test_the_papers_number_is_held_against_the_same_rule(
    value: float | None, rule: Rule, lo: float, hi: float, agrees: bool | None
) -> None:
    paper = PaperFigure(figure="a", scale="b", source="c", value=value)
    assert claim("It rises.", interval(lo, hi), rule, measured="difference", paper=paper).agrees is agrees


def test_a_description_has_a_number_and_no_verdict() -> None:
    made = describe("d: share broken", interval(0.6, 0.7, n=50), measured="by PGD", over="images (Wilson)")
    assert (made.interval, made.n, made.measured) == ((0.6, 0.7), 50, "by PGD; 95 % interval over images (Wilson)")
    nothing = Estimate(value=math.nan, lo=0, hi=1, n=0)
    empty = describe("d: share broken", nothing, measured="by PGD", over="images")
    assert (empty.estimate, empty.interval, empty.n) == (None, None, 0)
    assert compose("So.", [made], empty).descriptions == (made, empty) and not hasattr(made, "verdict")


# --- What a study returns ---------------------------------------------------------------------------------------------


def table(name: str) -> Table:
    return Table(name=name, title="", caption="", frame=pd.DataFrame())


def figure(name: str) -> Figure:
    return Figure(name=name, title="", caption="", alt="", svg="<svg/>")


def test_parts_are_sorted_by_kind_in_their_order_and_absent_ones_left_out() -> None:
    made = claim("It rises.", interval(0.1, 0.2), above(0), measured="difference")
    warnings = iter(["second", "first"])
    found = compose("So.", [table("a"), None, [figure("f")]], (made,), "first", [table("b"), warnings], None)
    assert [each.name for each in found.tables] == ["a", "b"] and [each.name for each in found.figures] == ["f"]
    assert found.claims == (made,) and found.warnings == ("first", "second") and found.pictures == ()


@pytest.mark.parametrize("parts", [[table("a"), table("a")], [figure("f"), [figure("f")]]])
def test_two_parts_of_one_name_would_overwrite_each_other(parts: Any) -> None:
    with pytest.raises(ValueError, match=r"two .* are named"):
        compose("So.", parts)


# --- Rows, words, draws -----------------------------------------------------------------------------------------------


def test_rows_are_found_by_value_and_floats_to_rounding() -> None:
    frame = pd.DataFrame({"eps": [0.1, 0.1 + 1e-12, 0.2], "name": ["a", "b", "b"]})
    assert at(frame, eps=0.1).name.tolist() == ["a", "b"] and one(frame, eps=0.1, name="b").eps == 0.1 + 1e-12
    with pytest.raises(KeyError, match="2 rows"):
        one(frame, name="b")


def test_an_estimate_goes_into_a_row_and_comes_back() -> None:
    estimate = interval(0.25, 0.75, n=7)
    frame = pd.DataFrame([columns("share", estimate, "low", "high") | {"n": estimate.n}])
    assert estimate_of(one(frame), "share", "low", "high") == estimate
    assert shown("share", "percent", "low", "high") == {"share": "percent", "interval:share": "low,high"}


def test_words() -> None:
    assert [listed(parts) for parts in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]
    assert plural(1, "seed") == "1 seed" and plural(1200, "image") == "1,200 images"
    assert slug("accuracy", "cifar10:test") == "accuracy-cifar10-test" and slug("/a b/C.") == "a-b-c"
    assert "over images only" in over_words(1) and "seeds (Student's t) and scenes" in over_words(2, units="scenes")


def test_random_examples_depend_on_the_seed_only_and_keep_their_order() -> None:
    drawn = chosen(range(100), 6, seed=3)
    assert drawn == sorted(set(drawn)) and len(drawn) == 6 and drawn == chosen(range(100), 6, seed=3)
    assert drawn != chosen(range(100), 6, seed=4) and drawn != chosen(range(100), 6, seed=3, what="pairs")
    assert chosen(["a", "b"], 5, seed=0) == ["a", "b"] and chosen([], 2, seed=0) == []


def test_the_reference_size_is_where_the_field_reports_if_it_is_there() -> None:
    assert reference_size("linf", [4 / 255, 8 / 255 + 1e-9, 0.1]) == 8 / 255 + 1e-9
    assert reference_size("l2", [0.25, 0.3, 1.0]) == 0.3 and reference_size("l2", [0.25, 1.0], otherwise=-1) == 1.0


def test_shares_and_differences_over_seeds_are_paired_by_index() -> None:
    first = {0: pd.Series([True, True, False], index=[1, 2, 3]), 1: pd.Series([True, False, False], index=[1, 2, 3])}
    second = {seed: pd.Series([False, True], index=[3, 2]) for seed in (0, 1)}
    assert shares(first) == pytest.approx([2 / 3, 1 / 3]) and mean_share(first).value == pytest.approx(0.5)
    assert mean_share(first).n == 3 and 0 <= mean_share(first).lo <= mean_share(first).hi <= 1
    # of the images of both, 2 and 3: seed 0 stands and falls as the second does, seed 1 loses image 2
    assert (
        mean_difference(first, second).value == pytest.approx((0.0 - 0.5) / 2) and mean_difference(first, second).n == 2
    )


# --- Doors of settings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("door", "says"),
    [
        (lambda: checks.counts(at_least=1, block=0), "block must be a whole number of at least 1, got 0"),
        (lambda: checks.counts(block=1.5), "block must be a whole number"),  # type: ignore[arg-type]
        (lambda: checks.sizes(eps=-1), "eps must be a finite number and not negative"),
        (lambda: checks.positive(lr=0), "lr must be above 0, got 0"),
        (lambda: checks.positive(lr=math.nan), "lr must be a finite number"),
        (lambda: checks.positive(lr=True), "lr must be a finite number"),
        (lambda: checks.shares(rho=1.1), r"rho must be a share in \[0, 1\], got 1.1"),
        (lambda: checks.shares(ends="(]", rho=0), r"rho must be a share in \(0, 1\]"),
        (lambda: checks.shares(ends="[)", rho=1), r"rho must be a share in \[0, 1\)"),
        (lambda: checks.choices(("linf", "l2"), norms=("l2", "lnf")), "norms cannot be 'lnf': did you mean 'linf'"),
        (lambda: checks.choices(("a",), kind="b"), "kind cannot be 'b'"),
        (lambda: checks.several(models=()), "models: at least one is needed"),
        (lambda: checks.several(models=("a", "a")), "models: a, a names one twice"),
        (lambda: checks.ascending(widths=()), "widths: sizes must be positive numbers, got none"),
        (lambda: checks.ascending(widths=(0.0, 1.0)), "widths: sizes must be positive numbers, got 0, 1"),
        (lambda: checks.ascending(widths=(2, 1)), "widths: sizes must ascend without repeats, got 2, 1"),
        (lambda: checks.ascending(widths=(1, 3), largest=2), "widths: 3 is more than 2"),
        (lambda: checks.radii(eps_linf=(8.0,)), "eps_linf: 8 is more than the whole pixel range; write 8/255"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(door: Callable[[], None], says: str) -> None:
    with pytest.raises(InputError, match=says) as refused:
        door()
    assert "\n" not in str(refused.value)


def test_what_fits_passes() -> None:
    checks.counts(at_least=1, block=1, num_images=3)
    checks.shares(low=0, high=1.0)
    checks.shares(ends="()", middle=0.5)
    checks.several(models=("a", "b"))
    checks.radii(eps_linf=(1 / 255, 1.0), eps_l2=(0.5, 3.0))


def test_a_model_at_chance_is_named() -> None:
    accuracies = {"guesses": (0.12, 0.09), "learnt": (0.2, 0.11), "at the edge": (0.15, 0.1)}
    found = list(at_chance(accuracies, 10, "images of digits:test"))
    assert [line.split(" classifies ")[0] for line in found] == ["guesses", "at the edge"]
    assert "12.0 % of the clean images of digits:test" in found[0] and "chance (10.0 %)" in found[0]


def test_estimates_stand_side_by_side_with_their_ends() -> None:
    rows = pd.DataFrame({"eps": [0.0, 0.1], "accuracy": [0.9, 0.5], "lo": [0.8, 0.4], "hi": [0.95, 0.6]})
    frame, formats = side_by_side({"a": rows, "b": rows.assign(accuracy=0.1)}, "accuracy", by="eps")
    assert list(frame) == ["eps", "a", "a lo", "a hi", "b", "b lo", "b hi"]
    assert frame.a.tolist() == [0.9, 0.5] and frame.b.tolist() == [0.1, 0.1] and frame["b hi"].tolist() == [0.95, 0.6]
    assert formats == {"a": "percent", "interval:a": "a lo,a hi", "b": "percent", "interval:b": "b lo,b hi"}
    with pytest.raises(AssertionError, match="rows of 'b'"):
        side_by_side({"a": rows, "b": rows[::-1]}, "accuracy", by="eps")


def test_images_are_counted_before_any_are_opened() -> None:
    assert num_images(["digits:test", "digits:train"], otherwise=10) == (
        {"digits:test": 355, "digits:train": 1_442},
        "",
    )
    found = num_images(["a", "digits:test", "b"], otherwise=10_000)
    assert found == ({"a": 10_000, "digits:test": 355, "b": 10_000}, "a, b taken as 10,000 images. ")
    assert num_images(["a", "digits:test"], otherwise=10_000, given=7) == ({"a": 7, "digits:test": 7}, "")


def test_sizes_of_norms_that_are_left_out_do_nothing() -> None:
    assert checks.left_out(("linf", "l2"), "eps") == {}
    assert checks.left_out(("linf",), "eps_train", "eps_test") == {
        "eps_train_l2": "--norm leaves l2 out",
        "eps_test_l2": "--norm leaves l2 out",
    }


# --- Models at the door -----------------------------------------------------------------------------------------------


def test_images_that_can_be_gone_through_once_meet_every_model(monkeypatch: pytest.MonkeyPatch) -> None:
    data = ImageData(name="t", images=np.zeros((3, 1, 2, 2), np.uint8), labels=np.zeros(3, np.int64), classes=("a",))
    lab: Any = SimpleNamespace(training_of=lambda name: None, model=lambda name: name, load=lambda ref: ref)
    met: list[str] = []

    def noted(model: Any, *others: Any) -> list[str]:
        met.append(model)
        return []

    monkeypatch.setattr(images, "check_model", noted)
    monkeypatch.setattr(images, "attack_remarks", noted)
    opened = images.try_models(lab, iter(["first", "second"]), iter([data, data]))
    images.try_attacks(lab, {name: iter(()) for name in opened}, iter([data]), opened)
    assert met == ["first", "first", "second", "second", "first", "second"]
