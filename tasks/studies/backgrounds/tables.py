"""The tables of the report."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from robustray.tasks.kit.frames import at, columns, shown
from robustray.tasks.kit.words import listed, over_words
from robustray.tasks.statistics import Estimate, mean_over_seeds, proportion
from robustray.tasks.studies.backgrounds import adversarial, in9, reduce
from robustray.tasks.studies.backgrounds.results import Results
from robustray.tasks.studies.backgrounds.saliency import saliency_table
from robustray.tasks.studies.backgrounds.settings import ORIGINAL, WORDS, Network
from robustray.tasks.study import Table

MOST_LINES = 30
"""The most rejected images that the page lists; of more it gives the reasons and their numbers."""
GAP = "accuracy on Mixed-Same minus accuracy on Mixed-Rand, paired by seed and foreground"


def tables(results: Results) -> Iterator[Table | None]:
    settings = results.settings
    if len(results.records):
        over = "95 % intervals are over images" if settings.own else over_words(settings.num_seeds)
        yield Table(
            name="gaps",
            title="What a background of another class costs",
            caption=f"{_images(results)}Gap: {GAP}; next gap: the same with Mixed-Next. Towards background: of "
            f"Mixed-Rand images whose background is of another class, the share answered with that class. {over}.",
            frame=results.gaps.drop(columns="rho"),
            formats={
                **shown("gap", "points"),
                **shown("next_gap", "points", "next_lo", "next_hi"),
                **shown("towards_background", "percent", "towards_lo", "towards_hi"),
            },
        )
        accuracy = results.accuracy.assign(version=[WORDS[version] for version in results.accuracy.version])
        yield Table(
            name="accuracy",
            title="Accuracy on every version",
            caption=f"{_images(results)}All versions show the same foregrounds; chance is "
            f"{1 / len(results.classes):.1%}. Mixed-Rand draws the background's class among all classes, the own one "
            f"too. {over}.{looked_up_words(results)}",
            frame=accuracy.drop(columns="rho"),
            formats=shown("accuracy", "percent"),
        )
        yield Table(
            name="categories",
            title="What decides an image",
            caption="By what is right of Original, Mixed-Rand and Only-BG-T (paper, section 4). Required: shares of "
            f"images that are right only because of their background, with its interval. {over}.",
            frame=results.categories.drop(columns="rho"),
            formats={
                **dict.fromkeys([*reduce.CATEGORIES, "bg_irrelevant"], "percent"),
                **shown("required", "percent"),
            },
        )
        yield Table(
            name="predictions",
            title="Predictions",
            caption="One row per network and test image, one column per version.",
            frame=results.records,
            on_page=False,
        )
        yield trend_table(results)
    yield from met_tables(results)
    yield saliency_table(results.saliency, None if settings.own else settings.num_seeds)
    yield robust_table(results)
    yield Table(
        name="pairs",
        title="Whose background",
        caption="Foreground and background of every image of every mixed version; no image keeps its own.",
        frame=results.pairs,
        on_page=False,
    )
    if len(results.built):
        yield Table(
            name="built",
            title="Where the versions are",
            caption="`--data FOLDER` reads each of them again, with masks and boxes.",
            frame=results.built,
        )
    if len(results.rejected) > MOST_LINES:
        yield Table(
            name="reasons",
            title="Why images are in no version",
            caption="Numbers in a reason are left out here; `rejected` lists every image with its own.",
            frame=reasons(results.rejected),
        )
    if len(results.rejected):
        yield Table(
            name="rejected",
            title="Images in no version",
            caption="All versions hold the same foregrounds, so an image that can't be cut out is in none.",
            frame=results.rejected,
            on_page=len(results.rejected) <= MOST_LINES,
        )


def reasons(rejected: pd.DataFrame) -> pd.DataFrame:
    """How many images were rejected for each reason, the most frequent first; numbers of single images left out."""
    alike = rejected["reason"].str.replace(r"-?\b\d+\b(?!%)", "...", regex=True)
    counts = alike.value_counts(sort=True)
    return pd.DataFrame({"reason": counts.index, "n": counts.to_numpy()})


def looked_up_words(results: Results) -> str:
    """How answers of 1,000 classes were read."""
    if not results.looked_up:
        return ""
    return f" Of {listed(results.looked_up)} {in9.mapped_words()}."


def _images(results: Results) -> str:
    if results.settings.own:
        return ""
    return (
        f"Fixed: {results.num_kept:,} test scenes that all networks share, every one on its class's background, on "
        "which claims are judged. Own rho: test scenes of the network's own correlation. "
    )


def trend_table(results: Results) -> Table | None:
    """The paper's last claim: what goes with accuracy on Original."""
    if not results.trends:
        return None
    over = (
        "other models (Student's t on the residuals of the line)"
        if results.settings.own
        else "seeds (Student's t on the slopes, one line for each seed)"
    )
    rows = [
        {"what": WORDS.get(what, "BG-gap"), **columns("slope", found), "n": found.n}
        for what, found in results.trends.items()
    ]
    return Table(
        name="trends",
        title="What goes with accuracy",
        caption=f"Slope of a straight line by least squares through {len(results.better)} networks: how many points "
        "the BG-gap, and the accuracy on each version, change when accuracy on Original rises by one point. 95 % "
        f"intervals are over {over}.",
        frame=pd.DataFrame(rows),
        formats=shown("slope", ".2f"),
    )


