"""What does training on adversarial images cost, and what does it buy?  (arXiv:1706.06083; robustness library's table)

Networks that are alike but for the threat they are trained against: none, or PGD within each size of a norm; each with
several seeds. All are tested on images that no training and no choice has seen: as they are, under PGD at growing
sizes, and under AutoAttack at the size they were trained at. Beside that: how they learnt (training batches, and
images held out of the training set), how fast PGD converges on them, and where the gradient of their loss points.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from robustray.tasks.attacks.autoattack import AutoAttack
from robustray.tasks.attacks.blocks import attack_block, predict_block
from robustray.tasks.attacks.precision import resolve_precision
from robustray.tasks.attacks.settings import PGD, Norm
from robustray.tasks.errors import InputError
from robustray.tasks.lab.seeds import stream
from robustray.tasks.studies.robust_training import findings
from robustray.tasks.studies.robust_training.blocks import gradient_block, trace_block
from robustray.tasks.studies.robust_training.evaluation import attack_networks
from robustray.tasks.studies.robust_training.results import Results, learnt, tested_in
from robustray.tasks.studies.robust_training.settings import OUTLINE, Network, Settings
from robustray.tasks.study import TRAIN, Opened, Study
from robustray.tasks.sweeps.cells import NEEDS
from robustray.tasks.training.doors import check_training

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab import Handle, Lab, Reference
    from robustray.tasks.study import Findings


def door(settings: Settings, lab: Lab) -> Opened:
    """Open both data sets and try the untrained network on them. Raises: InputError."""
    settings = settled(settings, lab)
    data = {"train": lab.data(settings.train_data), "test": lab.data(settings.test_data)}
    if data["train"].content_hash == data["test"].content_hash:
        raise InputError(
            f"--train-data {settings.train_data} and --test-data {settings.test_data} are the same images: results are "
            "reported on images that no training has seen"
        )
    train, test = (lab.load(ref) for ref in data.values())
    check_images(settings, train, test)
    for network in {network.norm: network for network in settings.networks()}.values():
        check_training(settings.spec(network), train)
    return Opened(
        refs={f"data {ref.name}": ref for ref in data.values()},
        decided={"precision": settings.precision, "attack precision in training": settings.attack_precision},
        modules=() if ":" not in settings.model else _own_modules(settings.model),
    )


def check_images(settings: Settings, train: ImageData, test: ImageData) -> None:
    """Raises: InputError for data that do not belong together, or too few of them."""
    if train.shape != test.shape or train.classes != test.classes:
        raise InputError(
            f"--test-data {test.name} has images {test.shape} of {test.num_classes} classes, --train-data {train.name} "
            f"{train.shape} of {train.num_classes}: both must have the same shape and the same classes"
        )
    if settings.num_images > len(test):
        raise InputError(f"num_images {settings.num_images}: {test.name} has {len(test)}; 0 means all")
    num_images = settings.num_images or len(test)
    for name in ("num_autoattack", "num_traced", "num_examples"):
        if getattr(settings, name) > num_images:
            raise InputError(f"{name} {getattr(settings, name)}: only {num_images} images of {test.name} are tested")
    norm = settings.norms[0]
    stages = AutoAttack(norm=norm, eps=settings.reference_eps(norm)).stages()
    least = max(stage.min_classes for stage in stages)
    if settings.num_autoattack and test.num_classes < least:
        raise InputError(
            f"AutoAttack needs at least {least} classes, {test.name} has {test.num_classes}: set num_autoattack to 0"
        )


def _own_modules(model: str) -> tuple[str, ...]:
    from robustray.tasks.models.registry import model_entry

    return () if model_entry(model) is not None else (model.partition(":")[0],)


def settled(settings: Settings, lab: Lab) -> Settings:
    """Decide what "auto" leaves to the machine, once for all workers."""
    decided: dict[str, Any] = {
        name: resolve_precision(lab.device)
        for name in ("precision", "attack_precision")
        if getattr(settings, name) == "auto"
    }
    return replace(settings, **decided)


def run(settings: Settings, lab: Lab) -> Findings:
    settings = settled(settings, lab)

    # 1. All networks are trained side by side.
    networks = settings.networks()
    specs = [settings.spec(network) for network in networks]
    models = dict(zip(networks, lab.train(specs).result(), strict=True))
    test = lab.data(settings.test_data)
    images: ImageData = lab.load(test)
    num_images = settings.num_images or len(images)

    # 2. What needs nothing but the networks: predictions, the loss over the steps of PGD, and its gradient.
    clean_handles = {
        network: lab.map(
            "clean",
            predict_block,
            range(num_images),
            block=settings.block,
            refs={"model": model, "data": test},
            needs=NEEDS,
        )
        for network, model in models.items()
    }
    traces = trace(settings, lab, models, test)
    chosen = sorted(stream(settings.seed, "examples").permutation(num_images)[: settings.num_examples].tolist())
    gradients = {
        network: lab.map(
            "gradients",
            gradient_block,
            chosen,
            block=settings.block,
            refs={"model": models[network], "data": test},
            needs=NEEDS,
        )
        for network in networks
        if network.seed == settings.seed and chosen
    }
    clean = {network: handle.result() for network, handle in clean_handles.items()}

    # 3. The attacks, on what each network classifies correctly.
    attacked = attack_networks(settings, lab, models, test, clean)

    # 4. What it says.
    return findings.compose(
        Results(
            settings=settings,
            images=images,
            models={network: model.name for network, model in models.items()},
            curves={network: learnt(model) for network, model in models.items()},
            clean=clean,
            pgd=attacked["pgd"],
            autoattack=attacked.get("autoattack"),
            traces={key: handle.result() for key, handle in traces.items()},
            gradients={network: handle.result() for network, handle in gradients.items()},
        )
    )


def trace(
    settings: Settings, lab: Lab, models: dict[Network, Reference], test: Reference
) -> dict[tuple[Network, Norm, int], Handle[pd.DataFrame]]:
    """Follow the loss of each network at the size it was trained at; of the standard ones at the reference size.

    Keys: network, norm, number of steps.
    """
    handles = {}
    for network in models if settings.num_traced else ():
        for norm, num_steps in itertools.product(
            tested_in(settings, network), (settings.test_steps, settings.trace_steps)
        ):
            attack = PGD(
                norm=norm,
                eps=network.eps or settings.reference_eps(norm),
                num_steps=num_steps,
                random_start=False,
                exit_rule="last",
                attack_misclassified=True,
                precision="fp32",
            )
            handles[network, norm, num_steps] = lab.map(
                "trace",
                trace_block,
                range(settings.num_traced),
                block=max(16, settings.block * settings.test_steps // num_steps),  # about equal work
                settings=attack,
                refs={"model": models[network], "data": test},
                needs=NEEDS,
            )
    return handles


STUDY = Study(
    outline=OUTLINE,
    door=door,
    run=run,
    steps={
        "train": TRAIN,
        "clean": predict_block,
        "trace": trace_block,
        "gradients": gradient_block,
        "attack": attack_block,
    },
)
