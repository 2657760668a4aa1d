"""What the report says of the probes: claims by rules fixed before the run, and a table for each question."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from robustray.tasks.kit.claims import Repeats
from robustray.tasks.kit.frames import shown
from robustray.tasks.kit.rules import above, below
from robustray.tasks.statistics import Estimate
from robustray.tasks.studies.representations import probed
from robustray.tasks.studies.representations.agreement import OVER, people_difference, people_table
from robustray.tasks.studies.representations.layers import last_difference, layer_table
from robustray.tasks.studies.representations.results import Results
from robustray.tasks.study import Claim, Table

TABLES = {**probed.TABLES, "layers": layer_table}
"""Name -> how it is made."""
OVER_WORDS = "95 % intervals over seeds and {}."


@dataclass(frozen=True, kw_only=True)
class Words:
    """Words of a table."""

    title: str
    caption: str
    formats: Mapping[str, str]
    """Column -> its format; each has its ends."""
    items: str
    """What n counts."""


def _words(results: Results) -> Mapping[str, Words]:
    settings = results.settings
    return {
        "matching": Words(
            title="How near another image's latent comes within a small ball",
            caption="Distance of latents from an image of another class, relative to the target's length: at eps 0 as "
            f"it is, then the smallest on {settings.match_steps} steps within l2 eps. Left: of the distance at eps 0. "
            "The same pairs for all networks.",
            formats={"distance": ".3f", "left": "percent"},
            items="pairs",
        ),
        "paths": Words(
            title="Images between two images",
            caption="Ends: the share of a path's images whose class, for the judge, is that of one of its ends. "
            "Variation: half the summed change of the judge's probabilities from image to image (1: from one class to "
            f"the other at once and directly). Reached: relative distance of latents. {settings.path_points} images a "
            f"path; {probed.BLEND}: the average of both images, which the networks start from.",
            formats={"ends": "percent", "variation": ".2f", "reached": ".3f"},
            items="pairs",
        ),
        "added": Words(
            title="A coordinate of the latent, added to images",
            caption="Reached: it is as large as on one test image of a hundred, or as on its strongest test image "
            f"number {settings.top_images} where that is more; there steps end. Moved: l2. Concentrated: the "
            "share of the squared change in the fifth of the pixels that changed most (20 %: even). Seen: how far the "
            "judge's latent moved, 1 being the distance between two random test images.",
            formats={"reached": "percent", "moved": ".2f", "concentrated": "percent", "seen": ".3f"},
            items="units and images",
        ),
        "directions": Words(
            title="Along a class's direction of a linear head",
            caption="A logistic head is fitted on the latents of training images; from noise, the latent is moved "
            "along the direction in which a class's logit rises against all others'. Judge class, own class: the "
            "judge, and the network itself, see that class.",
            formats={"judge_class": "percent", "own_class": "percent"},
            items="classes and starts",
        ),
        "strange": Words(
            title="Inversions of images of no class",
            caption="Targets drawn at random: noise, smooth textures, bars. Pixels, judge: the share of the other "
            "targets of the kind that are more like the inversion than its own (50 %: chance). With target: "
            "correlation of pixels. After: relative distance of latents. A class code could not tell them apart.",
            formats={"pixels": "percent", "judge": "percent", "with_target": ".3f", "after": ".3f"},
            items="targets",
        ),
        "maps": Words(
            title="Sensitivity maps and the image's own edges",
            caption="Correlation, over places, of the length of the loss's gradient with that of the image's own "
            "brightness (own), with that of another image of the class (other), and their difference (gap).",
            formats={"own": ".3f", "other": ".3f", "gap": ".3f"},
            items="images",
        ),
        "layers": Words(
            title="How far a block's output follows its image",
            caption="The farthest that the output of a block was moved by steps within l2 eps of the image, from a "
            "random point of the sphere, relative to how far two test images' outputs are apart on average. Blocks in "
            f"their order; latent: what the linear head reads. {settings.sense_steps} steps: what is found is a lower "
            "bound.",
            formats={"moves": ".3f"},
            items="images",
        ),
        "neighbours": Words(
            title="Nearest neighbours in feature space",
            caption=f"Same class: the share of a target's {settings.neighbours} nearest test images that are of its "
            "class. Likeness: correlation of its pixels with the nearest one's; other: with a random one of its class.",
            formats={"same_class": "percent", "likeness": ".3f", "other": ".3f"},
            items="targets",
        ),
    }


def probe_tables(results: Results, people: Mapping[tuple[str, str], Estimate]) -> Iterator[Table]:
    """One for each question; that of people only where their answers were given."""
    for name, words in _words(results).items():
        frame = TABLES[name](results)
        if len(frame):
            yield _table(name, words, frame)
    if people:
        words = Words(
            title="Do latents predict what people confuse?",
            caption="Spearman correlation. Pairs: of classes, nearness of mean latents against how often people take "
            "one for the other. Images: how near the nearest wrong class's mean is, compared with the own class's, "
            "against the share of people who "
            f"did not give the label. Pixels: the same with images, not latents; {results.settings.num_resamples} "
            "resamples of images.",
            formats=dict.fromkeys(OVER, ".3f"),
            items="images",
        )
        yield _table("people", words, people_table(results, dict(people)))


def _table(name: str, words: Words, frame: pd.DataFrame) -> Table:
    formats = {"eps": "g"} if "eps" in frame else {}
    for column, fmt in words.formats.items():
        formats |= shown(column, fmt, f"{column}_lo", f"{column}_hi")
    return Table(
        name=name,
        title=words.title,
        caption=f"{words.caption} {OVER_WORDS.format(words.items)}",
        frame=frame,
        formats=formats,
    )


def probe_claims(results: Results, people: Mapping[tuple[str, str], Estimate]) -> Iterator[Claim]:
    """Robust minus standard twin, paired by twins and by what was asked of both."""
    settings = results.settings
    seeds = settings.seeds()
    repeats = Repeats(count=settings.num_seeds, over="seeds and pairs of images")
    yield repeats.claim(
        "Within a small ball, more is left of the distance between two images' representations with a robust network.",
        probed.difference(probed.match_mean(results), seeds),
        above(0),
        measured="share of the distance of latents at the start that is left, mean over the sizes of balls, robust "
        "minus standard",
    )
    yield repeats.claim(
        "Between two images, a robust network's are of one of their classes more often than a standard network's.",
        probed.difference(probed.path_values(results)["ends"], seeds),
        above(0),
        measured="share of a path's images in which the judge sees one of the two classes, robust minus standard",
    )
    yield repeats.claim(
        "Also images of no class are closer to their inversions, among others of their kind, with robust networks.",
        probed.difference(probed.strange_values(results)["pixels"], seeds),
        below(0),
        measured="share of the other targets of a kind that are more like an inversion than its own by the correlation "
        "of pixels, robust minus standard",
        over="seeds and targets",
    )
    yield repeats.claim(
        "Along a class's direction of a linear head, a robust network's images show that class more often.",
        probed.difference(probed.directed_values(results)["judge_class"], seeds),
        above(0),
        measured="share of images in which the judge sees the class, robust minus standard",
        over="seeds, classes and starts",
    )
    yield repeats.claim(
        "Sensitivity maps of robust networks follow the image's own edges more than those of standard networks.",
        probed.difference(probed.map_values(results)["gap"], seeds),
        above(0),
        measured="correlation of the map with the image's edges, minus that with another image's of its class; robust "
        "minus standard",
        over="seeds and images",
        unit="number",
    )
    yield repeats.claim(
        "A robust network's latent follows small changes of its image less far than a standard network's.",
        last_difference(results),
        below(0),
        measured=f"distance that the latent was moved within l2 {settings.sense_eps[-1]:g}, relative to that between "
        "two images; robust minus standard",
        over="seeds and images",
        unit="number",
    )
    for over, what in (("pairs", "which classes people confuse"), ("images", "on which images people disagree")):
        if people:
            yield repeats.claim(
                f"Distances between a robust network's latents predict {what} better than a standard network's do.",
                people_difference(dict(people), over),
                above(0),
                measured="Spearman correlation with people's answers, robust minus standard",
                over="seeds and images",
                unit="number",
            )


def probe_warnings(results: Results) -> Iterator[str]:
    """Why people were not asked, where they could have been."""
    settings = results.settings
    if not settings.people and settings.test_data.startswith("cifar10:test"):
        yield (
            "people's answers to these images were not given (--people, made by robustray import cifar10h): whether "
            "latents predict what people confuse was skipped"
        )