def met_tables(results: Results) -> Iterator[Table]:
    """Adversarial backgrounds."""
    if not results.met:
        return
    yield Table(
        name="adversarial",
        title="Adversarial backgrounds",
        caption="Fooled: foregrounds for which some background of another class is answered with that class (the "
        "paper's count, a full sweep). Challenge: foregrounds that no background, of whatever class, makes a wrong "
        "answer of. Beside it: accuracy on the same foregrounds' own images, and of always giving the commonest class. "
        "Looked at: compositions per foreground before the challenge was decided.",
        frame=adversarial.score_table(results.met),
        formats={
            **shown("fooled", "percent", "fooled_lo", "fooled_hi"),
            **shown("challenge", "percent", "challenge_lo", "challenge_hi"),
            "clean": "percent",
            "constant": "percent",
            "looked_at": ".0f",
        },
    )
    classes = adversarial.background_table(results.met, results.classes, seed=results.settings.seed)
    if len(classes):
        yield Table(
            name="backgrounds",
            title="The best and the worst backgrounds of each class",
            caption="Success: share of foregrounds of other classes that are answered with the background's class. The "
            "best and the worst background are chosen on half of the foregrounds, their success is that on the other "
            "half (n). Mean: of all backgrounds of the class. Any: foregrounds that some background of it fools.",
            frame=classes,
            formats={
                **shown("best", "percent", "best_lo", "best_hi"),
                **shown("worst", "percent", "worst_lo", "worst_hi"),
                "mean": "percent",
                **shown("any", "percent", "any_lo", "any_hi"),
            },
        )
        yield Table(
            name="success",
            title="Success of every background",
            caption="One row per network, seed and background; wrong: the share of all foregrounds answered wrongly.",
            frame=adversarial.success_table(results.met, results.met_places),
            on_page=False,
        )


def robust_accuracy(results: Results, network: Network, eps: float) -> Estimate:
    """Accuracy under attack on the fixed scenes."""
    rows = at(results.robust, network=network.words, eps=eps)
    found = [proportion(~seed["success"].to_numpy(bool)) for _, seed in rows.groupby("seed", sort=True)]
    return mean_over_seeds(found, limits=(0, 1))


def robust_table(results: Results) -> Table | None:
    """Whether adversarial training did anything, beside what it did to the gap."""
    if results.robust.empty:
        return None
    plain = Network(results.top, ORIGINAL, 0)
    rows = [
        {
            "network": network.words,
            "eps": eps,
            **columns("robust", robust_accuracy(results, network, eps), "robust_lo", "robust_hi"),
            "clean": results.accuracy_of(network, ORIGINAL).value,
            **columns("gap", results.gap(network)),
            "n": results.settings.num_robust,
        }
        for eps in results.settings.eps_train
        for network in (plain, plain._replace(eps=eps))
    ]
    return Table(
        name="robust",
        title="Adversarial training",
        caption=f"Robust: accuracy under {results.settings.test_steps} steps of PGD at the size of the training, on n "
        "fixed scenes; clean and gap as in the tables above.",
        frame=pd.DataFrame(rows),
        formats={
            "eps": "g",
            **shown("robust", "percent", "robust_lo", "robust_hi"),
            "clean": "percent",
            **shown("gap", "points"),
        },
    )
