"""The tables of the report."""

from __future__ import annotations

from collections.abc import Iterator

from robustray.tasks.corruptions.tables import CORRUPTIONS
from robustray.tasks.kit.frames import shown
from robustray.tasks.kit.words import listed
from robustray.tasks.studies.unadversarial import reduce
from robustray.tasks.studies.unadversarial.reduce import Results
from robustray.tasks.study import Table

LONG = 60
"""Rows of a table that is not shown on the page."""


def over(results: Results) -> str:
    """What intervals are over, as captions say it."""
    if len(results.groups) > 1:
        return "95 % intervals are over classifiers (Student's t) and images together"
    if len(results.chains) > 1:
        return "95 % intervals are over designs (Student's t) and images together, for this classifier"
    return "95 % intervals are over images only, for this classifier and design"


def tables(results: Results) -> Iterator[Table]:
    settings = results.settings
    mean, whole = reduce.visible_share(results)
    yield Table(
        name="patches",
        title="How often objects are recognised",
        caption=f"Corrupted: mean over {_corruptions(results)} at severities "
        f"{listed(map(str, settings.severities))} ({settings.table} parameters), on the first n corrupted images. "
        "Gains: of the designed patch over the one in the row, paired by image and place. All patches land at the same "
        f"places; on average {mean:.1%} of a patch is visible, and {whole:.1%} are not cut off. {over(results)}.",
        frame=reduce.patch_table(results),
        formats=formats("clean", "corrupted") | formats("gain_clean", "gain_corrupted", kind="points"),
        lead=True,
    )
    yield Table(
        name="alone",
        title="Patches by themselves",
        caption="Share of patches without any object that are answered with their class, at the same places. "
        f"{over(results)}.",
        frame=reduce.alone_table(results),
        formats=shown("answered", "percent"),
    )
    yield Table(
        name="swap",
        title="The patch of one class on objects of the others",
        caption="Share of test images of other classes that are answered with the patch's class, and with their own, "
        f"without and with the patch. {over(results)}.",
        frame=reduce.swap_table(results),
        formats=formats(*(f"{answer}_{how}" for answer in ("patch", "object") for how in ("without", "with"))),
    )
    confusion = reduce.confusion_table(results)
    yield Table(
        name="confusion",
        title="Each patch on each class",
        caption="Share of images of a class with the patch of another that are answered with their own class, with the "
        f"patch's, and with a third. {over(results)}.",
        frame=confusion,
        formats=formats("own", "patch", "other"),
        on_page=len(confusion) <= LONG,
        csv=True,
    )
    accuracy = reduce.accuracy_table(results)
    yield Table(
        name="accuracy",
        title="Accuracy by patch, corruption and severity",
        caption=f"One row each; clean is severity 0. {over(results)}.",
        frame=accuracy,
        formats=shown("accuracy", "percent"),
        on_page=len(accuracy) <= LONG,
        csv=True,
    )
    yield Table(
        name="design",
        title="Designs, step by step",
        caption="Mean cross-entropy of the batch before each step.",
        frame=reduce.curve_table(results),
        on_page=False,
    )


def _corruptions(results: Results) -> str:
    names = tuple(dict.fromkeys(cell.corruption for cell in results.cells))
    if names == CORRUPTIONS:
        return f"the benchmarks' {len(names)} corruptions that need no photographs"
    return listed(names)


def formats(*names: str, kind: str = "percent") -> dict[str, str]:
    """Of columns with intervals `name_lo`, `name_hi`."""
    return {k: v for name in names for k, v in shown(name, kind, f"{name}_lo", f"{name}_hi").items()}
