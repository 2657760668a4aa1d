"""What the report says: answer, claims, warnings."""

from __future__ import annotations

import math
from collections.abc import Iterator

from robustray.tasks.kit.claims import Repeats, describe
from robustray.tasks.kit.compose import compose
from robustray.tasks.kit.frames import at
from robustray.tasks.kit.rules import above, below, equivalent
from robustray.tasks.kit.words import listed, plural
from robustray.tasks.report.numbers import format_estimate
from robustray.tasks.statistics import Estimate
from robustray.tasks.studies.backgrounds import adversarial, reduce, saliency
from robustray.tasks.studies.backgrounds.drawings import drawings
from robustray.tasks.studies.backgrounds.results import Results
from robustray.tasks.studies.backgrounds.settings import ORIGINAL, Network
from robustray.tasks.studies.backgrounds.tables import GAP, robust_accuracy, tables
from robustray.tasks.study import Claim, Description, Findings, PaperFigure

TABLE_2 = "table 2, ResNet-50 trained on IN-9L"
TABLE_5 = "table 5"
SCALE = "ResNet-50, nine classes of ImageNet, 4,050 test images"
MOST_FOOLED = 0.5
"""More than this share of foregrounds is "most"."""
TOST = 0.9
"""Level of the interval whose inclusion in a margin is two one-sided tests at 5 %; verdicts ask it of the 95 % one."""
ONLY_BG = "accuracy on Only-BG-T, where the object is tiled over with its own background"


def findings(results: Results) -> Findings:
    """Everything that the report shows."""
    parts = (claims(results), tables(results), drawings(results), warnings(results))
    return compose(answer(results), *parts)


# --- Answer -----------------------------------------------------------------------------------------------------------


def answer(results: Results) -> str:
    settings = results.settings
    if not settings.own:
        return _answer_on_scenes(results)
    if settings.models:
        gaps = listed(
            f"{model} {format_estimate(gap.value, gap.interval, 'points')}"
            for model in settings.models
            for gap in [results.own_gap(model)]
        )
        return (
            f"A background of a random class instead of the object's own changes the accuracy on {settings.own} by "
            f"(BG-gap): {gaps} (n = {results.num_kept:,} images)."
        )
    return (
        f"{plural(results.num_kept, 'image')} of {settings.own} in {plural(len(results.versions), 'version')}, "
        f"written to {settings.build}; {len(results.rejected):,} could not be cut out."
    )


def _answer_on_scenes(results: Results) -> str:
    settings = results.settings
    strong = results.gap(Network(results.top, ORIGINAL, 0))
    words = (
        f"Where class and background went together in training with correlation {results.top:g}, {settings.arch} loses "
        f"{format_estimate(strong.value, strong.interval, 'points').removeprefix('+')} of accuracy when a background "
        "of the object's own class is exchanged for one of a random class (BG-gap)"
    )
    if 0.0 in settings.rhos and results.top > 0:
        none = results.gap(Network(0.0, ORIGINAL, 0))
        words += f"; without correlation {format_estimate(none.value, none.interval, 'points')}"
    each = plural(settings.num_seeds, "training")
    return f"{words} ({each} each, n = {results.num_kept:,} foregrounds, the same for all)."


# --- Claims -----------------------------------------------------------------------------------------------------------


def claims(results: Results) -> Iterator[Claim | Description]:
    """The paper's claims, tested on scenes. A user's own models are described and not judged."""
    settings = results.settings
    if settings.own:
        yield from own_models(results)
        return
    repeats = Repeats(count=settings.num_seeds)
    if results.top > 0:
        yield repeats.claim(
            f"At correlation {results.top:g} networks answer by the background: one of a random class costs accuracy.",
            results.gap(Network(results.top, ORIGINAL, 0)),
            above(0),
            measured=f"BG-gap ({GAP})",
            paper=PaperFigure(figure="14.3 points", scale=SCALE, source=TABLE_2, value=0.143),
        )
    if 0.0 in settings.rhos:
        yield from null(results, repeats)
    if "mixed_rand" in settings.also_train_on and results.top > 0:
        yield from cure(results, repeats)
    if results.top > 0:
        yield repeats.claim(
            f"At correlation {results.top:g} the background alone suffices for more than chance.",
            results.accuracy_of(Network(results.top, ORIGINAL, 0), "only_bg_t"),
            above(math.ceil(1000 / len(results.classes)) / 1000),  # rounded up: the rule is as strict as it reads
            measured=ONLY_BG,
            unit="percent",
            paper=PaperFigure(figure="40.5 %", scale=SCALE, source=f"{TABLE_5}, chance 11.1 %", value=0.405),
        )
    if results.met:
        yield from backgrounds_that_fool(results, repeats)
    if results.saliency:
        yield from looks_at_the_object(results, repeats)
    if results.trends:
        yield from curve(results, repeats)
    for eps in settings.eps_train:
        yield robustness(results, repeats, eps)


