"""From records to what the report says: claims, tables, figures, pictures."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from robustray.tasks import figures
from robustray.tasks.attack_sweep import reduce
from robustray.tasks.attack_sweep.settings import Norm, Settings
from robustray.tasks.report.numbers import format_estimate, format_value
from robustray.tasks.statistics.clusters import clustered_mean
from robustray.tasks.statistics.intervals import wilson
from robustray.tasks.study import Claim, Figure, Findings, PaperFigure, Picture, Table, Verdict

if TYPE_CHECKING:
    from robustray.tasks.data.images import ImageData

NORM_WORDS: Mapping[str, str] = {"linf": "ℓ∞", "l2": "ℓ2"}
NORM_UNITS: Mapping[str, str] = {"linf": "largest change of a pixel", "l2": "Euclidean length"}
PUBLISHED: Mapping[tuple[str, str, float], PaperFigure] = {
    ("cifar10:test", "linf", 8 / 255): PaperFigure(
        figure="100 % (standard), 38.5 % (robust)",
        scale="ResNet-50, standard and trained at 8/255, full CIFAR-10 test set, PGD-20: "
        "accuracy 95.25 → 0.00 % and 87.03 → 53.49 %",
        source="robustness 1.2.1, table of released models",
    ),
    ("cifar10:test", "l2", 0.5): PaperFigure(
        figure="99.7 % (standard), 22.7 % (robust)",
        scale="ResNet-50, standard and trained at 0.5, full CIFAR-10 test set, PGD-20: "
        "accuracy 95.25 → 0.28 % and 90.83 → 70.17 %",
        source="robustness 1.2.1, table of released models",
    ),
}
"""Data, norm, size -> published share of broken images among the correct ones, 1 - robust / clean accuracy."""
MAGNIFY = 10


def compose(
    settings: Settings,
    images: Mapping[str, ImageData],
    clean: pd.DataFrame,
    records: pd.DataFrame,
    examples: Mapping[tuple[str, str, Norm], pd.DataFrame],
    reference: Mapping[Norm, float],
) -> Findings:
    """Everything the report shows. `reference` = size per norm at which claims, class table and examples are made."""
    worst = reduce.worst_case(records)
    accuracy = pd.concat([clean, reduce.worst_case_accuracy(worst)], ignore_index=True)
    order = [[*settings.data], [*settings.models], [*settings.norms]]
    for column, names in zip(("data", "model", "norm"), order, strict=True):
        accuracy[column] = pd.Categorical(accuracy[column], names)
    accuracy = accuracy.sort_values(["data", "model", "norm", "eps"], ignore_index=True)
    per_attack = reduce.robust_accuracy(records)
    return Findings(
        answer=_answer(settings, accuracy, reference),
        claims=tuple(_claims(settings, records, worst, reference)),
        tables=tuple(_tables(records, worst, accuracy, per_attack, images, reference)),
        figures=tuple(_figures(settings, accuracy, per_attack, images, reference)),
        pictures=tuple(_pictures(examples, images, reference)),
    )


def _at(table: pd.DataFrame, **where: Any) -> pd.DataFrame:
    keep = pd.Series(True, index=table.index)
    for column, value in where.items():
        keep &= np.isclose(table[column], value) if isinstance(value, float) else table[column] == value
    return table[keep]


def _size(norm: str, eps: float) -> str:
    return f"{NORM_WORDS[norm]} {format_value(eps, 'eps')}"


def _answer(settings: Settings, accuracy: pd.DataFrame, reference: Mapping[Norm, float]) -> str:
    norm = settings.norms[0]
    data = settings.data[0]
    parts = []
    for model in settings.models:
        row = _at(accuracy, data=data, model=model, norm=norm, eps=reference[norm]).iloc[0]
        clean = _at(accuracy, data=data, model=model, norm=norm, eps=0.0).robust_accuracy.iloc[0]
        rest = format_estimate(row.robust_accuracy, (row.lo, row.hi), "percent")
        parts.append(f"{rest} of {model}'s {format_value(clean, 'percent')}")
    n = int(_at(accuracy, data=data).n.iloc[0])
    return f"At {_size(norm, reference[norm])}, {_listed(parts)} remain correct (n = {n:,} images of {data})."


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


# -- claims ------------------------------------------------------------------------------------------------------------


def _claims(
    settings: Settings, records: pd.DataFrame, worst: pd.DataFrame, reference: Mapping[Norm, float]
) -> list[Claim]:
    claims = []
    for data, model, norm in itertools.product(settings.data, settings.models, settings.norms):
        claims.append(_broken_claim(records, worst, data, model, norm, reference[norm]))
    for data, norm in itertools.product(settings.data, settings.norms):
        for weak, words in (
            ("noise", "It is the direction, not the size: PGD breaks more images than random noise of the same size"),
            ("fgsm", "Several steps find what one does not: PGD breaks more images than FGSM"),
        ):
            if "pgd" in settings.attacks and weak in settings.attacks:
                claims.append(_stronger_claim(settings, records, data, norm, reference[norm], weak, words))
    return claims


def _broken_claim(records: pd.DataFrame, worst: pd.DataFrame, data: str, model: str, norm: Norm, eps: float) -> Claim:
    rows = _at(worst, data=data, model=model, norm=norm, eps=eps)
    clean = _at(records, data=data, model=model, norm=norm, eps=eps).drop_duplicates("index").set_index("index")
    right = (clean.clean_prediction == clean.label).reindex(rows["index"]).to_numpy()
    broken, n = int(rows.success.to_numpy()[right].sum()), int(right.sum())
    lo, hi = map(float, wilson(broken, n))
    return Claim(
        words=f"{model}: a perturbation within {_size(norm, eps)} breaks most of the images that it classifies "
        f"correctly ({data}).",
        estimate=broken / n if n else None,
        interval=(lo, hi) if n else None,
        n=n,
        test="share of broken images: supported if the lower end of its 95 % Wilson interval is above 50 %, "
        "contradicted if the upper end is below",
        verdict=_verdict(lo, hi, 0.5),
        paper=PUBLISHED.get((data, norm, eps)),
    )


def _stronger_claim(
    settings: Settings, records: pd.DataFrame, data: str, norm: Norm, eps: float, weak: str, words: str
) -> Claim:
    """Paired by image and model; models share images, so the interval is over images (clusters), not over pairs."""
    rows = _at(records, data=data, norm=norm, eps=eps, seed=settings.seed)
    wide = rows[rows.clean_prediction == rows.label].pivot_table(
        index=["model", "index"], columns="attack", values="success", observed=True, aggfunc="any"
    )
    both = wide.reindex(columns=["pgd", weak]).dropna().astype(int)
    images = both.index.get_level_values("index").to_numpy()
    difference = clustered_mean((both["pgd"] - both[weak]).to_numpy(), images)
    return Claim(
        words=f"{words} ({_size(norm, eps)}, {data}).",
        estimate=difference.value if difference.n else None,
        interval=(difference.lo, difference.hi) if difference.n else None,
        n=difference.n,
        unit="points",
        test="difference of the shares of broken images, paired by image and model: supported if its 95 % interval "
        "over images is above 0, contradicted if below",
        verdict=_verdict(difference.lo, difference.hi, 0.0),
    )


def _verdict(lo: float, hi: float, threshold: float) -> Verdict:
    return "supported" if lo > threshold else "contradicted" if hi < threshold else "undecided"


# -- tables ------------------------------------------------------------------------------------------------------------


def _tables(
    records: pd.DataFrame,
    worst: pd.DataFrame,
    accuracy: pd.DataFrame,
    per_attack: pd.DataFrame,
    images: Mapping[str, ImageData],
    reference: Mapping[Norm, float],
) -> list[Table]:
    formats = {"eps": "eps", "robust_accuracy": "percent", "interval:robust_accuracy": "lo,hi"}
    n = int(accuracy.n.max())
    at_reference = pd.concat([_at(worst, norm=norm, eps=eps) for norm, eps in reference.items()])
    classes = reduce.worst_case_accuracy(at_reference, by=["label"])
    classes = classes.sort_values(["data", "model", "norm", "label"], kind="stable", ignore_index=True)
    names = {name: loaded.classes for name, loaded in images.items()}
    classes = classes.assign(label=[names[d][i] for d, i in zip(classes.data, classes.label, strict=True)])
    interval = "intervals are 95 % Wilson intervals over images"
    return [
        Table(
            name="worst-case",
            title="Robust accuracy, worst case over attacks",
            caption="An image counts only if it survives every attack with every seed at this size or a smaller one; "
            f"size 0 is accuracy on clean images; {interval}, n up to {n:,}.",
            frame=accuracy,
            formats=formats,
        ),
        Table(
            name="by-attack",
            title="Robust accuracy by attack",
            caption=f"What each attack alone leaves standing, per seed; {interval}. Sizes are nested: an image broken "
            "at a smaller size counts as broken.",
            frame=per_attack,
            formats=formats,
        ),
        Table(
            name="by-class",
            title="Robust accuracy by class",
            caption=f"Worst case over attacks at {_listed([_size(norm, eps) for norm, eps in reference.items()])}; "
            f"{interval}.",
            frame=classes,
            formats=formats,
        ),
        Table(
            name="cost",
            title="What it cost",
            caption="Evaluations are forward passes, or forward and gradient passes, of single images, counted where "
            "they happen. Images that fell at a smaller size are not attacked again.",
            frame=reduce.cost(records),
            formats={"eps": "eps", "per_image": ".1f"},
        ),
        Table(
            name="images",
            title="Every image under every attack",
            caption="One row per data set, model, norm, attack, seed, size and image: the records behind the above.",
            frame=records,
            on_page=False,
        ),
    ]


# -- figures and pictures ----------------------------------------------------------------------------------------------


def _figures(
    settings: Settings,
    accuracy: pd.DataFrame,
    per_attack: pd.DataFrame,
    images: Mapping[str, ImageData],
    reference: Mapping[Norm, float],
) -> list[Figure]:
    palette = figures.Palette(settings.models)
    drawn = [
        _curve(settings, accuracy, data, norm, 1 / images[data].num_classes, palette)
        for data, norm in itertools.product(settings.data, settings.norms)
    ]
    if len(settings.attacks) > 1:
        drawn += [
            _attack_rows(settings, per_attack, data, norm, reference[norm], palette)
            for data, norm in itertools.product(settings.data, settings.norms)
        ]
    return drawn


def _curve(
    settings: Settings, accuracy: pd.DataFrame, data: str, norm: Norm, chance: float, palette: figures.Palette
) -> Figure:
    series = []
    for model in settings.models:
        rows = _at(accuracy, data=data, model=model, norm=norm)
        series.append(
            figures.Series(
                label=model,
                x=rows.eps.tolist(),
                y=rows.robust_accuracy.tolist(),
                lo=rows.lo.tolist(),
                hi=rows.hi.tolist(),
                color_by=model,
            )
        )
    seeds = f"{settings.num_seeds} seed{'s' if settings.num_seeds > 1 else ''}"
    n = int(_at(accuracy, data=data).n.iloc[0])
    return figures.curve(
        name=f"accuracy-{norm}-{_slug(data)}",
        title=f"Accuracy against the size of the perturbation ({NORM_WORDS[norm]}, {data})",
        caption=f"Accuracy falls as the {NORM_WORDS[norm]} ball grows. Worst case over "
        f"{_listed(list(settings.attacks))}, {seeds}, n = {n:,} images; bands are 95 % Wilson intervals.",
        alt="; ".join(f"{s.label} falls from {s.y[0]:.0%} to {s.y[-1]:.0%}" for s in series),
        series=series,
        x_label=f"{NORM_WORDS[norm]} ε ({NORM_UNITS[norm]}, pixels in [0, 1])",
        y_label="accuracy",
        palette=palette,
        levels=[figures.Level(value=chance, words="chance")],
        percent=True,
        x_ticks=figures.eps_ticks([0.0, *settings.eps(norm)]),
        x_log=True,
    )


def _attack_rows(
    settings: Settings, per_attack: pd.DataFrame, data: str, norm: Norm, eps: float, palette: figures.Palette
) -> Figure:
    """What each attack leaves standing: the first seed as the dot with its interval, the other seeds behind it."""
    rows = []
    for model, attack in itertools.product(settings.models, settings.attacks):
        found = _at(per_attack, data=data, model=model, attack=attack, norm=norm, eps=eps).sort_values("seed")
        first = found.iloc[0]
        rows.append(
            figures.Row(
                label=f"{model} · {attack}",
                value=float(first.robust_accuracy),
                lo=float(first.lo),
                hi=float(first.hi),
                runs=found.robust_accuracy.tolist()[1:],
                color_by=model,
            )
        )
    n = int(per_attack.n.max())
    return figures.dot_rows(
        name=f"attacks-{norm}-{_slug(data)}",
        title=f"What each attack leaves at {_size(norm, eps)} ({data})",
        caption="The further left, the stronger the attack. Accuracy under each attack alone, "
        f"n = {n:,} images, seed {settings.seed}"
        + (" (other seeds as faint dots)" if settings.num_seeds > 1 else "")
        + "; bars are 95 % Wilson intervals.",
        alt="; ".join(f"{row.label}: {row.value:.0%}" for row in rows),
        rows=rows,
        x_label="accuracy",
        palette=palette,
        percent=True,
    )


def _pictures(
    examples: Mapping[tuple[str, str, Norm], pd.DataFrame],
    images: Mapping[str, ImageData],
    reference: Mapping[Norm, float],
) -> list[Picture]:
    drawn = []
    for (data, model, norm), rows in examples.items():
        loaded = images[data]
        clean = np.stack(list(rows.clean_image)).astype(np.float64)
        adversarial = np.stack(list(rows.adversarial_image)).astype(np.float64)
        delta = figures.magnified(adversarial - clean, MAGNIFY)
        size = _size(norm, reference[norm])
        scale = max(1, 96 // loaded.shape[1])
        drawn.append(
            figures.image_grid(
                name=f"examples-{_slug(data)}-{_slug(model)}-{norm}",
                title=f"{model} at {size}",
                caption=f"Images, perturbations magnified {MAGNIFY} times around grey, and their sum with the model's "
                f"prediction. {len(rows)} images drawn at random from those classified correctly, not chosen.",
                alt=f"{len(rows)} images of {data}, each with its perturbation and the adversarial image for {model}",
                images=np.concatenate([clean, delta, adversarial]),
                rows=["image", f"perturbation × {MAGNIFY}", "adversarial"],
                columns=[
                    f"{loaded.classes[label]}\n→ {loaded.classes[prediction]}"
                    for label, prediction in zip(rows.label, rows.prediction, strict=True)
                ],
                scale=scale,
            )
        )
    return drawn


def _slug(name: str) -> str:
    """A name as part of a file name."""
    return "".join(c if c.isalnum() else "-" for c in name).strip("-").lower()
