"""What the further questions found: accuracy by size of the patch, by network, and with networks that learnt along."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from robustray.tasks import figures
from robustray.tasks.kit.frames import columns, shown
from robustray.tasks.statistics import Estimate, mean_interval, mean_over_nested_seeds, paired_difference, proportion
from robustray.tasks.studies.unadversarial.reduce import CLEAN, NAMES, SHARES, WORDS, Cell, Chain
from robustray.tasks.study import Figure, Table

if TYPE_CHECKING:
    from robustray.tasks.studies.unadversarial.reduce import Results


@dataclass(frozen=True, kw_only=True, eq=False)
class Further:
    """The rows of further looks, all of first designs."""

    sides: Mapping[tuple[int, str, str], pd.DataFrame]
    """(side, classifier, patch) -> rows of test images."""
    cross: Mapping[tuple[str, str, str], pd.DataFrame]
    """(designed for, judged by, patch) -> rows of the first test images; but for a main classifier's own patches."""
    joint: Mapping[tuple[str, str, Cell], pd.DataFrame]
    """(classifier, patch, cell) -> rows by the weights that learnt along with the designed patch."""
    without: Mapping[str, pd.DataFrame]
    """Classifier -> rows of the first test images without a patch."""


def tables(results: Results) -> Iterator[Table]:
    from robustray.tasks.studies.unadversarial.tables import formats, over

    if results.further.sides:
        yield Table(
            name="sizes",
            title="Patches of other sizes",
            caption="Clean test images, with a patch of each size at the same places; gain: of the designed patch of "
            f"this size over the row, paired by image. First design of each classifier. {over(results)}.",
            frame=size_table(results),
            formats=shown("accuracy", "percent") | formats("gain", kind="points"),
        )
    if results.further.cross:
        yield Table(
            name="cross",
            title="One network's patches on another",
            caption="Clean images (the first ones) with patches that were designed for one kind of network, judged by "
            "another kind, or by other networks of the same kind, or by the very network they were designed for. The "
            "best training image is that of the network that was designed for. Gain: of the designed patch over the "
            "row on the judging network, paired by image. First design of each network; 95 % intervals are over the "
            "networks that were designed for (Student's t) and images together.",
            frame=cross_table(results),
            formats=shown("accuracy", "percent") | formats("gain", kind="points"),
        )
    if results.further.joint:
        yield Table(
            name="joint",
            title="Networks that learn with their patches",
            caption="The first test images without and with patches, by the frozen network and by one whose weights "
            "moved along with its patches, on patched training images. Gain of patch and network that learnt together "
            f"over the row, paired. {over(results)}.",
            frame=joint_table(results),
            formats=formats("clean", "corrupted") | formats("gain_clean", "gain_corrupted", kind="points"),
        )


def drawings(results: Results) -> Iterator[Figure]:
    if results.further.sides:
        yield _sizes(results)
    if results.further.cross:
        yield _cross(results)


# --- Sizes ------------------------------------------------------------------------------------------------------------


def size_table(results: Results) -> pd.DataFrame:
    """One row for each side and patch."""
    rows = []
    models = list(dict.fromkeys(chain.model for chain in results.chains))
    for side in sorted({results.kind.side, *results.settings.other_sides}):
        designed = [_right(_of_side(results, side, model, "designed")) for model in models]
        for name in NAMES:
            right = [_right(_of_side(results, side, model, name)) for model in models]
            row: dict[str, object] = {"side": side, "patch": WORDS[name]}
            accuracy = _over([[proportion(each)] for each in right])
            row |= columns("accuracy", accuracy)
            row |= dict.fromkeys(("gain", "gain_lo", "gain_hi"), float("nan"))
            if name != "designed":
                pairs = [[paired_difference(a, b)] for a, b in zip(designed, right, strict=True)]
                row |= columns("gain", _over(pairs, share=False), "gain_lo", "gain_hi")
            rows.append(row | {"n": accuracy.n})
    return pd.DataFrame(rows)


def _of_side(results: Results, side: int, model: str, name: str) -> pd.DataFrame:
    if name == "none" or side == results.kind.side:
        return results.seen[Chain(model, 0), name, CLEAN]
    return results.further.sides[side, model, name]


def _sizes(results: Results) -> Figure:
    table = size_table(results)
    return figures.curve(
        name="sizes",
        title="Accuracy by size of the patch",
        caption="Accuracy on clean test images by side of the patch, in pixels; bands are 95 % intervals.",
        series=[
            figures.Series(
                label=patch,
                x=rows.side.tolist(),
                y=rows.accuracy.tolist(),
                lo=rows.lo.tolist(),
                hi=rows.hi.tolist(),
            )
            for patch, rows in table.groupby("patch", sort=False)
        ],
        x_label="side of the patch",
        y_label="accuracy",
        percent=True,
    )


# --- Other networks ---------------------------------------------------------------------------------------------------


def kind_of(name: str, results: Results) -> str:
    """Networks that differ by their seed only are of one kind: `"twin:standard"`, or those that were trained here."""
    if not results.settings.models and name in results.settings.names:
        return results.settings.arch
    head, separator, seed = name.rpartition(":")
    return head if separator and seed.isdecimal() else name


