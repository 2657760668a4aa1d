"""Adversarial backgrounds: two questions that sound alike, asked of the same compositions (paper, section 4).

- The paper's **attack success** of a background is the share of foregrounds of *other* classes that are answered with
  the *background's* class. It takes a full sweep. A foreground is *fooled* where any background of another class does
  that to it.
- The **challenge** asks for more of a network: a foreground counts as right only if *no* background, of whatever class,
  leads to *any* wrong answer.

Which backgrounds are the best and the worst of their class is chosen on half of the foregrounds and reported on the
other half: the best of many looks better than it is on what it was chosen by.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustray.tasks.kit.frames import columns
from robustray.tasks.kit.images import NEEDS
from robustray.tasks.lab.seeds import stream
from robustray.tasks.statistics import Estimate, mean_over_seeds, paired_difference, proportion
from robustray.tasks.studies.backgrounds.settings import ORIGINAL, Settings
from robustray.tasks.studies.backgrounds.sweeping import Sweep, challenge_block, sweep_block

if TYPE_CHECKING:
    from robustray.tasks.attacks.precision import Arithmetic
    from robustray.tasks.lab.protocol import Handle, Lab, Reference

BLOCK = 18
"""Foregrounds per block: they share every batch of backgrounds."""
Labels = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Met:
    """What one network answered."""

    network: str
    seed: int
    sweep: pd.DataFrame
    """Rows of `sweep_block`; empty where none was asked for."""
    challenge: pd.DataFrame
    """Rows of `challenge_block`; empty where none was asked for."""
    background_labels: Labels
    """Of the backgrounds of the sweep, in the order of its answers."""
    clean: pd.Series
    """Whether the network is right on the original image, by foreground."""

    @property
    def answers(self) -> NDArray[np.int16]:
        """(foregrounds, backgrounds)."""
        return np.stack(self.sweep["answers"].to_list())

    @property
    def labels(self) -> Labels:
        """Of the foregrounds of the sweep."""
        return self.sweep["label"].to_numpy()


# --- Asking -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Which foregrounds and backgrounds meet; places in the test images."""

    swept: list[int]
    challenged: list[int]
    backgrounds: list[int]


def drawn(settings: Settings, count: int) -> Drawn:
    """Of `count` test images; with fewer than there should be, all of them. The foregrounds of the challenge are others
    than those of the sweep as far as there are others."""
    order = stream(settings.seed, "foregrounds").permutation(count).tolist()
    rooms = stream(settings.seed, "backgrounds").permutation(count).tolist()
    swept = order[: settings.num_swept]
    later = [*order[len(swept) :], *swept]
    return Drawn(
        swept=sorted(swept),
        challenged=sorted(later[: settings.num_challenged]),
        backgrounds=sorted(rooms[: settings.num_backgrounds]),
    )


def ask(
    settings: Settings,
    lab: Lab,
    models: Mapping[tuple[str, int], Reference],
    data: Mapping[str, Reference],
    *,
    labels: Labels,
    right: Mapping[tuple[str, int], pd.Series],
    precision: Arithmetic,
    looked_up: Sequence[str] = (),
) -> list[Met]:
    """Let networks meet the foregrounds of the original on the backgrounds of Only-BG-T.

    labels: of all test images. right: by network, whether each original image is answered right. The challenge's order
    of backgrounds is that of how often each led to a wrong answer in the sweep: it decides how soon a foreground is
    done, and nothing else.
    """
    plan = drawn(settings, len(labels))
    refs = {"data": data[ORIGINAL], "backgrounds": data["only_bg_t"]}

    def sweep_of(name: str, order: Sequence[int]) -> Sweep:
        return Sweep(
            backgrounds=tuple(order),
            batch_size=settings.compose_batch,
            precision=precision,
            looked_up=name in looked_up,
        )

    def mapped(step: str, items: list[int], how: Sweep, model: Reference) -> Handle[pd.DataFrame]:
        function = sweep_block if step == "sweep" else challenge_block
        return lab.map(step, function, items, block=BLOCK, settings=how, refs={**refs, "model": model}, needs=NEEDS)

    sweeps = {
        network: mapped("sweep", plan.swept, sweep_of(network[0], plan.backgrounds), model)
        for network, model in models.items()
        if plan.swept
    }
    challenges = {}
    for network, model in models.items():
        order = plan.backgrounds
        if network in sweeps:
            found = sweeps[network].result()
            wrong = (np.stack(found["answers"].to_list()) != found["label"].to_numpy()[:, None]).mean(0)
            order = [plan.backgrounds[place] for place in np.argsort(-wrong, kind="stable")]
        if plan.challenged:
            challenges[network] = mapped("challenge", plan.challenged, sweep_of(network[0], order), model)
    return [
        Met(
            network=network[0],
            seed=network[1],
            sweep=sweeps[network].result() if network in sweeps else pd.DataFrame(),
            challenge=challenges[network].result() if network in challenges else pd.DataFrame(),
            background_labels=labels[plan.backgrounds],
            clean=right[network],
        )
        for network in models
    ]


# --- What follows -----------------------------------------------------------------------------------------------------


def attack_success(answers: NDArray[Any], labels: Labels, background_labels: Labels) -> NDArray[np.float64]:
    """(backgrounds,): of the foregrounds of other classes than the background's, the share answered with its class.
    NaN where there is no foreground of another class."""
    other = labels[:, None] != background_labels[None]
    hits = (answers == background_labels[None]) & other
    with np.errstate(invalid="ignore"):
        return np.asarray(hits.sum(0) / other.sum(0))


