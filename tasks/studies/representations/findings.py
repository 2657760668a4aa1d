"""What the report says: the answer, the claims by rules fixed before the run, and the tables."""

from __future__ import annotations

import pandas as pd

from robustray.tasks.kit.claims import Repeats
from robustray.tasks.kit.compose import compose
from robustray.tasks.kit.frames import estimate_of, one, shown
from robustray.tasks.kit.rules import above, below
from robustray.tasks.kit.words import over_words, plural
from robustray.tasks.report.numbers import format_estimate, size_words
from robustray.tasks.studies.representations import reduce
from robustray.tasks.studies.representations.agreement import people_estimates
from robustray.tasks.studies.representations.drawings import drawings
from robustray.tasks.studies.representations.layers import layer_values
from robustray.tasks.studies.representations.probe_drawings import probe_drawings
from robustray.tasks.studies.representations.probe_findings import probe_claims, probe_tables, probe_warnings
from robustray.tasks.studies.representations.probed import every_row
from robustray.tasks.studies.representations.results import Results
from robustray.tasks.study import Claim, Findings, Table

BY = {"pixels": "by the correlation of pixels", "judge": "by the judge's latents"}


def findings(results: Results) -> Findings:
    """Everything that the report shows."""
    images, units = reduce.image_table(results), reduce.unit_table(results)
    ranks = reduce.rank_table(results, images)
    people = people_estimates(results)
    return compose(
        answer(results, ranks),
        claims(results, images, units),
        probe_claims(results, people),
        tables(results, images, ranks, units),
        probe_tables(results, people),
        records(results, images, units),
        drawings(results, images, ranks, units),
        probe_drawings(results),
        warnings(results),
        probe_warnings(results),
    )


def answer(results: Results, ranks: pd.DataFrame) -> str:
    """How many other images of a target's class lie closer to its inversions, for both kinds and for the class mean."""
    settings = results.settings
    start = settings.starts[0]
    by_what = {
        kind: format_estimate(row.pixels, (row.pixels_lo, row.pixels_hi), "percent")
        for kind in ("robust", "standard")
        for row in [one(ranks, what=kind, start=start)]
    }
    mean = estimate_of(one(ranks, what=reduce.CLASS_MEAN), "pixels", "pixels_lo", "pixels_hi")
    return (
        f"Of the other images of its class, {by_what['robust']} look more like a target's inversion than the target "
        f"itself does with robust twins, {by_what['standard']} with standard ones, and "
        f"{format_estimate(mean.value, mean.interval, 'percent')} look more like the class's mean image (chance: 50 %; "
        f"{settings.architecture} at {size_words(settings.norm, settings.eps)}, from {start}, "
        f"{plural(settings.num_seeds, 'seed')}, n = {len(results.targets):,} random targets of {settings.test_data})."
    )


def claims(results: Results, images: pd.DataFrame, units: pd.DataFrame) -> list[Claim]:
    """Two by pixels, two by the judge, one about units."""
    settings, found = results.settings, []
    repeats = Repeats(count=settings.num_seeds, over="seeds and targets")
    for measure, by in BY.items():
        for other, words in (
            ("standard", "those of the standard network"),
            (reduce.CLASS_MEAN, "the mean image of the target's class"),
        ):
            found.append(
                repeats.claim(
                    f"Inversions of a robust network are closer to their target, among images of its class, than "
                    f"{words} ({by}).",
                    reduce.closer_difference(images, measure, other),
                    below(0),
                    measured="share of the class's other images that are more alike than the target, minus that for "
                    f"{words}; paired by seed and target, mean over starts",
                )
            )
    found.append(
        repeats.claim(
            "What excites a unit of a robust network looks more like the natural images that excite it than a standard "
            "network's does.",
            reduce.unit_difference(units, "natural", settings.seeds()),
            above(0),
            measured="how often the judge finds a visualisation more like its own unit's top images than like another "
            "unit's, robust minus standard network",
            over="seeds and units",
        )
    )
    return found


