"""What is done with the sources: probes on their own classes, heads on their latents, fine-tuning, attacks on both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from robustray.tasks.attacks.blocks import attack_block
from robustray.tasks.audit import blocks as audits_of
from robustray.tasks.data.views import subset
from robustray.tasks.kit.draws import chosen
from robustray.tasks.kit.images import NEEDS, predict
from robustray.tasks.latents.cache import latents
from robustray.tasks.studies.transfer.blocks import HEAD_COLUMNS, HeadAttack, attack_head_block, head_block
from robustray.tasks.studies.transfer.given import architecture_of
from robustray.tasks.studies.transfer.kinds import FIXED, Source, Target
from robustray.tasks.studies.transfer.metric import Metric, metric_of
from robustray.tasks.studies.transfer.worlds import World, fit_and_held, pool, shots, view_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from robustray.tasks.lab.protocol import Handle, Lab, Reference
    from robustray.tasks.studies.transfer.settings import Settings

    Sources = Mapping[tuple[int, Source], Reference]
    """By chain and source."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """A target in a chain."""

    target: Target
    chain: int
    seed: int
    train: Reference
    """The pool of the chain."""
    labels: np.ndarray
    """(p,), of the pool."""
    test: Reference
    test_labels: np.ndarray
    """(n,)"""
    attacked: list[int]
    """Places of the test images that are attacked."""
    shared: bool
    """Whether all chains are tested on the same images."""
    metric: Metric

    @classmethod
    def of(cls, settings: Settings, lab: Lab, target: Target, world: World, chain: int) -> Part:
        images = world.targets[target.data]
        train, test, _ = view_of(settings, lab, target, images)
        labels, tested = lab.load(images.train).labels, lab.load(images.test)
        places = pool(settings, chain, target.data, labels)
        number = settings.on_target if target.main else 0
        return cls(
            target=target,
            chain=chain,
            seed=settings.seed + chain,
            train=subset(train, places, name=f"{train.name}, chain {chain}"),
            labels=labels[places],
            test=test,
            test_labels=tested.labels,
            attacked=chosen(range(len(tested)), number, seed=settings.seed, what="attacked"),
            shared=images.shared,
            metric=metric_of(target.metric, tested.labels, tested.num_classes),
        )

    def few(self, draw: int) -> list[int]:
        """Places in the pool."""
        return shots(self.labels, self.target.per_class, seed=self.seed, draw=draw)

    def row(self, mode: str, source: Source, draw: int, **found: Any) -> dict[str, Any]:
        """A row as `reduce` describes it."""
        return {
            "mode": mode,
            "target": self.target.name,
            "side": self.target.side,
            "judged by": self.target.measure,
            "source": source.name,
            "seed": self.seed,
            "draw": draw,
            "robust": None,
            "metric": self.metric,
            "shared": self.shared,
        } | found


# --- Sources ----------------------------------------------------------------------------------------------------------


def probe(
    settings: Settings, lab: Lab, worlds: Sequence[World], sources: Sources
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Rows of `reduce.source_table`: every source on its own test images, clean and, on `Settings.num_probed` of them,
    attacked; and why the latter are no evidence (`audit.blocks.told`)."""
    clean, attacked, places, audits = {}, {}, {}, {}
    for (chain, source), model in sources.items():
        tested = worlds[chain].source_test
        assert tested is not None, "sources that are trained have test images"
        num_images = len(lab.load(tested))
        clean[chain, source] = predict(lab, model, tested, num_images, block=settings.block)
        some = chosen(range(num_images), settings.num_probed or num_images, seed=settings.seed, what="probed")
        probed = tested if len(some) == num_images else subset(tested, some, name=f"probed of {tested.name}")
        places[chain] = some
        attacked[chain, source] = lab.map(
            "probe",
            attack_block,
            range(len(some)),
            block=settings.block,
            seed=settings.seed + chain,
            settings=settings.attack(),
            refs={"model": model, "data": probed},
            needs=NEEDS,
        )
        audits[f"{source.name}, chain {chain}"] = audits_of.ask(
            lab, model, tested, settings.attack(), seed=settings.seed + chain
        )
    rows = []
    for (chain, source), handle in attacked.items():
        right = clean[chain, source].result()["correct"].to_numpy(dtype=bool)
        flags = {"clean": right, "robust": _unbroken(handle) & right[places[chain]]}
        rows.append({"source": source.name, "seed": settings.seed + chain, **flags})
    return pd.DataFrame(rows), audits_of.told((name, handle.result()) for name, handle in audits.items())


def _unbroken(handle: Handle[pd.DataFrame]) -> np.ndarray:
    hit = handle.result()
    return (hit["prediction"] == hit["label"]).to_numpy(dtype=bool)


# --- Fixed features ---------------------------------------------------------------------------------------------------