def fooled(answers: NDArray[Any], labels: Labels, background_labels: Labels) -> Flags:
    """(foregrounds,): whether any background of another class is answered with that class."""
    other = labels[:, None] != background_labels[None]
    return np.asarray(((answers == background_labels[None]) & other).any(1))


def groups(met: Sequence[Met]) -> Iterator[tuple[str, list[Met]]]:
    """By kind of network, its seeds."""
    for name in dict.fromkeys(each.network for each in met):
        yield name, [each for each in met if each.network == name]


def share_fooled(seeds: Sequence[Met]) -> Estimate:
    found = [proportion(fooled(each.answers, each.labels, each.background_labels)) for each in seeds]
    return mean_over_seeds(found, limits=(0, 1))


def standing(met: Met) -> Flags:
    """(foregrounds of the challenge,): whether no background made the answer wrong."""
    return ~met.challenge["vulnerable"].to_numpy(bool)


def challenge_accuracy(seeds: Sequence[Met]) -> Estimate:
    return mean_over_seeds([proportion(standing(each)) for each in seeds], limits=(0, 1))


def challenge_gain(first: Sequence[Met], second: Sequence[Met]) -> Estimate:
    """Challenge accuracy of the second kind of network minus that of the first, paired by seed and foreground."""
    pairs = zip(first, second, strict=True)
    return mean_over_seeds([paired_difference(standing(b), standing(a)) for a, b in pairs])


def score_table(met: Sequence[Met]) -> pd.DataFrame:
    """A row per kind of network: both questions, with the anchors of the challenge: the same foregrounds on their own
    images, and whoever always gives the commonest class."""
    rows = []
    for name, seeds in groups(met):
        row: dict[str, Any] = {"network": name}
        if len(seeds[0].sweep):
            row |= columns("fooled", share_fooled(seeds), "fooled_lo", "fooled_hi") | {"n_swept": len(seeds[0].sweep)}
        if len(seeds[0].challenge):
            rights = [each.clean.loc[each.challenge["index"]].to_numpy(bool) for each in seeds]
            clean = mean_over_seeds([proportion(right) for right in rights], limits=(0, 1))
            shares = seeds[0].challenge["label"].value_counts(normalize=True)
            looked = np.mean([each.challenge["looked_at"].mean() for each in seeds])
            row |= columns("challenge", challenge_accuracy(seeds), "challenge_lo", "challenge_hi")
            row |= {"clean": clean.value, "constant": float(shares.iloc[0]), "n_challenged": len(seeds[0].challenge)}
            row |= {"looked_at": float(looked)}
        rows.append(row | {"backgrounds": len(seeds[0].background_labels), "seeds": len(seeds)})
    return pd.DataFrame(rows)


def background_table(met: Sequence[Met], classes: Sequence[str], *, seed: int) -> pd.DataFrame:
    """A row per kind of network and class of background: the success of its best and its worst background, chosen on
    half of the foregrounds and reported on the other half; the mean of all of them; and the share of foregrounds of
    other classes that any of them fools."""
    rows = []
    for name, seeds in groups([each for each in met if len(each.sweep)]):
        for label in np.unique(seeds[0].background_labels).tolist():
            found = [_of_class(each, label, seed) for each in seeds]
            known = [each for each in found if each is not None]
            if len(known) < len(found):
                continue
            best, worst, fools = (
                mean_over_seeds([each[place] for each in known], limits=(0, 1)) for place in ("best", "worst", "any")
            )
            rows.append(
                {
                    "network": name,
                    "class": classes[label],
                    **columns("best", best, "best_lo", "best_hi"),
                    **columns("worst", worst, "worst_lo", "worst_hi"),
                    "mean": float(np.mean([each["mean"].value for each in known])),
                    **columns("any", fools, "any_lo", "any_hi"),
                    "backgrounds": int((seeds[0].background_labels == label).sum()),
                    "n": best.n,
                }
            )
    return pd.DataFrame(rows)


def _of_class(met: Met, label: int, seed: int) -> dict[str, Estimate] | None:
    """None where a half has no foreground of another class."""
    parts = halves(met, label, seed)
    if parts is None:
        return None
    chosen, reported = parts
    rows = np.concatenate(parts)
    hits = met.answers[:, met.background_labels == label] == label
    order = np.argsort(hits[chosen].mean(0), kind="stable")
    return {
        "best": proportion(hits[reported, order[-1]]),
        "worst": proportion(hits[reported, order[0]]),
        "mean": Estimate(value=float(hits[rows].mean()), lo=0.0, hi=1.0, n=len(rows)),
        "any": proportion(hits[rows].any(1)),
    }


def halves(met: Met, label: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Rows of the sweep, foregrounds of other classes than `label`: a half on which backgrounds of that class are
    chosen, and a half on which they are reported. None where the first would be empty."""
    drawn = stream(seed, "halves", label).permutation(np.flatnonzero(met.labels != label))
    chosen, reported = drawn[: len(drawn) // 2], drawn[len(drawn) // 2 :]
    return (chosen, reported) if len(chosen) else None


def success_table(met: Sequence[Met], places: Sequence[int]) -> pd.DataFrame:
    """A row per network, seed and background. places: of the backgrounds among the test images."""
    parts = [
        pd.DataFrame(
            {
                "network": each.network,
                "seed": each.seed,
                "background": list(places),
                "class": each.background_labels,
                "success": attack_success(each.answers, each.labels, each.background_labels),
                "wrong": (each.answers != each.labels[:, None]).mean(0),
            }
        )
        for each in met
        if len(each.sweep)
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
