"""What the report says: its answer, claims or descriptions, and warnings."""

from __future__ import annotations

from collections.abc import Iterator

from robustray.tasks.kit.claims import Repeats, describe
from robustray.tasks.kit.compare import Compared, comparison
from robustray.tasks.kit.compose import compose
from robustray.tasks.kit.rules import above
from robustray.tasks.kit.words import listed, plural
from robustray.tasks.report.numbers import format_estimate
from robustray.tasks.statistics import Estimate
from robustray.tasks.studies.unadversarial import files, further_tables, reduce
from robustray.tasks.studies.unadversarial.drawings import drawings, pictures
from robustray.tasks.studies.unadversarial.reduce import BASELINES, CLEAN, WORDS, Results
from robustray.tasks.studies.unadversarial.tables import tables
from robustray.tasks.study import Claim, Description, Findings
from robustray.tasks.training.reference_twins import is_twin

COMPARE = comparison(Compared(table="accuracy", keys=("patch", "corruption", "severity"), value="accuracy"))
COVERED = 0.5
"""A patch that turns more than this share of other objects into its class is warned of."""


def found(results: Results) -> Findings:
    """Everything that the report shows."""
    return compose(
        answer(results),
        claims(results),
        drawings(results),
        further_tables.drawings(results),
        tables(results),
        further_tables.tables(results),
        pictures(results),
        files.printed(results),
        warnings(results),
    )


def answer(results: Results) -> str:
    """Accuracy with the designed patch against accuracy without a patch, and what is left of the gain under
    corruptions."""
    with_patch, without = (results.accuracy(name, CLEAN) for name in ("designed", "none"))
    corrupted, plain = (results.corrupted(name) for name in ("designed", "none"))
    names = listed(results.classes[label] for label in results.kind.classes)
    classes = names if len(results.kind.classes) <= 3 else f"all {len(results.kind.classes)} classes"
    if 3 < len(results.kind.classes) < len(results.classes):
        classes = f"{len(results.kind.classes)} classes"
    designs = plural(results.settings.num_designs, "design") + " each" * (len(results.groups) > 1)
    return (
        f"With a designed patch of {results.kind.side} × {results.kind.side} pixels, {_words(with_patch)} of test "
        f"images of {classes} are recognised instead of {_words(without)}, and {_words(corrupted)} instead of "
        f"{_words(plain)} as a mean over corruptions that the design has not seen (n = {with_patch.n:,} images of "
        f"{results.settings.data or results.settings.test_data}, {plural(len(results.groups), 'classifier')}, "
        f"{designs})."
    )


def _words(estimate: Estimate) -> str:
    return format_estimate(estimate.value, estimate.interval, "percent")


def claims(results: Results) -> Iterator[Claim | Description]:
    """Gains over each of the three that were not designed, clean and corrupted: claims about networks as they are
    trained, descriptions of a user's own."""
    own = any(not is_twin(name) for name in results.settings.models)
    over = f"{seeds_words(results)} and images"
    for cells, where in (((CLEAN,), "clean"), (results.cells, "corrupted")):
        measured = "difference of accuracies"
        if len(cells) > 1:
            measured += f", mean over {len(cells)} corruptions and severities"
        measured += ", paired by image and place"
        for other in BASELINES:
            gain = results.gain(other, cells)
            if own:
                words = f"gain of the designed patch over {WORDS[other]} ({where} images)"
                yield describe(words, gain, measured=measured, over=over, unit="points")
            else:
                yield repeats(results).claim(
                    f"Objects with a designed patch are recognised more often than with {WORDS[other]} ({where} "
                    "images).",
                    gain,
                    above(0),
                    measured=measured,
                    over=over,
                )


def repeats(results: Results) -> Repeats:
    return Repeats(count=len(results.groups), units="classifiers")


def seeds_words(results: Results) -> str:
    """What intervals are over beside images."""
    if len(results.groups) > 1:
        return "classifiers and their designs" if results.settings.num_designs > 1 else "classifiers"
    return "designs" if len(results.chains) > 1 else "no seeds"


def warnings(results: Results) -> Iterator[str]:
    if results.settings.models and len(results.chains) == 1:
        yield ("one design for one classifier: intervals are over images only; --num-designs 3 says how designs differ")
    elif not results.settings.models:
        yield from repeats(results).warnings("classifier")
    for row in reduce.swap_table(results).itertuples():
        if row.patch_with > COVERED:
            yield (
                f"the patch of {row.patch_of} turns {row.patch_with:.0%} of other objects into {row.patch_of}: it is "
                "recognised instead of the object, not with it"
            )
