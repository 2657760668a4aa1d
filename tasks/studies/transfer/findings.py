"""What the report says: answer, claims, warnings; its tables and drawings are in modules of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from robustray.tasks.kit.claims import Repeats
from robustray.tasks.kit.compose import compose
from robustray.tasks.kit.frames import at, one
from robustray.tasks.kit.rules import above, equivalent
from robustray.tasks.kit.words import listed, plural
from robustray.tasks.report.numbers import format_estimate
from robustray.tasks.statistics import Estimate
from robustray.tasks.studies.transfer import given, reduce
from robustray.tasks.studies.transfer.drawings import drawings
from robustray.tasks.studies.transfer.kinds import DRIFTING, FIXED, FULL, RANDOM, STANDARD
from robustray.tasks.studies.transfer.results import NULL, ROBUST, Results
from robustray.tasks.studies.transfer.settings import Settings
from robustray.tasks.studies.transfer.tables import CHOSEN, tables
from robustray.tasks.study import Claim, Findings, PaperFigure

SCALE = "four ResNets trained on ImageNet, 12 targets, ten sizes; the size is chosen on the test images"
SOURCE = "result table released with the paper"
_PAPER_FIXED = PaperFigure(figure="robust wins 40 of 48 comparisons", scale=SCALE, source=SOURCE)
PAPER = {
    FIXED: _PAPER_FIXED,
    DRIFTING: _PAPER_FIXED,  # its code trains heads in this way
    FULL: PaperFigure(figure="robust wins 34 of 48 comparisons", scale=SCALE, source=SOURCE),
}
IN_WORDS = {
    FIXED: "as fixed features",
    FULL: "when they are fine-tuned",
    DRIFTING: "as features whose batch norm follows the target",
}


def findings(results: Results) -> Findings:
    """Everything that the report shows."""
    if results.settings.sources:
        return compose(
            given.answer(results),
            given.descriptions(results),
            tables(results),
            drawings(results),
            given.warnings(results),
        )
    return compose(answer(results), claims(results), tables(results), drawings(results), warnings(results))


def answer(results: Results) -> str:
    settings = results.settings
    names = [target.name for target in results.main]
    sizes = listed(f"{results.num_test(name):,}" for name in names)
    n = f"n = {sizes} test images, {plural(settings.num_seeds, 'chain')}"
    if _repeats(results).too_few:
        right = [f"{_in(results.accuracy_of(FIXED, name, STANDARD), 'percent')} on {name}" for name in names]
        return (
            f"A standard source under a logistic regression has an accuracy of {listed(right)} ({n}); a single chain "
            "can't choose a robust source without judging it by its own choice."
        )
    parts = []
    for mode in (mode for mode in settings.modes if mode != DRIFTING):
        for candidates in (ROBUST, NULL):
            found = [
                _in(results.chosen_gain(mode, target.name, candidates), "points")
                + f" on {target.images}" * (len(names) > 1)
                for target in results.main
            ]
            parts.append(listed(found))
    robust, null, *full = parts
    tuned, null_tuned = (f", and by {part} when fine-tuned" for part in full) if full else ("", "")
    return (
        f"A robust source instead of a standard one changes {results.measure} on the target, as fixed features, by "
        f"{robust}{tuned}; another standard source, chosen in the same way, changes it by {null} as fixed features"
        f"{null_tuned} ({n})."
    )


def _in(estimate: Estimate, unit: str) -> str:
    return format_estimate(estimate.value, estimate.interval, unit)


# --- Claims -----------------------------------------------------------------------------------------------------------


def claims(results: Results) -> Iterator[Claim]:
    settings = results.settings
    repeats = _repeats(results)
    for mode in settings.modes:
        targets = results.targets_of(mode)
        several = len(targets) > 1
        for target in targets:
            measure = one(results.accuracy, mode=mode, target=target, source=STANDARD).metric
            shared = bool(results.part(mode, target)["shared"].iloc[0])
            yield repeats.claim(
                f"Robust sources transfer better than standard ones {IN_WORDS[mode]}{f': {target}' * several}.",
                results.chosen_gain(mode, target, at_once=True),
                above(0),
                measured=f"{measure} on the target, robust source ({CHOSEN}) minus standard one, paired by "
                "chain, draw and image",
                over=_over(shared) + f", which holds for all {len(targets)} targets at once" * several,
                paper=PAPER[mode],
            )
    for mode in settings.modes:
        words = "in fine-tuning" if mode == FULL else IN_WORDS[mode]
        names = results.candidates[NULL]
        yield repeats.claim(
            f"Choosing among several sources makes no gain by itself {words}: other seeds of the standard one.",
            _over_targets(results, mode, names),
            equivalent(settings.margin),
            measured=f"{results.measure}, one of the further standard sources ({CHOSEN}) minus the first standard "
            f"source, paired by chain, draw and image{_mean(results, mode)}",
            kind="check",
        )
    parts = _parts(results, FIXED)
    yield repeats.claim(
        "There is something to transfer: features learnt on the source serve the target better than random weights.",
        reduce.over_targets(parts, lambda part: dict.fromkeys(reduce.seeds_of(part), STANDARD), RANDOM),
        above(0),
        measured=f"{results.measure} with fixed features, standard source minus the same network untrained, paired by "
        f"chain, draw and image{_mean(results, FIXED)}",
        kind="check",
    )


def _is_null(settings: Settings, gain: Estimate) -> bool:
    return equivalent(settings.margin).verdict(gain) == "supported"


def _parts(results: Results, mode: str) -> list[pd.DataFrame]:
    return [results.part(mode, target) for target in results.targets_of(mode)]


def _over_targets(results: Results, mode: str, names: Sequence[str]) -> Estimate:
    def chosen(part: pd.DataFrame) -> dict[int, str]:
        return reduce.choose(part, [name for name in names if name in set(part["source"])])

    return reduce.over_targets(_parts(results, mode), chosen)


def _mean(results: Results, mode: str) -> str:
    number = len(results.targets_of(mode))
    return f"; mean over the {number} targets" if number > 1 else ""


def _over(shared: bool) -> str:
    return "chains and images" if shared else "chains"


def _repeats(results: Results) -> Repeats:
    shared = bool(results.transfers["shared"].any())
    return Repeats(count=results.settings.num_seeds, units="chains", over=_over(shared))


# --- Warnings ---------------------------------------------------------------------------------------------------------


def warnings(results: Results) -> Iterator[str]:
    settings = results.settings
    yield from results.against
    if _repeats(results).too_few:
        yield "one chain: no other chain can choose a source for it, and claims stay undecided"
    for mode in settings.modes:
        gains = (results.chosen_gain(mode, target, at_once=True) for target in results.targets_of(mode))
        null = _over_targets(results, mode, results.candidates[NULL])
        if any(above(0).verdict(gain) == "supported" for gain in gains) and not _is_null(settings, null):
            yield (
                f"{mode}: robust sources are ahead of the standard one, but standard ones of other seeds, chosen in "
                f"the same way, are not shown to gain nothing ({_in(null, 'points')}): it may be the seeds"
            )
    standard = one(results.sources, source=STANDARD)
    for source in settings.robust:
        row = one(results.sources, source=source.name)
        if row.robust <= standard.robust:
            yield (
                f"{source.name}: not more robust than the standard source ({row.robust:.1%} against "
                f"{standard.robust:.1%} under attack), so that it is robust in name only; train it longer"
            )
    weak = [
        f"{row.source} on {row.target} ({row.mode})"
        for row in at(results.accuracy, source=STANDARD).itertuples()
        if row.lo <= 1 / len(results.classes[row.target])
    ]
    if weak:
        yield f"not shown to be better than chance on the target, so that gains say little: {listed(weak)}"
