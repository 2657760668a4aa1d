"""What the report says: answer, claims, tables, drawings."""

from __future__ import annotations

from collections.abc import Iterator

from robustray.tasks import figures
from robustray.tasks.kit.claims import Repeats
from robustray.tasks.kit.compose import compose
from robustray.tasks.kit.frames import at, one, shown
from robustray.tasks.kit.rules import above, equivalent
from robustray.tasks.kit.words import listed, over_words, plural
from robustray.tasks.report.numbers import format_estimate
from robustray.tasks.studies.transfer import given, reduce
from robustray.tasks.studies.transfer.results import NULL, Results
from robustray.tasks.studies.transfer.settings import FIXED, FULL, RANDOM, STANDARD
from robustray.tasks.study import Claim, Figure, Findings, PaperFigure, Picture, Table
from robustray.tasks.sweeps.drawn import size_label

SCALE = "four ResNets trained on ImageNet, 12 targets, ten sizes; the size is chosen on the test images"
SOURCE = "result table released with the paper"
PAPER = {
    FIXED: PaperFigure(figure="robust wins 40 of 48 comparisons", scale=SCALE, source=SOURCE),
    FULL: PaperFigure(figure="robust wins 34 of 48 comparisons", scale=SCALE, source=SOURCE),
}
CHOSEN = "chosen by the validation accuracy of the other chains"


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
    n = f"n = {results.num_test:,} test images of {results.test_name}, {plural(settings.num_seeds, 'chain')}"
    if _repeats(results).too_few:
        standard = results.accuracy_of(FIXED, STANDARD)
        right = format_estimate(standard.value, standard.interval, "percent")
        return (
            f"A standard source under a logistic regression {results.scores(right)} the target ({n}); a single chain "
            "can't choose a robust source without judging it by its own choice."
        )
    found = [results.chosen_gain(mode) for mode in settings.modes] + [results.chosen_gain(FIXED, NULL)]
    fixed, *full, null = (format_estimate(each.value, each.interval, "points") for each in found)
    tuned = f" and by {full[0]} when fine-tuned" if full else ""
    return (
        f"A robust source instead of a standard one changes {results.measure} on the target by {fixed} as fixed "
        f"features{tuned}; another standard source, chosen in the same way, by {null} as fixed features ({n})."
    )


# --- Claims -----------------------------------------------------------------------------------------------------------


def claims(results: Results) -> Iterator[Claim]:
    settings = results.settings
    repeats = _repeats(results)
    for mode in settings.modes:
        words = {FIXED: "as fixed features", FULL: "when they are fine-tuned"}[mode]
        yield repeats.claim(
            f"Robust sources transfer better than standard ones {words}.",
            results.chosen_gain(mode),
            above(0),
            measured=f"{results.measure} on the target, robust source ({CHOSEN}) minus standard one, paired by chain "
            "and image",
            paper=PAPER[mode],
        )
    for mode in settings.modes:
        words = {FIXED: "as fixed features", FULL: "in fine-tuning"}[mode]
        yield repeats.claim(
            f"Choosing among several sources makes no gain by itself {words}: other seeds of the standard one.",
            results.chosen_gain(mode, NULL),
            equivalent(settings.margin),
            measured=f"{results.measure} on the target, one of {plural(len(settings.null), 'further standard source')} "
            f"({CHOSEN}) minus the first standard source, paired by chain and image",
            kind="check",
        )
    yield repeats.claim(
        "There is something to transfer: features learnt on the source serve the target better than random weights.",
        reduce.fixed_gain(results.transfers, FIXED, STANDARD, than=RANDOM, metric=results.metric),
        above(0),
        measured=f"{results.measure} on the target with fixed features, standard source minus the same network "
        "untrained, paired by chain and image",
        kind="check",
    )


def _repeats(results: Results) -> Repeats:
    return Repeats(count=results.settings.num_seeds, units="chains", over="chains and images")


# --- Tables -----------------------------------------------------------------------------------------------------------


def tables(results: Results) -> Iterator[Table]:
    settings = results.settings
    over = over_words(settings.num_seeds)
    number = len(results.together)
    those = plural(number, "source") + " after the first" if settings.sources else plural(number, "robust source")
    together = (
        f"sim_lo to sim_hi hold at once for the {those} of one mode, the rows that have them (Bonferroni: "
        f"{1 - 0.05 / number:.2%} each)"
    )
    drawn = f"{results.num_fit + results.num_held:,} training images of the target in a chain"
    if not settings.sources:
        yield _choices(results, over)
    yield Table(
        name="transfer",
        title=f"{results.measure.capitalize()} on the target by source",
        caption=f"{results.num_test:,} test images, {drawn}; chance is {1 / results.target.num_classes:.1%}. Gain over "
        f"the first source, paired by chain and image, each interval for its row alone; {together}. {over}.",
        frame=results.accuracy,
        formats={
            **shown("accuracy", "percent"),
            **shown("gain", "points", "gain_lo", "gain_hi"),
            **dict.fromkeys(("sim_lo", "sim_hi"), "points"),
        },
    )
    if not settings.sources:
        yield _sources(results, over)
    yield Table(
        name="runs",
        title="What was chosen in every chain",
        caption=f"Choice: C of the logistic regression, or the learning rate of fine-tuning. Validation: accuracy on "
        f"about {results.num_held} training images of the target that were held out for it.",
        frame=results.runs,
        formats={"choice": "g", "validation": "percent", "test": "percent"},
        on_page=False,
    )


