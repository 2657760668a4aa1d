"""What `evaluate` returns: accuracies with their intervals, images one by one, and how they look in a notebook."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from robustray.tasks.attacks.settings import Norm
from robustray.tasks.corruptions.accuracy import Corrupted
from robustray.tasks.report.numbers import format_interval, format_value, size_words
from robustray.tasks.statistics import Estimate
from robustray.tasks.sweeps.votes import Decided

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.attacks.search.cascade import Stage


@dataclass(frozen=True, kw_only=True)
class AttackScore:
    """What one attack alone left standing."""

    name: str
    attack: str
    """The attack with all that was set: `PGD(norm='linf', eps=8/255, num_steps=50)`."""
    norm: Norm
    eps: float
    robust: Estimate
    """Share of all images that are classified correctly and stay so, with Wilson's 95 % interval."""
    evaluations: int
    """Passes of single images through the model, all images together."""
    lost_gradients: int = 0
    """Attacked images whose first gradient was exactly zero, or some gradient not finite: the attack had nothing (or
    not all) to follow."""
    taken_gradients: int = 0
    """Attacked images of which a gradient was taken; 0 for attacks that follow none."""
    stages: tuple[Stage, ...] = ()
    """For a cascade such as AutoAttack, how many images each stage broke."""
    decided: Decided | None = None
    """Of `autoattack-rand`, how many images their draws decide."""


@dataclass(frozen=True, kw_only=True)
class WorstCase:
    """Per-example worst case: an image counts only if it survives every attack of the same threat model.

    The threat model is a norm and a size: what a smaller size of the same norm broke lies in the larger ball as well,
    and counts as broken there.
    """

    norm: Norm
    eps: float
    attacks: tuple[str, ...]
    robust: Estimate


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Evaluation:
    """Accuracy of one model on some images, as they are, under attacks, and corrupted."""

    model: str
    data: str
    seed: int
    clean: Estimate
    attacks: tuple[AttackScore, ...]
    """The attacks in the order in which they were given."""
    worst: tuple[WorstCase, ...]
    """One per threat model, in the order of the attacks."""
    examples: pd.DataFrame
    """One row per attack and image: attack, norm, eps, index, label, clean_prediction, prediction, success, loss,
    distance, evaluations, first_gradient (`AttackResult.first_gradient`). An image that is wrong without an attack is
    not attacked: success is true, distance 0."""
    corrupted: Corrupted | None = None
    """Accuracy by corruption and severity, where corruptions were asked for."""
    against: tuple[str, ...] = ()
    """Why these numbers are no evidence of robustness, a line each, by the cheap checks of `robustray.audit`; empty
    where nothing was found, and where no attack follows gradients."""
    warnings: tuple[str, ...] = ()
    """What a reader of these numbers has to know: a stochastic model, gradients that hide something."""

    @property
    def n(self) -> int:
        """Images."""
        return self.clean.n

    @property
    def stages(self) -> pd.DataFrame:
        """Who fell to what: one row per cascade and stage; empty without a cascade."""
        import pandas as pd

        columns = ["attack", "norm", "eps", "stage", "attacked", "broken", "standing"]
        rows = [
            (score.name, score.norm, score.eps, stage.name, stage.attacked, stage.broken, stage.standing)
            for score in self.attacks
            for stage in score.stages
        ]
        return pd.DataFrame(rows, columns=columns)

    def to_frame(self) -> pd.DataFrame:
        """One row per number: kind (clean, attack, worst case), attack, norm, eps, accuracy, lo, hi, n, evaluations
        (of attacks; 0 for the others)."""
        import pandas as pd

        def line(kind: str, attack: str, norm: str, eps: float, found: Estimate, passes: int = 0) -> dict[str, object]:
            place = {"kind": kind, "attack": attack, "norm": norm, "eps": eps}
            number = {"accuracy": found.value, "lo": found.lo, "hi": found.hi, "n": found.n}
            return {**place, **number, "evaluations": passes}

        return pd.DataFrame(
            [
                line("clean", "", "", 0.0, self.clean),
                *(line("attack", s.name, s.norm, s.eps, s.robust, s.evaluations) for s in self.attacks),
                *(line("worst case", ", ".join(w.attacks), w.norm, w.eps, w.robust) for w in self.worst),
            ]
        )

    def _rows(self) -> list[tuple[str, str, str, str]]:
        """Name, threat model, accuracy, interval, as they are shown."""
        entries: list[tuple[str, str, Estimate]] = [("clean", "", self.clean)]
        entries += [(score.name, size_words(score.norm, score.eps), score.robust) for score in self.attacks]
        alone = {(score.name, score.norm, score.eps): score.robust for score in self.attacks}
        for worst in self.worst:
            several = len(worst.attacks) > 1
            # One attack at several sizes: what a smaller one broke and this one did not counts as well.
            if several or worst.robust != alone[worst.attacks[0], worst.norm, worst.eps]:
                words = f"worst case of {', '.join(worst.attacks)}" + (" up to this size" if not several else "")
                entries.append((words, size_words(worst.norm, worst.eps), worst.robust))
        return [
            (name, size, format_value(found.value, "percent"), format_interval(*found.interval, "percent"))
            for name, size, found in entries
        ]

    @property
    def _head(self) -> str:
        return f"{self.model} on {self.data}: n = {self.n:,}, seed {self.seed}, 95 % Wilson intervals"

    def __repr__(self) -> str:
        widths = [max(map(len, column)) for column in zip(*self._rows(), strict=True)]
        lines = [
            f"  {name:<{widths[0]}}  {size:<{widths[1]}}  {share:>{widths[2]}}  {interval}"
            for name, size, share, interval in self._rows()
        ]
        lines += [f"  {score.name}: {_stage_words(score.stages)}" for score in self.attacks if score.stages]
        lines += [f"  {score.name}: {score.decided.words()}" for score in self.attacks if score.decided]
        lines += [f"  {line}" for line in self.against]
        lines += [f"  warning: {warning}" for warning in self.warnings]
        shown = [self._head, *(line.rstrip() for line in lines)]
        return "\n".join(shown if self.corrupted is None else [*shown, "", self.corrupted.as_text()])

    def _repr_html_(self) -> str:
        """The same as a table, for a notebook."""

        def row(cells: Sequence[str], tag: str = "td") -> str:
            sides = zip(("left", "left", "right", "left"), cells, strict=True)
            shown = (f'<{tag} style="text-align: {side}">{html.escape(cell)}</{tag}>' for side, cell in sides)
            return f"<tr>{''.join(shown)}</tr>"

        notes = [f"{score.name}: {_stage_words(score.stages)}" for score in self.attacks if score.stages]
        notes += [f"{score.name}: {score.decided.words()}" for score in self.attacks if score.decided]
        notes += [f"{line[0].upper()}{line[1:]}." for line in self.against]
        notes += [f"Warning: {warning}" for warning in self.warnings]
        return (
            f"<table><caption>{html.escape(self._head)}</caption><thead>"
            + row(("attack", "threat model", "accuracy", "95 % interval"), "th")
            + f"</thead><tbody>{''.join(map(row, self._rows()))}</tbody></table>"
            + (f"<pre>{html.escape(self.corrupted.as_text())}</pre>" if self.corrupted else "")
            + "".join(f"<p>{html.escape(note)}</p>" for note in notes)
        )


def _stage_words(stages: Sequence[Stage]) -> str:
    return ", ".join(f"{stage.name} broke {stage.broken:,} of {stage.attacked:,}" for stage in stages)