def fixed_features(settings: Settings, lab: Lab, sources: Sources, parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Rows of `reduce`, of logistic regressions on the latents of each source, which stays as it is."""
    together: dict[tuple[int, str, int], list[Part]] = {}  # targets of the same images share latents
    for part in parts:
        together.setdefault((part.chain, part.target.data, part.target.side), []).append(part)
    asked = {
        (source, place): (
            latents(lab, model, group[0].train, range(len(group[0].labels)), precision=settings.feature_precision),
            latents(lab, model, group[0].test, range(len(group[0].test_labels)), precision=settings.feature_precision),
        )
        for (chain, source), model in sources.items()
        for place, group in together.items()
        if place[0] == chain
    }
    heads = {}
    for source, place in list(asked):
        train, tested = asked.pop((source, place))  # tables of latents are large: none is kept for longer than needed
        refs = {
            "train": lab.rows(f"latents of {source.name}", train, ["latent", "label"]),
            "test": lab.rows(f"test latents of {source.name}", tested, ["latent"]),
        }
        items = [[part.target.per_class, draw] for part in together[place] for draw in settings.draws]
        heads[source, place] = lab.map(
            "head",
            head_block,
            items,
            block=len(settings.draws),
            seed=together[place][0].seed,
            settings=settings.held_out,
            refs=refs,
        )
    attacks = {}
    for (source, place), handle in heads.items():
        for number, part in enumerate(together[place]):
            if part.attacked and source.is_attacked:
                attacks[source, place, part.target] = lab.map(
                    "attack-head",
                    attack_head_block,
                    range(len(part.attacked)),
                    block=settings.block,
                    seed=part.seed,
                    settings=HeadAttack(attack=settings.attack(), head=number * len(settings.draws)),
                    refs={
                        "model": sources[place[0], source],
                        "data": subset(part.test, part.attacked, name=f"attacked of {part.test.name}"),
                        "head": lab.rows(f"heads on {source.name}", handle, HEAD_COLUMNS),
                    },
                    needs=NEEDS,
                )
    rows = []
    for (source, place), handle in heads.items():
        found = handle.result()
        cells = [(part, draw) for part in together[place] for draw in settings.draws]
        for (part, draw), head in zip(cells, found.itertuples(index=False), strict=True):
            correct = np.asarray(head.prediction) == part.test_labels
            attack = attacks.get((source, place, part.target)) if draw == 0 else None
            robust = None if attack is None else _unbroken(attack) & correct[part.attacked]
            rows.append(
                part.row(
                    FIXED,
                    source,
                    draw,
                    choice=float(head.strength),
                    validation=float(head.validation),
                    correct=correct,
                    robust=robust,
                )
            )
    return rows


# --- Trained on the target --------------------------------------------------------------------------------------------


def tuned_on_target(
    settings: Settings, lab: Lab, mode: str, sources: Sources, parts: Sequence[Part]
) -> list[dict[str, Any]]:
    """Rows of `reduce`: each source trained in one of `Settings.tuned_modes` at every learning rate, and the one that
    held-out images choose."""
    views, cells = {}, []
    for part in (part for part in parts if part.target.main):
        fit, held = fit_and_held(part.labels, part.few(0), settings.held_out, seed=part.seed, where=part.target.name)
        views[part] = (
            subset(part.train, fit, name=f"{part.train.name}, to fit on"),
            len(fit),
            subset(part.train, held, name=f"{part.train.name}, to choose on"),
            len(held),
        )
        cells += [(part, source, lr) for source in settings.sources_of(mode) for lr in settings.tune_lrs]
    archs = {
        source: architecture_of(lab, source.model) if source.model else settings.arch
        for source in settings.sources_of(mode)
    }
    specs = []
    for part, source, lr in cells:
        data, count, *_ = views[part]
        model = sources[part.chain, source]
        specs.append(settings.tune_spec(mode, model, part.chain, data, lr, archs[source], count))
    tuned = dict(zip(cells, lab.train(specs).result(), strict=True))
    looked = {
        cell: predict(lab, model, *views[cell[0]][2:], block=settings.block, step="held-out")
        for cell, model in tuned.items()
    }
    best: dict[tuple[Part, Source], tuple[float, float]] = {}
    for (part, source, lr), handle in looked.items():
        score = float(handle.result()["correct"].mean())
        if score > best.get((part, source), (-1.0, 0.0))[0]:  # of equal ones the first
            best[part, source] = (score, lr)
    tested, attacks = {}, {}
    for (part, source), (_, lr) in best.items():
        model = tuned[part, source, lr]
        tested[part, source] = predict(lab, model, part.test, len(part.test_labels), block=settings.block, step="test")
        if part.attacked and source.is_attacked:
            attacks[part, source] = lab.map(
                "attack-tuned",
                attack_block,
                range(len(part.attacked)),
                block=settings.block,
                seed=part.seed,
                settings=settings.attack(),
                refs={"model": model, "data": subset(part.test, part.attacked, name=f"attacked of {part.test.name}")},
                needs=NEEDS,
            )
    rows = []
    for (part, source), handle in tested.items():
        correct = handle.result()["correct"].to_numpy(dtype=bool)
        attack = attacks.get((part, source))
        robust = None if attack is None else _unbroken(attack) & correct[part.attacked]
        score, lr = best[part, source]
        rows.append(part.row(mode, source, 0, choice=lr, validation=score, correct=correct, robust=robust))
    return rows
