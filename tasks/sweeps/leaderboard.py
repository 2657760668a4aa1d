"""What a leaderboard of robust models asks of an evaluation, in the form of RobustBench's records of models."""

from __future__ import annotations

from collections.abc import Mapping

from robustray.tasks.attacks.settings import Norm
from robustray.tasks.kit.words import slug
from robustray.tasks.report.numbers import format_value, size_words
from robustray.tasks.statistics import Estimate
from robustray.tasks.study import Document

THREATS: Mapping[Norm, str] = {"linf": "Linf", "l2": "L2"}


def record(
    *,
    model: str,
    data: str,
    norm: Norm,
    eps: float,
    clean: Estimate,
    autoattack: Estimate,
    num_data: int,
    hashes: Mapping[str, str],
    seed: int,
) -> Document:
    """The record of one model at one size, as RobustBench keeps them (`model_info/DATA/THREAT/MODEL.json`; Croce et
    al., NeurIPS 2021 Datasets and Benchmarks, arXiv:2010.09670): accuracies are strings in percent with two decimals.

    clean, autoattack: shares, over the same images. num_data: images that the data set has. hashes: "model" and "data"
    -> SHA-256. What only the model's authors know (title, authors, venue, what they reported, whether more data was
    used) is null; n, intervals and hashes stand under "robustray", where a leaderboard that doesn't know them reads on.
    """
    dataset, _, split = data.partition(":")
    architecture = model.partition("@")[0]
    content = {
        "link": None,
        "name": model,
        "authors": None,
        "additional_data": None,
        "number_forward_passes": 1,
        "dataset": dataset,
        "venue": None,
        "architecture": architecture,
        "eps": format_value(eps, "eps"),
        "clean_acc": _percent(clean.value),
        "reported": None,
        "autoattack_acc": _percent(autoattack.value),
        "robustray": {
            "threat": THREATS[norm],
            "split": split or None,
            "n": clean.n,
            "of": num_data,
            "clean_interval": [_percent(end) for end in clean.interval],
            "autoattack_interval": [_percent(end) for end in autoattack.interval],
            "level": 0.95,
            "seed": seed,
            "sha256": dict(hashes),
        },
    }
    return Document(
        path=f"model_info/{slug(dataset)}/{THREATS[norm]}/{slug(model, split)}-{hashes['model'][:8]}.json",
        words=f"{model} on {data} at {size_words(norm, eps)}: record in RobustBench's form",
        content=content,
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"
