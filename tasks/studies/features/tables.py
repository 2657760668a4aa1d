"""The tables of the report."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from robustray.tasks.kit.frames import at, shown
from robustray.tasks.kit.words import over_words
from robustray.tasks.studies.features import reduce
from robustray.tasks.studies.features.claims import LEAST_USEFUL
from robustray.tasks.studies.features.results import MOST_SEEN, WORDS, Results
from robustray.tasks.studies.features.transferring import mean_table
from robustray.tasks.study import Table


def tables(
    results: Results, making: pd.DataFrame, accuracy: pd.DataFrame, units: pd.DataFrame, transfers: pd.DataFrame
) -> Iterator[Table]:
    """All tables in the order of the page."""
    yield students(results, accuracy)
    yield making_of(results, making)
    yield seen(results)
    if results.leaks:
        yield leaks(results)
    yield grid(results)
    if len(units):
        yield useful(results, units)
        yield Table(
            name="units",
            title="Single units",
            caption="One row for each chain, source and unit.",
            frame=units,
            on_page=False,
        )
    if len(transfers):
        yield transferred(results, transfers)
    yield Table(
        name="accuracy",
        title="Accuracies in long form",
        caption="One row for each set or source, label rule, attack and size; size 0 is no attack.",
        frame=accuracy,
        on_page=False,
    )


def students(results: Results, accuracy: pd.DataFrame) -> Table:
    """Sets down, measures across."""
    settings = results.settings
    measures = {
        "on_y": {"labels": "y", "attack": "none"},
        "on_next": {"labels": "y+1", "attack": "none"},
        **{f"pgd_{eps:g}": {"attack": "pgd", "eps": eps} for eps in settings.eps_test},
        **({"fast": {"attack": "fast-cascade"}} if settings.num_fast else {}),
    }
    rows = []
    for name in dict.fromkeys(accuracy.set):
        row: dict[str, object] = {"set": WORDS.get(name, name)}
        for measure, where in measures.items():
            found = at(accuracy, set=name, **where)
            values = found.iloc[0][["accuracy", "lo", "hi"]].tolist() if len(found) else [None] * 3
            row |= dict(zip((measure, f"{measure}_lo", f"{measure}_hi"), values, strict=True))
        rows.append(row)
    clean = at(accuracy, attack="none")
    attacked = at(accuracy, attack="pgd")
    fast = at(accuracy, attack="fast-cascade")
    also = (
        f" fast: the first two stages of AutoAttack at ℓ2 {settings.eps_reference:g} as well, on the first "
        f"{int(fast.n.min()):,} images."
        if len(fast)
        else ""
    )
    return Table(
        name="students",
        title="What students of each set know of the original test images",
        caption="on y: by their true labels; on next: by the label after it, which D_det and its controls were "
        f"taught; pgd: on y under PGD-{settings.test_steps} at that ℓ2 size.{also} "
        f"{over_words(len(results.chains))}; n = {int(clean.n.min()):,} images, {int(attacked.n.min()):,} under PGD.",
        frame=pd.DataFrame(rows),
        formats={k: v for name in measures for k, v in shown(name, "percent", f"{name}_lo", f"{name}_hi").items()},
    )


def making_of(results: Results, table: pd.DataFrame) -> Table:
    """How the sets came out."""
    return Table(
        name="making",
        title="How the sets came out",
        caption="Measured on the stored 8-bit images. Seen as label: by the source that made them, with the interval "
        "over images; transfers: by D's student, a standard network of another seed, too. Gap: distance of the latent "
        "from its target, relative to the target's length, as a median. "
        "Distance: mean ℓ2 from the image it started from, in pixel units; farthest: the largest one, before it was "
        "rounded to 8 bits and as it is stored. Used: the smallest size at which at least "
        f"{results.settings.least_success:.0%} of D_rand and D_det are seen as their new label in every chain, fixed "
        "before any student was trained (or the largest one tried).",
        frame=table,
        formats={
            **shown("seen_as_label", "percent"),
            **dict.fromkeys(("distance", "farthest_before", "farthest_stored", "first_gap", "last_gap"), ".3f"),
            "eps": "eps",
            "transfers": "percent",
        },
    )


def seen(results: Results) -> Table:
    """The witness."""
    table = reduce.seen_table(results)
    answers = ("y", "t", "other", "t_before")
    return Table(
        name="seen",
        title="What a robust network of another seed sees in the sets",
        caption="Of the images whose new label t is not their own, y: answered y, t, something else; and t on the "
        "image as it was. A set is marked 'not non-robust', and makes no claim, if t is answered more than "
        f"{100 * MOST_SEEN:g} points more often than before: what teaches it can then be seen by robust networks, too. "
        f"{over_words(len(results.chains))}.",
        frame=table.assign(set=[WORDS[name] for name in table.set]),
        formats={
            **{k: v for name in answers for k, v in shown(name, "percent", f"{name}_lo", f"{name}_hi").items()},
            **shown("more", "points", "more_lo", "more_hi"),
        },
    )


def leaks(results: Results) -> Table:
    """The linear probe."""
    table = reduce.leak_table(results)
    return Table(
        name="leakage",
        title="What a robust linear network reads out of the sets",
        caption="Probe: a linear head on the outputs of a linear network that was trained robustly on D, fitted on the "
        "set, by true labels of the original test images. Students: networks trained on the same set. Linear: that "
        f"network itself. {over_words(len(results.chains))}; n = {int(table.n.min()):,} images.",
        frame=table.assign(set=[WORDS[name] for name in table.set]),
        formats={
            **shown("probe", "percent", "probe_lo", "probe_hi"),
            **shown("students", "percent", "students_lo", "students_hi"),
            **shown("more", "points", "more_lo", "more_hi"),
            "linear": "percent",
        },
    )


def grid(results: Results) -> Table:
    """The table of all students."""
    settings = results.settings
    tried = len(settings.in_grid)
    which = "all chains" if tried == len(results.chains) else f"the first {tried} of {len(results.chains)} chains"
    return Table(
        name="grid",
        title="All students, chosen or not",
        caption=f"One row for each training. Every rate and augmentation is tried in {which}. Chosen: the setting with "
        f"the highest accuracy there on held-out images of {settings.train_data} that no set was made from "
        f"(n = {min(results.held_out.values()):,}), the same for all chains. Test: on {settings.test_data}, which "
        "chose nothing.",
        frame=reduce.grid_table(results),
        formats=dict.fromkeys(("held_out", "test", "test_next"), "percent"),
        on_page=len(results.students) <= 80,
    )


def useful(results: Results, units: pd.DataFrame) -> Table:
    """Usefulness in short: one row for each source."""
    settings = results.settings
    rows = []
    for source, found in units.groupby("source", sort=False):
        useful = found[found.rho >= LEAST_USEFUL]
        rows.append(
            {
                "source": source,
                "units": len(found),
                "useful": len(useful),
                "robustly_useful": float((useful.gamma > 0).mean()) if len(useful) else float("nan"),
                "rho": float(useful.rho.median()),
                "gamma": float(useful.gamma.median()),
                "gamma_short": float(useful.gamma_short.median()),
                "gamma_long": float(useful.gamma_long.median()),
            }
        )
    return Table(
        name="usefulness",
        title="How useful penultimate units are, as they are and under attack",
        caption=f"Random units of all chains. Useful: ρ of at least {LEAST_USEFUL:g} on test images, class and sign "
        "chosen on D. Robustly useful: share of those with γ above 0 at "
        f"ℓ2 {settings.eps_units:g}, on {settings.unit_images} images for each unit. ρ and γ are medians over useful "
        f"units; γ short: {settings.unit_steps} steps from the image; long: {settings.long_unit_steps} steps from "
        "three starts; γ: the lower one of each unit. Searches bound γ from above.",
        frame=pd.DataFrame(rows),
        formats={
            "robustly_useful": "percent",
            **dict.fromkeys(("rho", "gamma", "gamma_short", "gamma_long"), ".2f"),
        },
    )


def transferred(results: Results, transfers: pd.DataFrame) -> Table:
    """One row for each architecture."""
    settings = results.settings
    own = f" {settings.model} is the source's architecture, with another seed."
    return Table(
        name="transfer",
        title="What architectures learn from D_det, and what they fall for",
        caption="Means over chains. of d, of det: accuracy on test images of students of D and of D_det. Targeted, "
        f"untargeted: the share of the source's examples (ℓ2 {results.eps:g}, towards the next label) that D's student "
        "sees as their target, or not as their label; white box: the source itself. n: the fewest images of a chain "
        f"that the source and all architectures classify correctly.{own * (settings.model in settings.transfer_archs)}",
        frame=mean_table(transfers),
        formats=dict.fromkeys(("of_d", "of_det", "targeted", "untargeted", "white_box"), "percent"),
    )