def null(results: Results, repeats: Repeats) -> Iterator[Claim]:
    """Without correlation nothing may be found, or the experiment makes what it finds."""
    network, margin = Network(0.0, ORIGINAL, 0), results.settings.margin
    chance = 1 / len(results.classes)
    found = results.accuracy_of(network, "only_bg_t")
    yield repeats.claim(
        "Without correlation there is no gap: what is cut and pasted does not make one.",
        results.gap(network),
        equivalent(margin),
        measured=f"BG-gap ({GAP})",
        kind="check",
    )
    yield repeats.claim(
        "Without correlation the background alone says nothing: nothing of the object stays behind.",
        Estimate(value=found.value - chance, lo=found.lo - chance, hi=found.hi - chance, n=found.n),
        equivalent(margin),
        measured=f"{ONLY_BG}, minus chance",
        kind="check",
    )


def cure(results: Results, repeats: Repeats) -> Iterator[Claim]:
    """Training on Mixed-Rand leaves no gap, and the gap of training on Original is larger: both are asked."""
    plain, cured = (Network(results.top, version, 0) for version in (ORIGINAL, "mixed_rand"))
    narrow = reduce.gap(results.seeds(cured), level=TOST)
    yield repeats.claim(
        f"Training on Mixed-Rand removes the gap at correlation {results.top:g}.",
        results.gap(cured),
        equivalent(results.settings.margin),
        measured=f"BG-gap ({GAP}); its {TOST:.0%} interval, that of tests at 5 %, is {format_interval(narrow)}",
        paper=PaperFigure(figure="−0.2 points", scale=SCALE, source=f"{TABLE_5} (71.33 % and 71.53 %)", value=-0.002),
    )
    yield repeats.claim(
        f"At correlation {results.top:g} training on Original leaves a larger gap than training on Mixed-Rand.",
        reduce.gap_difference(results.seeds(plain), results.seeds(cured)),
        above(0),
        measured="BG-gap trained on Original minus BG-gap trained on Mixed-Rand, paired by seed and foreground",
        paper=PaperFigure(figure="20.4 points", scale=SCALE, source=f"{TABLE_5} (20.2 and −0.2)", value=0.204),
    )


def backgrounds_that_fool(results: Results, repeats: Repeats) -> Iterator[Claim]:
    """Adversarial backgrounds; see `adversarial` for what the two questions are."""
    by_network = dict(adversarial.groups(results.met))
    plain, cured = (by_network.get(Network(results.top, version, 0).words) for version in (ORIGINAL, "mixed_rand"))
    count = len(results.met_places)
    if plain and len(plain[0].sweep):
        yield repeats.claim(
            f"At correlation {results.top:g} most objects have a background that makes the network answer its class.",
            adversarial.share_fooled(plain),
            above(MOST_FOOLED),
            measured=f"share of foregrounds answered with the class of any of {count:,} backgrounds of other classes",
            unit="percent",
            paper=PaperFigure(
                figure="87.5 %", scale="ResNet-50 trained on IN-9L, 4,050 backgrounds", source="section 4", value=0.875
            ),
        )
    if plain and cured and len(plain[0].challenge):
        yield repeats.claim(
            f"At correlation {results.top:g} more objects stand all backgrounds after training on Mixed-Rand.",
            adversarial.challenge_gain(plain, cured),
            above(0),
            measured=f"share of foregrounds that none of {count:,} backgrounds makes a wrong answer of, trained on "
            "Mixed-Rand minus trained on Original, paired by seed and foreground",
        )