def tables(results: Results, images: pd.DataFrame, ranks: pd.DataFrame, units: pd.DataFrame) -> list[Table]:
    settings = results.settings
    over = over_words(settings.num_seeds, units="targets").replace("Wilson", "Student's t")
    inversions = reduce.inversion_table(results, images)
    structure = [name for name in inversions if name.startswith("ssim")]
    found = [
        Table(
            name="ranks",
            title="Is the target found among its own class?",
            caption="The share of the class's other test images that are more alike than the target, percent: 0 is the "
            "target itself, 50 chance. Pixels: by correlation; judge: by Euclidean distance of an independent "
            f"network's latents; pixels rank, judge rank: the target's place among them (1: found, chance half of them "
            f"and a half). {reduce.CLASS_ONLY}: from the same start, the robust network's image for the class "
            f"alone; {reduce.CLASS_MEAN}, {reduce.GLOBAL_MEAN}: mean training images; {reduce.SAME_CLASS}: another "
            f"random test image. Among up to {settings.num_candidates} images; {over}.",
            frame=ranks,
            formats=shown("pixels", "percent", "pixels_lo", "pixels_hi")
            | shown("judge", "percent", "judge_lo", "judge_hi")
            | shown("pixels_rank", ".1f", "pixels_rank_lo", "pixels_rank_hi")
            | shown("judge_rank", ".1f", "judge_rank_lo", "judge_rank_hi")
            | {"among": ".1f"},
        ),
        Table(
            name="inversions",
            title="What inversions reach",
            caption="Before, after: distance to the target's latent relative to its length. With target, with start: "
            "correlation of pixels. Moved: l2 from the start. Own class, judge class: the network itself, and the "
            f"judge, see the target's class. A small distance alone says nothing of the image; {over}.",
            frame=inversions.drop(columns=structure),
            formats=shown("after", ".3f", "after_lo", "after_hi")
            | shown("with_target", ".3f", "with_target_lo", "with_target_hi")
            | shown("with_start", ".3f", "with_start_lo", "with_start_hi")
            | shown("judge_class", "percent", "judge_lo", "judge_hi")
            | {"before": ".3f", "moved": ".2f", "own_class": "percent"},
        ),
        Table(
            name="structure",
            title="Whose structure inversions have",
            caption="Structural similarity with the target and with the start: 1 for the same image; means, variances "
            f"and covariance of squares of 7 x 7 pixels. {over}.",
            frame=inversions[["what", "start", *structure, "seeds", "n"]],
            formats=shown("ssim_target", ".3f", "ssim_target_lo", "ssim_target_hi")
            | shown("ssim_start", ".3f", "ssim_start_lo", "ssim_start_hi"),
        ),
    ]
    if len(units):
        found.append(
            Table(
                name="natural",
                title="What excites a unit, and what excites it in nature",
                caption="Natural: how often the judge finds a visualisation more like its own unit's "
                f"{settings.top_images} strongest test images than like another unit's (chance 50 %). Seeds agree: "
                "cosine, in the judge's latents, of visualisations from different starts, same unit minus other units. "
                f"Activations: at the start, at the end, and the largest of a test image; {settings.num_units} random "
                f"units of those that are active on at least {settings.top_images} test images, "
                f"{plural(settings.unit_starts, 'start')} each; intervals over seeds and units.",
                frame=reduce.natural_table(results, units),
                formats=shown("natural", "percent", "natural_lo", "natural_hi")
                | shown("seeds_agree", ".3f", "agree_lo", "agree_hi")
                | dict.fromkeys(("activation_before", "activation", "largest_natural"), ".2f"),
            )
        )
    return found


def records(results: Results, images: pd.DataFrame, units: pd.DataFrame) -> list[Table]:
    """The networks, and every row."""
    return [
        Table(
            name="networks",
            title="The networks",
            caption="Weights: the name under which any study takes them. Accuracy: on all clean test images "
            f"({len(results.images):,} of {results.settings.test_data}).",
            frame=reduce.network_table(results),
            formats={"accuracy": "percent"},
        ),
        Table(
            name="images",
            title="Every optimised image and every baseline",
            caption="One row per image; seed -1: made by no network.",
            frame=images,
            on_page=False,
        ),
        Table(
            name="probes",
            title="Every answer to what else was asked",
            caption="One row per measure, network and item (a pair, a unit and an image, a target).",
            frame=every_row(results, {"layers": layer_values(results)}),
            on_page=False,
        ),
        Table(name="units", title="Every unit", caption="One row per network and unit.", frame=units, on_page=False),
    ]


def warnings(results: Results) -> list[str]:
    """Networks of which little can be learnt."""
    settings = results.settings
    found = list(Repeats(count=settings.num_seeds).warnings("seed", within="targets"))
    chance = 1 / results.images.num_classes
    for (kind, seed), accuracy in results.accuracies.items():
        if accuracy < 2 * chance:
            found.append(
                f"the {kind} network of seed {seed} classifies {accuracy:.0%} of the clean test images (chance "
                f"{chance:.0%}): it has hardly learnt, and its representations say nothing of trained networks, or it "
                "has the classes in another order"
            )
    for kind, seed in results.accuracies:
        if kind != "judge" and (kind, seed) not in results.units:
            found.append(
                f"the {kind} network of seed {seed} has fewer than two units that are active on {settings.top_images} "
                "test images: none is visualised"
            )
    return found
