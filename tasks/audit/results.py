"""What `robustray.audit` returns: findings with their figures and rules, and how they look."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robustray.tasks.attacks.settings import Norm
from robustray.tasks.audit.findings import VERDICTS, Finding
from robustray.tasks.audit.rules import RULES
from robustray.tasks.report.numbers import format_value, size_words

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.audit.tracing import Operation

LINE = "this number is no evidence because"
"""What stands where a robust accuracy stands, before the reason."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Audit:
    """What was found out about one model before a robust accuracy of it is believed."""

    model: str
    data: str
    n: int
    """Images that were looked at."""
    norm: Norm
    eps: float
    seed: int
    findings: tuple[Finding, ...]
    """In the order of `rules.RULES`."""
    operations: tuple[Operation, ...] = ()
    """What tracing found on the way from the images to the logits."""

    @property
    def passed(self) -> bool:
        """No check speaks against robust accuracies by gradients. It does not mean that the model is robust."""
        return not self.against

    @property
    def against(self) -> tuple[Finding, ...]:
        """The findings that do."""
        return tuple(finding for finding in self.findings if finding.verdict == "no evidence")

    @property
    def lines(self) -> tuple[str, ...]:
        """One sentence for each of them: "this number is no evidence because ..."."""
        return tuple(f"{LINE} {reason(finding)}" for finding in self.against)

    @property
    def answer(self) -> str:
        """In a sentence."""
        if self.passed:
            return (
                f"Nothing speaks against a robust accuracy of {self.model} by gradients: "
                f"{sum(finding.verdict == 'ok' for finding in self.findings)} checks on {self.n} images."
            )
        found = len(self.against)
        return (
            f"A robust accuracy of {self.model} by gradients is no evidence: {found} "
            f"{'check speaks' if found == 1 else 'checks speak'} against it. Try --attack adaptive."
        )

    def to_frame(self) -> pd.DataFrame:
        """One row per check: check, verdict, figure, what the figure is, rule, layer, because, remedy."""
        import pandas as pd

        return pd.DataFrame([_row(finding) for finding in self.findings])

    @property
    def document(self) -> Mapping[str, Any]:
        """As `--json` prints it."""
        return {
            "answer": self.answer,
            "passed": self.passed,
            "model": self.model,
            "data": self.data,
            "images": self.n,
            "norm": self.norm,
            "eps": self.eps,
            "seed": self.seed,
            "findings": [
                {name: None if value != value else value for name, value in _row(each).items()}
                for each in self.findings
            ],
            "operations": [vars(operation) for operation in self.operations],
        }

    @property
    def _head(self) -> str:
        return f"{self.model} on {self.data}: {self.n} images, {size_words(self.norm, self.eps)}, seed {self.seed}"

    def _table(self) -> list[tuple[str, str, str, str]]:
        shown = sorted(self.findings, key=lambda each: VERDICTS.index(each.verdict))
        return [
            (
                each.verdict,
                each.check,
                shown_figure(each),
                RULES[each.check].asks + (f" [{each.layer}]" if each.layer else ""),
            )
            for each in shown
        ]

    def __repr__(self) -> str:
        rows = self._table()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            f"  {verdict:<{widths[0]}}  {check:<{widths[1]}}  {figure:>{widths[2]}}  {asks}"
            for verdict, check, figure, asks in rows
        ]
        return "\n".join([self._head, *lines, *(f"  {line}" for line in self.lines)])

    def _repr_html_(self) -> str:
        """The same as a table, for a notebook."""

        def row(cells: Sequence[str], tag: str = "td") -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        return (
            f"<table><caption>{html.escape(self._head)}</caption><thead>"
            + row(("verdict", "check", "figure", "question"), "th")
            + f"</thead><tbody>{''.join(map(row, self._table()))}</tbody></table>"
            + "".join(f"<p>{html.escape(line)}</p>" for line in self.lines)
        )


def reason(finding: Finding) -> str:
    """Why, where, and what helps: "logits are flat, in the layer body.3: try apgd-dlr"."""
    where = f", in the layer {finding.layer}" if finding.layer else ""
    return f"{finding.because}{where}" + (f": try {finding.remedy}" if finding.remedy else "")


def shown_figure(finding: Finding) -> str:
    """With its unit."""
    return format_value(finding.figure, RULES[finding.check].fmt)


def _row(finding: Finding) -> dict[str, Any]:
    rule = RULES[finding.check]
    return {
        "check": finding.check,
        "verdict": finding.verdict,
        "figure": finding.figure,
        "what": rule.figure,
        "rule": f"{'above' if rule.above else 'below'} {format_value(rule.limit, rule.fmt)}",
        "layer": finding.layer,
        "because": finding.because,
        "remedy": finding.remedy,
    }