def curve(results: Results, repeats: Repeats) -> Iterator[Claim]:
    """The paper's last claim, over networks of growing capacity and data."""
    about = f"slope of a straight line through {len(results.better)} networks, one for each seed"
    where = "ImageNet models of growing accuracy"
    yield repeats.claim(
        "Better networks lose less by a background of another class.",
        results.trends[reduce.GAP],
        below(0),
        measured=f"BG-gap against clean accuracy, {about}",
        over="seeds",
        unit="number",
        paper=PaperFigure(figure="the gap falls", scale=where, source="section 5"),
    )
    yield repeats.claim(
        "Better networks read more from the background where there is nothing else.",
        results.trends["only_bg_t"],
        above(0),
        measured=f"accuracy on Only-BG-T against clean accuracy, {about}",
        over="seeds",
        unit="number",
        paper=PaperFigure(figure="the accuracy rises", scale=where, source="section 5"),
    )


def looks_at_the_object(results: Results, repeats: Repeats) -> Iterator[Claim]:
    """The paper's saliency maps, as a number."""
    by_network = dict(saliency.kinds(results.saliency))
    plain, cured = (by_network.get(Network(results.top, version, 0).words) for version in (ORIGINAL, "mixed_rand"))
    if plain and cured:
        yield repeats.claim(
            "After training on Mixed-Rand more of an answer hangs on the object.",
            saliency.difference(plain, cured),
            above(0),
            measured="share of the gradient of the answer's logit that lies on the object, trained on Mixed-Rand minus "
            "trained on Original, paired by seed and image",
            paper=PaperFigure(figure="maps, no number", scale=SCALE, source="section 4, its saliency maps"),
        )


def robustness(results: Results, repeats: Repeats, eps: float) -> Claim:
    """Adversarial training does not close the gap; undecided where it made no network more robust."""
    network = Network(results.top, ORIGINAL, 0, eps=eps)
    plain, robust = (robust_accuracy(results, each, eps) for each in (network._replace(eps=0.0), network))
    risen = robust.lo > plain.hi
    told = "" if risen else ", which is not clearly higher: undecided"
    return Repeats(count=repeats.count if risen else 0).claim(
        f"Adversarial training (l2 {eps:g}) leaves a gap at correlation {results.top:g}.",
        results.gap(network),
        above(results.settings.margin),
        measured=f"BG-gap ({GAP}) of networks whose accuracy under attack is {robust.value:.1%}, that of standard ones "
        f"{plain.value:.1%}{told}",
        paper=PaperFigure(figure="no help", scale="l2- and linf-robust ResNet-50s", source="appendix"),
    )


def format_interval(estimate: Estimate) -> str:
    """`"−3.6 to +0.4 points"`."""
    low, high = (f"{100 * end:+.1f}".replace("-", "−") for end in estimate.interval)
    return f"{low} to {high} points"


def own_models(results: Results) -> Iterator[Description]:
    settings = results.settings
    for model in settings.models:
        yield describe(
            f"{model}: accuracy lost when a background of the object's own class is exchanged for one of a random "
            "class",
            results.own_gap(model),
            measured="accuracy on Mixed-Same minus accuracy on Mixed-Rand, paired by foreground",
            over="images",
            unit="points",
            paper=PaperFigure(figure="14.3 points", scale=SCALE, source=TABLE_2, value=0.143),
        )
    for name, seeds in adversarial.groups([each for each in results.met if len(each.sweep)]):
        yield describe(
            f"{name}: objects that some background makes it answer the background's class for",
            adversarial.share_fooled(seeds),
            measured=f"share of foregrounds, {len(results.met_places):,} backgrounds",
            over="images",
            paper=PaperFigure(figure="87.5 %", scale="ResNet-50 trained on IN-9L", source="section 4", value=0.875),
        )
    for what, words in ((reduce.GAP, "BG-gap"), ("only_bg_t", "accuracy on Only-BG-T")):
        if results.trends:
            yield describe(
                f"{words} against accuracy on Original, over {len(settings.models)} models",
                results.trends[what],
                measured="slope of a straight line by least squares",
                over="models",
                unit="number",
            )


# --- Warnings ---------------------------------------------------------------------------------------------------------


def warnings(results: Results) -> Iterator[str]:
    settings = results.settings
    yield from results.against
    if settings.models and not results.met and (settings.num_swept or settings.num_challenged):
        yield "the images have no masks, so that nothing could be put on adversarial backgrounds"
    if settings.own:
        return
    yield from Repeats(count=settings.num_seeds).warnings("seed")
    weak = [
        f"{row.network} on {row.images} scenes"
        for row in at(results.accuracy, version=ORIGINAL).itertuples()
        if row.lo <= 1 / len(results.classes)
    ]
    if weak:
        yield f"not better than chance on the original scenes, so that its gaps say nothing: {listed(weak)}"
