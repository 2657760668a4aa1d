"""The drawings of the report: a set for every target on which sources are fine-tuned too."""

from __future__ import annotations

from collections.abc import Iterator

from robustray.tasks import figures
from robustray.tasks.kit.frames import at, one
from robustray.tasks.kit.words import plural, slug
from robustray.tasks.studies.transfer import reduce
from robustray.tasks.studies.transfer.kinds import FIXED, STANDARD, Target
from robustray.tasks.studies.transfer.results import Results
from robustray.tasks.study import Figure, Picture
from robustray.tasks.sweeps.drawn import size_label


def drawings(results: Results) -> Iterator[Figure | Picture | None]:
    for target in results.main:
        yield gains(results, target)
        if not results.settings.sources:
            yield by_size(results, target)
            yield against_source(results, target)
        elif results.settings.on_target:
            yield against_attack(results, target)
    for target in results.targets:
        yield pictures(results, target)


def _name(results: Results, kind: str, target: Target) -> str:
    """Of a file; a single target needs none of its own."""
    return kind if len(results.targets) == 1 else slug(kind, target.name)


def gains(results: Results, target: Target) -> Figure:
    """The answer: gain of every source over the first standard one, by mode."""
    first = results.names[0]
    if results.settings.sources:
        against, remark, repeats = "the first", f"The first is {first}. ", "few-shot draw"
    else:
        against, repeats = "the first standard", "chain"
        remark = (
            "What differs between standard sources by their seed alone is the scale on which robust ones are read. "
        )
    rows = [row for row in at(results.accuracy, target=target.name).itertuples() if row.source != first]
    by_seed = {
        (row.mode, row.source): reduce.gains_by_seed(results.part(row.mode, target.name), row.source, first)
        for row in rows
    }
    return figures.dot_rows(
        name=_name(results, "gains", target),
        title=f"{target.measure.capitalize()} on {target.name}: each source against {against} one",
        caption=f"{remark}n = {results.num_test(target.name):,} test images, "
        f"{plural(results.settings.num_seeds, repeats)} (faint dots), 95 % intervals, each for its row alone.",
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
        x_label=f"{target.measure} minus that of {against} source",
        points=True,
        levels=(figures.Level(value=0.0, words=f"{against} source"),),
    )


def by_size(results: Results, main: Target) -> Figure:
    """Accuracy against the size of robust training: for every number of images and detail of these images, and
    fine-tuned."""
    settings = results.settings
    sizes = {0.0: STANDARD} | {source.eps: source.name for source in settings.robust}
    lines = []
    for target in (target for target in results.targets if target.data == main.data):
        for mode in settings.modes:
            there = at(results.accuracy, mode=mode, target=target.name)
            used = {eps: name for eps, name in sizes.items() if name in set(there["source"])}
            if not used:
                continue
            rows = [one(there, source=name) for name in used.values()]
            runs = [reduce.chain_accuracy(results.runs, mode, target.name, name) for name in used.values()]
            which = target.name.removeprefix(main.images).strip(", ")
            lines.append(
                figures.Series(
                    label=f"{mode}, {which}" if which else mode,
                    x=list(used),
                    y=[row.accuracy for row in rows],
                    lo=[row.lo for row in rows],
                    hi=[row.hi for row in rows],
                    runs=[list(chain) for chain in zip(*runs, strict=True)],
                )
            )
    shrunk = f" {settings.shrink} pixels: all images were shrunk so far and enlarged again." if settings.shrink else ""
    return figures.curve(
        name=_name(results, "by-size", main),
        title=f"{main.measure.capitalize()} on {main.images} against the size of robust training",
        caption=f"0 is standard training.{shrunk} n = {results.num_test(main.name):,} test images, "
        f"{plural(settings.num_seeds, 'chain')} (thin lines), 95 % bands.",
        series=lines,
        x_label=size_label("l2", what="of the source's training"),
        y_label=f"{main.measure} on the target",
        percent=True,
        x_ticks={size: f"{size:g}" for size in sizes},
    )


def against_source(results: Results, target: Target) -> Figure:
    """Accuracy of the sources on their own classes against accuracy after transfer, and robustness as the label."""
    probes, seeds = results.probes, reduce.seeds_of(results.transfers)
    assert probes is not None, "asked for sources that are trained here"
    points = []
    for source in (STANDARD, *(source.name for source in results.settings.robust)):
        own = one(results.sources, source=source)
        there = one(results.accuracy, mode=FIXED, target=target.name, source=source)
        clean = [float(one(probes, source=source, seed=seed).clean.mean()) for seed in seeds]
        moved = reduce.chain_accuracy(results.runs, FIXED, target.name, source)
        points.append(
            figures.Point(
                label=f"{source}: {own.robust:.0%} under attack",
                x=own.clean,
                y=there.accuracy,
                x_interval=(own.clean_lo, own.clean_hi),
                y_interval=(there.lo, there.hi),
                runs=list(zip(clean, moved, strict=True)),
            )
        )
    return figures.scatter(
        name=_name(results, "scatter", target),
        title=f"Accuracy and robustness of the sources, and {target.measure} on {target.name}",
        caption=f"Fixed features. Under attack: accuracy on the source's own classes under PGD at ℓ2 "
        f"{results.settings.probe_eps:g}. n = {results.num_test(target.name):,} test images of the target, "
        f"{plural(results.settings.num_seeds, 'chain')} (faint dots), 95 % intervals.",
        points=points,
        x_label="accuracy on the source's own classes",
        y_label=f"{target.measure} on the target",
        percent=True,
    )


def against_attack(results: Results, target: Target) -> Figure:
    """Networks that were given: accuracy on the target, as it is and under attack."""
    attack = results.settings.attack()
    rows = at(results.accuracy, target=target.name).itertuples()
    return figures.scatter(
        name=_name(results, "under-attack", target),
        title=f"Accuracy on {target.name}, as it is and under attack",
        caption=f"Of each network with a head, or fine-tuned, under PGD-{attack.num_steps} at ℓ2 {attack.eps:g} on up "
        f"to {results.settings.num_attacked:,} of {results.num_test(target.name):,} test images; "
        f"{plural(results.settings.num_seeds, 'few-shot draw')}, 95 % intervals.",
        points=[
            figures.Point(
                label=f"{row.source}, {row.mode}",
                x=row.accuracy,
                y=row.robust,
                x_interval=(row.lo, row.hi),
                y_interval=(row.robust_lo, row.robust_hi),
            )
            for row in rows
        ],
        x_label=f"{target.measure} on {target.name}",
        y_label="accuracy under attack",
        percent=True,
    )


def pictures(results: Results, target: Target) -> Picture | None:
    """A target's images as the networks see them."""
    examples = results.examples.get(target.name)
    if not examples:
        return None
    shrunk = f" Shrunk to {target.side} pixels a side and enlarged again." if target.side else ""
    return figures.image_rows(
        name=_name(results, "target", target),
        title=f"The target: {target.name}" if len(results.targets) > 1 else "The target",
        caption="Training images as the networks see them, a row for each class (of the first chain); at random."
        f"{shrunk}",
        rows=examples,
        columns=[""] * results.settings.num_examples,
        side=64,
    )
