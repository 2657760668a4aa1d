"""What does training on adversarial images cost, and what does it buy?  (arXiv:1706.06083; robustness library's table)

Networks that are alike but for the threat they are trained against: none, or PGD within each size of a norm; each with
several seeds. All are tested on images that no training and no choice has seen: as they are, under PGD at growing
sizes, and under AutoAttack at the size they were trained at. Beside that: how they learnt (training batches, and
images held out of the training set), how fast PGD converges on them, and where the gradient of their loss points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from robustray.tasks.attacks.autoattack import AutoAttack
from robustray.tasks.attacks.blocks import attack_block, predict_block
from robustray.tasks.attacks.settings import PGD, Norm
from robustray.tasks.attacks.traces import gradient_block, trace_block
from robustray.tasks.audit import blocks as audits_of
from robustray.tasks.audit.blocks import AUDIT
from robustray.tasks.kit.compare import Compared, comparison
from robustray.tasks.kit.draws import chosen
from robustray.tasks.kit.images import (
    check_classes,
    check_num_images,
    open_pair,
    own_modules,
    predict,
    settled,
    try_attacks,
)
from robustray.tasks.studies.robust_training import findings
from robustray.tasks.studies.robust_training.results import Results, label
from robustray.tasks.studies.robust_training.settings import OUTLINE, Network, Settings
from robustray.tasks.study import TRAIN, Opened, Study
from robustray.tasks.sweeps.cells import attack_cells
from robustray.tasks.sweeps.options import Options
from robustray.tasks.sweeps.records import Cell
from robustray.tasks.sweeps.traced import follow, gradients_of
from robustray.tasks.training.doors import check_training
from robustray.tasks.training.learnt import learnt

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab import Handle, Lab, Reference
    from robustray.tasks.study import Findings


def door(settings: Settings, lab: Lab) -> Opened:
    """Open both data sets and try the untrained network on them. Raises: InputError."""
    settings = settled(settings, lab, "precision", "attack_precision")
    refs, train, test = open_pair(lab, settings.train_data, settings.test_data)
    check_images(settings, test)
    for network in {network.norm: network for network in settings.networks()}.values():
        check_training(settings.spec(network), train)
    norm = settings.norms[0]
    tested = PGD(norm=norm, eps=settings.reference_eps(norm), precision=settings.precision)
    return Opened(
        refs=refs,
        decided={"precision": settings.precision, "attack precision in training": settings.attack_precision},
        modules=own_modules(settings.model),
        warnings=try_attacks(lab, {settings.model: [tested]}, [test], {}),
    )


def check_images(settings: Settings, test: ImageData) -> None:
    """Raises: InputError for too few images, and too few classes for AutoAttack."""
    parts = {name: getattr(settings, name) for name in ("num_autoattack", "num_traced", "num_examples")}
    check_num_images(test, settings.num_images, **parts)
    if settings.num_autoattack:
        stages = AutoAttack(norm=settings.norms[0], eps=settings.reference_eps(settings.norms[0])).stages()
        check_classes(stages, test, remedy="set num_autoattack to 0")


def run(settings: Settings, lab: Lab) -> Findings:
    settings = settled(settings, lab, "precision", "attack_precision")

    # 1. All networks are trained side by side.
    networks = settings.networks()
    models = dict(zip(networks, lab.train([settings.spec(each) for each in networks]).result(), strict=True))
    test = lab.data(settings.test_data)
    images: ImageData = lab.load(test)
    num_images = settings.num_images or len(images)

    # 2. What needs nothing but the networks: predictions, the loss over the steps of PGD, and its gradient.
    asked = {network: predict(lab, model, test, num_images, block=settings.block) for network, model in models.items()}
    traces: dict[tuple[Network, Norm], dict[int, Handle[pd.DataFrame]]] = {
        (network, norm): follow(
            lab,
            models[network],
            test,
            norm=norm,
            eps=settings.size_of(norm, network.eps),
            num_steps=(settings.test_steps, settings.trace_steps),
            num_images=settings.num_traced,
            block=settings.block,
        )
        for network in networks * bool(settings.num_traced)
        for norm in settings.tested_in(network)
    }
    tested: dict[Network, Norm] = {network: settings.tested_in(network)[0] for network in networks}
    audits = {
        network: audits_of.ask(
            lab, models[network], test, PGD(norm=norm, eps=settings.reference_eps(norm)), seed=settings.seed
        )
        for network, norm in tested.items()
    }
    examples = chosen(range(num_images), settings.num_examples, seed=settings.seed)
    gradients = {
        network: gradients_of(lab, models[network], test, examples, block=settings.block)
        for network in networks
        if network.seed == settings.seed and examples
    }
    clean = {network: handle.result() for network, handle in asked.items()}

    # 3. The attacks, on what each network classifies correctly.
    records = attack_networks(settings, lab, models, test, clean)

    # 4. What it says.
    return findings.compose(
        Results(
            settings=settings,
            images=images,
            models={network: model.name for network, model in models.items()},
            curves={network: learnt(model) for network, model in models.items()},
            clean=clean,
            records=records,
            traces={key: {steps: handle.result() for steps, handle in each.items()} for key, each in traces.items()},
            gradients={network: handle.result() for network, handle in gradients.items()},
            against=audits_of.told((label(network), handle.result()) for network, handle in audits.items()),
        )
    )


def attack_networks(
    settings: Settings,
    lab: Lab,
    models: Mapping[Network, Reference],
    test: Reference,
    clean: Mapping[Network, pd.DataFrame],
) -> pd.DataFrame:
    """Records of PGD, on all images at every size tested at, and of AutoAttack, on the first `num_autoattack` images
    where `Settings.autoattack_eps` says. An attack sweep of these networks would find the same pieces in the store."""
    pgd: dict[Cell, tuple[Sequence[float], pd.DataFrame]] = {}
    autoattack = {}
    for network, rows in clean.items():
        for norm in settings.tested_in(network):
            cell = Cell(test.name, label(network), norm, "pgd", settings.seed)
            pgd[cell] = settings.eps_test(norm), rows
            eps = settings.autoattack_eps(norm, network.eps)
            if eps is not None:
                first = rows[rows["index"] < settings.num_autoattack]
                autoattack[cell._replace(attack="autoattack")] = (eps,), first
    options = Options(num_steps=settings.test_steps, precision=settings.precision, block=settings.block)
    named = {label(network): model for network, model in models.items()}
    return attack_cells(options, lab, named, {test.name: test}, pgd | autoattack)


STUDY = Study(
    outline=OUTLINE,
    door=door,
    run=run,
    steps={
        "train": TRAIN,
        "clean": predict_block,
        "trace": trace_block,
        "gradients": gradient_block,
        AUDIT: audits_of.audit_block,
        "attack": attack_block,
    },
    partial=frozenset({"clean", "trace", AUDIT, "attack"}),
    # Trainings with other seeds are other networks: nothing to pair but the cells of the grid.
    compare=comparison(Compared(table="accuracy", keys=("norm", "trained", "eps_test"), value="accuracy")),
)