def cross_table(results: Results) -> pd.DataFrame:
    """One row for each patch, kind that it was made for and kind that judges; own networks apart."""
    names = list(results.further.without)
    kinds = {name: kind_of(name, results) for name in names}
    rows = []
    for source in dict.fromkeys(kinds.values()):
        for judge in dict.fromkeys(kinds.values()):
            for relation in ("itself", "same kind") if source == judge else ("other kind",):
                groups = [
                    [(a, b) for b in names if kinds[b] == judge and (a == b) == (relation == "itself")]
                    for a in names
                    if kinds[a] == source
                ]
                if not all(groups):
                    continue
                for name in NAMES:
                    right = [[_judged(results, a, b, name) for a, b in group] for group in groups]
                    accuracy = _over([[proportion(each) for each in group] for group in right])
                    row: dict[str, object] = {"designed_for": source, "judged_by": judge, "relation": relation}
                    row["patch"] = WORDS[name]
                    row |= columns("accuracy", accuracy)
                    row |= dict.fromkeys(("gain", "gain_lo", "gain_hi"), float("nan"))
                    if name != "designed":
                        gains = [[_gain_of(results, a, b, name) for a, b in group] for group in groups]
                        row |= columns("gain", _over(gains, share=False), "gain_lo", "gain_hi")
                    rows.append(row | {"pairs": sum(map(len, groups)), "n": accuracy.n})
    return pd.DataFrame(rows)


def _gain_of(results: Results, source: str, judge: str, name: str) -> Estimate:
    """Of the designed patch over another one, paired by image."""
    return paired_difference(_judged(results, source, judge, "designed"), _judged(results, source, judge, name))


def _judged(results: Results, source: str, judge: str, name: str) -> np.ndarray:
    """Of the first test images, whether each is recognised by one network with a patch made for another."""
    without = results.further.without[judge]
    if name == "none":
        return _right(without)
    rows = results.further.cross.get((source, judge, name))
    if rows is None:
        rows = results.seen[Chain(source, 0), name, CLEAN]
    return _right(rows, without)


def _cross(results: Results) -> Figure:
    names = list(results.further.without)
    values = [
        [float(_judged(results, a, b, "designed").mean() - _judged(results, a, b, "none").mean()) for b in names]
        for a in names
    ]
    return figures.heat_map(
        name="cross",
        title="What one network's patches gain on another",
        caption="In points of accuracy over no patch, clean images; rows: the network that the patches were designed "
        "for, columns: the network that judges. On the diagonal they are one.",
        values=values,
        rows=names,
        columns=names,
        row_label="designed for",
        column_label="judged by",
        fmt="points",
        signed=True,
    )


# --- Networks that learn along ----------------------------------------------------------------------------------------


def joint_table(results: Results) -> pd.DataFrame:
    """One row for each pair of patch and network, the last of which learnt together."""
    models = list(dict.fromkeys(model for model, _, _ in results.further.joint))
    rows = []
    for network in ("frozen", "learnt along"):
        for name in NAMES:
            words = "its own patch" if network != "frozen" and name == "designed" else WORDS[name]
            row: dict[str, object] = {"network": network, "patch": words}
            count = 0
            for where, cells in (("clean", (CLEAN,)), ("corrupted", results.cells)):
                own = [_recognised(results, model, network, name, cells) for model in models]
                best = [_recognised(results, model, "learnt along", "designed", cells) for model in models]
                found = _over([[_share(each)] for each in own])
                row |= columns(where, found, f"{where}_lo", f"{where}_hi")
                column, count = f"gain_{where}", found.n
                row |= dict.fromkeys((column, f"{column}_lo", f"{column}_hi"), float("nan"))
                if (network, name) != ("learnt along", "designed"):
                    gain = _over([[_gain(a, b)] for a, b in zip(best, own, strict=True)], share=False)
                    row |= columns(column, gain, f"{column}_lo", f"{column}_hi")
            rows.append(row | {"n": count})
    return pd.DataFrame(rows)


def _share(right: np.ndarray) -> Estimate:
    return proportion(right) if right.dtype == bool else mean_interval(right)


def _gain(first: np.ndarray, second: np.ndarray) -> Estimate:
    return paired_difference(first, second) if first.dtype == bool else mean_interval(first - second)


def _recognised(results: Results, model: str, network: str, name: str, cells: Sequence[Cell]) -> np.ndarray:
    """(images,): share of the cells in which each of the first images is recognised; yes or no for a single cell."""
    few, frozen = results.further.without[model], network == "frozen"
    rows = [results.seen[Chain(model, 0), name, c] if frozen else results.further.joint[model, name, c] for c in cells]
    outcomes = [_right(each, few) for each in rows]
    return outcomes[0] if len(outcomes) == 1 else np.mean(outcomes, axis=0)


def _right(rows: pd.DataFrame, like: pd.DataFrame | None = None) -> np.ndarray:
    """Whether images are recognised; of the images of `like`, in their order."""
    if like is None:
        return rows.correct.to_numpy(dtype=bool)
    return rows.set_index("index").correct.loc[like["index"]].to_numpy(dtype=bool)


def _over(groups: Sequence[Sequence[Estimate]], *, share: bool = True) -> Estimate:
    return mean_over_nested_seeds(groups, limits=SHARES if share else (-1.0, 1.0))