def _choices(results: Results, over: str) -> Table:
    return Table(
        name="choices",
        title="A source that others choose",
        caption=f"Gain in {results.measure} on the target over the standard source, of the candidate {CHOSEN}, so that "
        f"no chain is judged by its own choice. Null: as many standard sources. {over}.",
        frame=results.choices,
        formats=shown("gain", "points"),
    )


def _sources(results: Results, over: str) -> Table:
    settings = results.settings
    return Table(
        name="sources",
        title="The sources on their own classes",
        caption=f"Accuracy on the test images of the source's {results.num_source_classes} classes: clean, and under "
        f"PGD-{settings.probe_steps} at ℓ2 {settings.probe_eps:g}. {over}.",
        frame=results.sources,
        formats={
            **shown("clean", "percent", "clean_lo", "clean_hi"),
            **shown("robust", "percent", "robust_lo", "robust_hi"),
        },
    )


# --- Drawings ---------------------------------------------------------------------------------------------------------


def drawings(results: Results) -> Iterator[Figure | Picture | None]:
    yield gains(results)
    if not results.settings.sources:
        yield by_size(results)
    yield pictures(results)


def gains(results: Results) -> Figure:
    """The answer: gain of every source over the first standard one, by mode."""
    first = results.names[0]
    if results.settings.sources:
        against, remark = "the first", f"The first is {first}. "
    else:
        against = "the first standard"
        remark = (
            "What differs between standard sources by their seed alone is the scale on which robust ones are read. "
        )
    rows = [row for row in results.accuracy.itertuples() if row.source != first]
    by_seed = {
        (row.mode, row.source): reduce.gains_by_seed(results.transfers, row.mode, row.source, first, results.metric)
        for row in rows
    }
    return figures.dot_rows(
        name="gains",
        title=f"{results.measure.capitalize()} on the target: each source against {against} one",
        caption=f"{remark}n = {results.num_test:,} test images, {plural(results.settings.num_seeds, 'chain')} (faint "
        "dots), 95 % intervals, each for its row alone.",
        rows=[
            figures.Row(
                label=f"{row.source}, {row.mode}",
                value=row.gain,
                lo=row.gain_lo,
                hi=row.gain_hi,
                runs=by_seed[row.mode, row.source],
                color_by=row.mode,
            )
            for row in rows
        ],
        x_label=f"{results.measure} minus that of {against} source",
        points=True,
        levels=(figures.Level(value=0.0, words=f"{against} source"),),
    )


def by_size(results: Results) -> Figure:
    """Accuracy against the size of robust training."""
    settings = results.settings
    sizes = {0.0: STANDARD} | {source.eps: source.name for source in settings.robust}
    lines = []
    for mode in settings.modes:
        rows = [one(results.accuracy, mode=mode, source=name) for name in sizes.values()]
        runs = [
            [one(results.runs, mode=mode, source=name, seed=seed).test for name in sizes.values()]
            for seed in reduce.seeds_of(results.transfers)
        ]
        lines.append(
            figures.Series(
                label=mode,
                x=list(sizes),
                y=[row.accuracy for row in rows],
                lo=[row.lo for row in rows],
                hi=[row.hi for row in rows],
                runs=runs,
            )
        )
    return figures.curve(
        name="by-size",
        title=f"{results.measure.capitalize()} on the target against the size of robust training",
        caption=f"0 is standard training. {_shrunk(results)}n = {results.num_test:,} test images, "
        f"{plural(settings.num_seeds, 'chain')} (thin lines), 95 % bands.",
        series=lines,
        x_label=size_label("l2", what="of the source's training"),
        y_label=f"{results.measure} on the target",
        percent=True,
        x_ticks={size: f"{size:g}" for size in sizes},
    )


def pictures(results: Results) -> Picture | None:
    """The target's images as the networks see them."""
    if not results.examples:
        return None
    names = map(str, results.target.classes)
    return figures.image_rows(
        name="target",
        title="The target",
        caption=f"Training images of {results.target_name} as the networks see them, a row for each class; at random. "
        f"{_shrunk(results)}".strip(),
        rows=dict(zip(names, results.examples, strict=False)),
        columns=[""] * results.settings.num_examples,
        side=64,
    )


def _shrunk(results: Results) -> str:
    side = results.settings.shrink
    return f"All images of the target were shrunk to {side} pixels a side and enlarged again. " if side else ""


# --- Warnings ---------------------------------------------------------------------------------------------------------


def warnings(results: Results) -> Iterator[str]:
    settings = results.settings
    if _repeats(results).too_few:
        yield "one chain: no other chain can choose a source for it, and claims stay undecided"
    standard = one(results.sources, source=STANDARD)
    for source in settings.robust:
        row = one(results.sources, source=source.name)
        if row.robust <= standard.robust:
            yield (
                f"{source.name}: not more robust than the standard source ({row.robust:.1%} against "
                f"{standard.robust:.1%} under attack), so that it is robust in name only; train it longer"
            )
    chance = 1 / results.target.num_classes
    weak = [
        f"{row.source} ({row.mode})" for row in at(results.accuracy, source=STANDARD).itertuples() if row.lo <= chance
    ]
    if weak:
        yield f"not shown to be better than chance on the target, so that gains say little: {listed(weak)}"
