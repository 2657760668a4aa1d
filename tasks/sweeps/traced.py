"""Whether PGD has converged on networks (its loss over few and over many steps), and where their losses point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustray.tasks import figures
from robustray.tasks.attacks.settings import MIN_BATCH, PGD, Norm
from robustray.tasks.attacks.traces import UNBROKEN, gradient_block, trace_block
from robustray.tasks.kit.frames import columns, shown
from robustray.tasks.kit.images import NEEDS
from robustray.tasks.kit.outcomes import mean_difference, shares
from robustray.tasks.kit.words import over_words, plural
from robustray.tasks.statistics import Estimate
from robustray.tasks.study import Figure, Picture, Table
from robustray.tasks.training.drawn import mean_line

if TYPE_CHECKING:
    from robustray.tasks.lab.protocol import Handle, Lab, Reference

SHARE = 0.99
"""The share of the entries of an image's gradient that lie within black and white; the largest ones are cut."""


def follow(
    lab: Lab,
    model: Reference,
    data: Reference,
    *,
    norm: Norm,
    eps: float,
    num_steps: Sequence[int],
    num_images: int,
    block: int,
) -> dict[int, Handle[pd.DataFrame]]:
    """Ask for the loss of a model at every step of PGD from the image itself, on the first `num_images` images.

    num_steps: those of each PGD, the smallest first. block: images per block of that one; the others get blocks of
    about equal work. Returns: number of steps -> rows of `trace_block`, under the declared step "trace".
    """
    return {
        steps: lab.map(
            "trace",
            trace_block,
            range(num_images),
            block=max(MIN_BATCH, block * num_steps[0] // steps),
            settings=PGD(
                norm=norm,
                eps=eps,
                num_steps=steps,
                random_start=False,
                exit_rule="last",
                attack_misclassified=True,
                precision="fp32",
            ),
            refs={"model": model, "data": data},
            needs=NEEDS,
        )
        for steps in num_steps
    }


def gradients_of(
    lab: Lab, model: Reference, data: Reference, indices: Sequence[int], *, block: int
) -> Handle[pd.DataFrame]:
    """Ask for the gradient of a model's loss on a few images: rows of `gradient_block`, under the declared step
    "gradients"."""
    refs = {"model": model, "data": data}
    return lab.map("gradients", gradient_block, indices, block=block, refs=refs, needs=NEEDS)


@dataclass(frozen=True, kw_only=True)
class Followed:
    """Networks of one kind, one per seed, whose loss was followed over the steps of PGD of one size."""

    trained: str
    """What they were trained against, in words."""
    norm: Norm
    eps: float
    """Size of the PGD."""
    traces: Mapping[int, Mapping[int, pd.DataFrame]]
    """Seed -> number of steps, the smaller one first -> rows of `trace_block`."""

    @property
    def num_steps(self) -> tuple[int, ...]:
        """Few, and many."""
        return tuple(next(iter(self.traces.values())))

    @property
    def num_images(self) -> int:
        """Images that were followed on all of them."""
        return min(len(rows) for each in self.traces.values() for rows in each.values())

    def loss(self, num_steps: int) -> NDArray[np.float64]:
        """(seeds, num_steps + 1): cross-entropy at x_0 ... x_T, mean over images."""
        return np.stack(
            [np.stack(list(each[num_steps].loss)).astype(np.float64).mean(axis=0) for each in self.traces.values()]
        )

    def difference(self) -> Estimate:
        """Accuracy after the smaller number of steps minus that after the larger, paired by seed and image."""
        return mean_difference(*(self._standing(steps) for steps in self.num_steps))

    def _standing(self, num_steps: int) -> dict[int, pd.Series]:
        """Seed -> whether no iterate is misclassified, by index."""
        return {seed: each[num_steps].set_index("index").broken_at == UNBROKEN for seed, each in self.traces.items()}

    def row(self) -> dict[str, Any]:
        """Accuracy and mean loss after few and after many steps, and the difference of the accuracies."""
        difference = self.difference()
        accuracies = {f"accuracy_{steps}": float(np.mean(shares(self._standing(steps)))) for steps in self.num_steps}
        losses = {f"loss_{steps}": float(self.loss(steps)[:, -1].mean()) for steps in self.num_steps}
        return (
            {"norm": self.norm, "trained": self.trained, "eps_test": self.eps}
            | accuracies
            | columns("difference", difference)
            | losses
            | {"seeds": len(self.traces), "n": difference.n}
        )


def steps_table(followed: Sequence[Followed], *, at: str) -> Table:
    """What many steps find beyond few, a row for each kind of network. at: at which sizes, in words."""
    first = followed[0]
    few, many = first.num_steps
    accuracies = {f"accuracy_{steps}": "percent" for steps in (few, many)}
    losses = {f"loss_{steps}": ".3f" for steps in (few, many)}
    return Table(
        name="steps",
        title=f"What {many} steps of PGD find beyond {few}",
        caption=f"Steps of 2.5 ε / steps from the image itself, in fp32, on the first {first.num_images:,} test "
        f"images, {at}. Accuracy: no iterate is misclassified; loss: cross-entropy at the last iterate; difference: "
        f"few minus many steps, paired. Mean over seeds; {over_words(len(first.traces))}.",
        frame=pd.DataFrame([each.row() for each in followed]),
        formats={"eps_test": "eps", **accuracies, **shown("difference", "points"), **losses},
    )


def steps_figure(
    followed: Mapping[str, Followed], palette: figures.Palette, *, name: str, title: str, see: str, at: str
) -> Figure:
    """Loss by step, a line for each label and number of steps. see: what there is to see, a sentence."""
    first = next(iter(followed.values()))
    return figures.curve(
        name=name,
        title=title,
        caption=f"{see} Cross-entropy at each iterate, mean over n = {first.num_images:,} images and "
        f"{plural(len(first.traces), 'seed')} (thin lines), steps of 2.5 ε / steps from the image itself {at}.",
        series=[
            mean_line(f"{label}, PGD-{steps}", range(steps + 1), each.loss(steps), color_by=label, dash_by=str(steps))
            for label, each in followed.items()
            for steps in each.num_steps
        ],
        x_label="step",
        y_label="cross-entropy",
        palette=palette,
    )


def gradient_picture(gradients: Mapping[str, pd.DataFrame], classes: tuple[str, ...]) -> Picture:
    """Images, and below each where the loss of every kind of network points.

    gradients: kind of network -> rows of `gradient_block`, all of the same images. classes: names by label.
    """
    rows = next(iter(gradients.values()))
    return figures.image_rows(
        name="gradients",
        title="Where the loss points: gradients with respect to the image",
        caption="The gradient of the cross-entropy on the image itself, one row per kind of network (first seed). "
        f"Grey is 0; each gradient is scaled by itself, so that {SHARE:.0%} of its entries lie within black and "
        f"white: sizes do not compare. {len(rows)} test images drawn at random, not chosen.",
        rows={"image": np.stack(list(rows.image))}
        | {
            f"{kind}\ngradient,\nown scale": figures.signed(np.stack(list(each.gradient)), share=SHARE)
            for kind, each in gradients.items()
        },
        columns=[classes[label] for label in rows.label],
    )
