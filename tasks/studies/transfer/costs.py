"""What a run of the study will do, and what that costs. Imports nothing heavy: the command line reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from robustray.tasks.cost import NetworkPass, Part, Work
from robustray.tasks.kit.estimates import AUDITED, LOOK, num_classes, num_images, side_of, training_part
from robustray.tasks.studies.transfer.kinds import FULL, OTHERS
from robustray.tasks.studies.transfer.presets import PRESETS
from robustray.tasks.sweeps.options import EARLY

if TYPE_CHECKING:
    from robustray.tasks.studies.transfer.settings import Settings
    from robustray.tasks.training.settings import TrainSpec

HEAD = 3.0
"""Passes that a logistic regression on a latent costs, for every image that it is fitted on; measured at quick size."""
UNKNOWN = 10_000
"""Images of a data set whose size is not known before it is opened."""
MEASURED: Mapping[str, str] = {
    "scenes:cnn": "Training the sources dominates; the quick size took 60 to 70 s of CPU time over all processes, and "
    "two to three times as much on a slow day of the same machine.",
}
"""By architecture; source: docs/design/architecture.md."""


def estimate(settings: Settings) -> Work:
    """What `robustray show` says."""
    robust, sources = len(settings.robust), len(settings.all_sources())
    main = sum(target.main for target in settings.targets)
    tuned = len(settings.sources_of(FULL)) * len(settings.tune_lrs) * main * len(settings.tuned_modes)
    heads = {
        "fine-tuned networks": settings.num_seeds * tuned,
        "logistic regressions on latents": settings.num_seeds * sources * len(settings.targets) * len(settings.draws),
    }
    if settings.sources:
        heads = {name: count for name, count in heads.items() if count}
        # How many images your own target has is not known before it is opened, so that there is no plan.
        return Work(counts={"sources": sources, **heads}, note="The passes over the target's images dominate.")
    passes = settings.epochs * (1 + robust + robust * (1 + settings.train_steps))
    return Work(
        counts={
            "passes of each source image in training": settings.num_seeds * passes,
            "sources": settings.num_seeds * sources,
            **heads,
        },
        note=MEASURED.get(settings.arch, "Training the sources dominates."),
        parts=plan(settings),
        unit=NetworkPass(models=(settings.arch,), side=side_of(settings.train_data)),
    )


def plan(settings: Settings) -> tuple[Part, ...]:
    """The steps of a run. Classes are taken to be equally large, and data whose size is not known yet to have `UNKNOWN`
    images."""
    tests = {name: settings.test_of(name) for name in settings.own_targets}
    learnt = {name: PRESETS[name].train if name in PRESETS else name for name in settings.own_targets}
    names = [settings.train_data, settings.test_data, *learnt.values(), *filter(None, tests.values())]
    count, _ = num_images(names, otherwise=UNKNOWN)
    classes = max(settings.num_source_classes, num_classes(settings.train_data))
    share = (settings.num_source_classes or classes) / classes
    num_train, num_own = (round(share * count[name]) for name in (settings.train_data, settings.test_data))
    num_probed = min(settings.num_probed or num_own, num_own)
    chains, sources = settings.num_seeds, settings.all_sources()
    trained = [(settings.source_spec(source, 0, settings.train_data), num_train) for source in sources]
    on_target: dict[str, list[tuple[TrainSpec, int]]] = {mode: [] for mode in settings.tuned_modes}
    number = len(sources) * chains
    attacked = sum(source.is_attacked for source in sources)
    latents = heads = held_out = tested = attacks = 0
    fitted = 0.0
    for data in settings.data:
        if data == OTHERS:
            its_classes = classes - settings.num_source_classes
            available = round((1 - share) * count[settings.train_data])
            num_test = count[settings.test_data] - num_own
        else:
            its_classes = PRESETS[data].num_classes if data in PRESETS else num_classes(data)
            available = count[learnt[data]]
            num_test = count[tests[data]] if tests[data] else round(settings.test_share * available)
            available -= 0 if tests[data] else num_test
        targets = [target for target in settings.targets if target.data == data]
        few = {target: min(available, its_classes * (target.per_class or available)) for target in targets}
        pool = min(available, len(settings.draws) * max(few.values()))
        latents += len({target.side for target in targets}) * (pool + num_test)
        heads += len(targets) * len(settings.draws)
        fitted += HEAD * sum(few.values()) * len(settings.draws)
        for target in targets:
            if target.main:
                attacks += min(settings.num_attacked, num_test)
                held = round(settings.held_out * few[target])
                for mode in settings.tuned_modes:  # a frozen network's passes backward are counted as well
                    held_out += held * len(settings.tune_lrs)
                    tested += num_test
                    fitted_on = few[target] - held
                    on_target[mode] += [
                        (
                            settings.tune_spec(mode, "source", 0, settings.train_data, lr, settings.arch, fitted_on),
                            fitted_on,
                        )
                        for lr in settings.tune_lrs
                    ] * len(settings.sources_of(mode))
    tuned = chains * len(settings.sources_of(FULL))
    tuned_attacked = sum(source.is_attacked for source in settings.sources_of(FULL)) * len(settings.tuned_modes)
    looks = EARLY * (settings.probe_steps + 2)
    return (
        *(training_part(each * chains) for each in (trained, *on_target.values())),  # each requested at once
        Part(step="clean", items=number * num_own, cost=LOOK),
        Part(step="probe", items=number * num_probed, cost=looks),
        Part(step="audit", items=number * bool(num_own), cost=AUDITED),
        Part(
            step="latents" if settings.feature_precision == "fp32" else "latents-bf16",
            items=number * latents,
            cost=LOOK,
        ),
        Part(step="head", items=number * heads, cost=fitted / max(1, heads)),
        Part(step="held-out", items=tuned * held_out, cost=LOOK),
        Part(step="test", items=tuned * tested, cost=LOOK),
        Part(step="attack-head", items=chains * attacked * attacks, cost=looks),
        Part(step="attack-tuned", items=chains * tuned_attacked * attacks, cost=looks),
    )
