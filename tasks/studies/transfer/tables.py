"""The tables of the report."""

from __future__ import annotations

from collections.abc import Iterator

from robustray.tasks.kit.frames import shown
from robustray.tasks.kit.words import listed, over_words, plural
from robustray.tasks.studies.transfer import reduce
from robustray.tasks.studies.transfer.results import Results
from robustray.tasks.study import Table

ROBUST_COLUMNS = ("robust", "robust_lo", "robust_hi")
CHOSEN = "chosen by the validation accuracy of the other chains"


def over(results: Results) -> str:
    """What intervals cover, as a caption says it."""
    count = results.settings.num_seeds
    if results.settings.sources or count == 1:
        return over_words(count)
    alone = "95 % intervals: Student's t over chains"
    if not results.transfers["shared"].any():
        return alone
    return f"{alone}, and images (Wilson, Tango) added where all chains are tested on the same ones"


def tables(results: Results) -> Iterator[Table]:
    settings = results.settings
    if not settings.sources:
        yield _choices(results)
    yield _transfer(results)
    if not settings.sources:
        yield _sources(results)
    yield Table(
        name="runs",
        title="What was chosen in every chain",
        caption="Choice: C of the logistic regression, or the learning rate of fine-tuning. Validation: accuracy on "
        f"the {settings.held_out:.0%} of the few training images of the target that were held out for it. Robust: "
        "accuracy under attack.",
        frame=results.runs,
        formats={"choice": "g", "validation": "percent", "test": "percent", "robust": "percent"},
        on_page=False,
    )


def _transfer(results: Results) -> Table:
    settings = results.settings
    number = len(results.together)
    those = plural(number, "source") + " after the first" if settings.sources else plural(number, "robust source")
    sizes = listed(
        f"{results.num_few[target.name]:,} for {results.num_test(target.name):,} of {target.name}"
        for target in results.targets
    )
    attacked = (
        f" Robust: accuracy on up to {settings.num_attacked:,} of the test images, after PGD-{settings.probe_steps} at "
        f"ℓ2 {settings.attack().eps:g} through features and head."
        if results.accuracy["attacked"].any()
        else ""
    )
    return Table(
        name="transfer",
        title=f"{results.measure.capitalize()} on the target by source",
        caption=f"Training images in a draw, and test images: {sizes}.{attacked} Gain over the first source, paired by "
        f"chain, draw and image, each interval for its row alone; sim_lo to sim_hi hold at once for the {those} of one "
        f"mode and target, the rows that have them (Bonferroni: {reduce.at_once(number):.2%} each where there are so "
        f"many). {over(results)}.",
        frame=results.accuracy if attacked else results.accuracy.drop(columns=[*ROBUST_COLUMNS, "attacked"]),
        formats={
            **shown("accuracy", "percent"),
            **(shown("robust", "percent", *ROBUST_COLUMNS[1:]) if attacked else {}),
            **shown("gain", "points", "gain_lo", "gain_hi"),
            **dict.fromkeys(("sim_lo", "sim_hi"), "points"),
        },
    )


def _choices(results: Results) -> Table:
    return Table(
        name="choices",
        title="A source that others choose",
        caption=f"Gain in {results.measure} on the target over the standard source, of the candidate {CHOSEN}, so "
        "that no chain is judged by its own choice. Null: as many standard sources. sim_lo to sim_hi hold at "
        f"once for all targets of a mode, as they are or shrunk (Bonferroni). {over(results)}.",
        frame=results.choices,
        formats={**shown("gain", "points"), **dict.fromkeys(("sim_lo", "sim_hi"), "points")},
    )


def _sources(results: Results) -> Table:
    settings = results.settings
    drawn = "" if results.same_classes else ", which every chain draws anew"
    return Table(
        name="sources",
        title="The sources on their own classes",
        caption=f"Accuracy on the test images of the source's {results.num_source_classes} classes{drawn}: clean, and "
        f"on those that are counted as attacked under PGD-{settings.probe_steps} at ℓ2 {settings.probe_eps:g}. "
        f"{over(results)}.",
        frame=results.sources,
        formats={
            **shown("clean", "percent", "clean_lo", "clean_hi"),
            **shown("robust", "percent", "robust_lo", "robust_hi"),
        },
    )
