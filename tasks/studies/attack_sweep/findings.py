"""What the report says: the answer in a sentence, and what a reader has to be warned of."""

from __future__ import annotations

from robustray.tasks.report.numbers import format_estimate, format_value, size_words
from robustray.tasks.studies.attack_sweep.claims import claims
from robustray.tasks.studies.attack_sweep.drawings import drawn, pictures
from robustray.tasks.studies.attack_sweep.results import Results, at, listed
from robustray.tasks.studies.attack_sweep.settings import Settings
from robustray.tasks.studies.attack_sweep.tables import tables
from robustray.tasks.study import Findings
from robustray.tasks.sweeps.records import only_square


def compose(results: Results) -> Findings:
    """Everything that the report shows."""
    return Findings(
        answer=answer(results),
        claims=tuple(claims(results)),
        tables=tuple(tables(results)),
        figures=tuple(drawn(results)),
        pictures=tuple(pictures(results)),
        warnings=(*masking_warnings(results), *transfer_warnings(results)),
    )


def answer(results: Results) -> str:
    """What remains of every model at the reference size of the first norm, under what, of how many images."""
    settings = results.settings
    norm, data = settings.norms[0], settings.data[0]
    accuracy = results.with_clean(results.headline)
    parts = []
    for model in settings.models:
        row = at(accuracy, data=data, model=model, norm=norm, eps=results.reference[norm]).iloc[0]
        clean = at(accuracy, data=data, model=model, norm=norm, eps=0.0).robust_accuracy.iloc[0]
        rest = format_estimate(row.robust_accuracy, (row.lo, row.hi), "percent")
        parts.append(f"{rest} of {model}'s {format_value(clean, 'percent')}")
    n = int(at(accuracy, data=data).n.iloc[0])
    return (
        f"At {size_words(norm, results.reference[norm])}, {listed(parts)} remain correct under "
        f"{attack_words(settings)} (n = {n:,} images of {data})."
    )


def attack_words(settings: Settings) -> str:
    """What the numbers of answer and claims were measured with."""
    if "autoattack" in settings.attacks:
        return "AutoAttack"
    names = [f"PGD-{settings.num_steps}" if name == "pgd" else name for name in settings.attacks]
    return names[0] if len(names) == 1 else f"the worst of {listed(names)} for each image"


def masking_warnings(results: Results) -> list[str]:
    """One per data, model and norm: the size at which Square broke most beyond what APGD left."""
    found = only_square(results.records, results.stages)
    found = found.sort_values("broken", ascending=False, kind="stable")
    worst = found.drop_duplicates(["data", "model", "norm"]).sort_index()
    return [
        f"{row.model} on {row.data}, {size_words(row.norm, row.eps)}: Square, which sees no gradients, broke "
        f"{row.broken:,} of {row.n:,} images that APGD and all other attacks along gradients left standing: the model "
        "hides its gradients, and its robust accuracy is likely overestimated"
        for row in worst.itertuples()
    ]


def transfer_warnings(results: Results) -> list[str]:
    settings = results.settings
    if not settings.num_transfer or len(settings.models) < 2:
        return []
    seen = {data for data, _, _ in results.transfers}
    return [
        f"no transfer matrix on {data}: there is no image that all {len(settings.models)} models classify correctly"
        for data in settings.data
        if data not in seen
    ]
