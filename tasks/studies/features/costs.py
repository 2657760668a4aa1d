"""What a run of the study will do, and what that costs. Imports nothing heavy: the command line reads it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from robustray.tasks.cost import NetworkPass, Part, Work
from robustray.tasks.kit.estimates import AUDITED, LOOK, num_images, training_part
from robustray.tasks.studies.features.recipes import SOURCES
from robustray.tasks.sweeps.options import EARLY, PASSES, STAGES

if TYPE_CHECKING:
    from robustray.tasks.studies.features.settings import Settings
    from robustray.tasks.training.settings import Augmentation, TrainSpec

NUM_SETS = 9
"""D and what students are trained on besides, without the option."""
NUM_SEEN = 5
"""D and the sets that the witness is shown, without the option."""
NUM_FAST = 5
"""What meets the stronger attack."""
SPEED = 2_048
"""Passes per second of network S in training, on two cores with native bf16, about."""


def estimate(settings: Settings) -> Work:
    """What `robustray show` says: passes of single images, at most."""
    parts = plan(settings)
    total = round(sum(part.items * part.cost for part in parts))
    heaviest = sorted(parts, key=lambda part: -part.items * part.cost)[:3]
    _, remark = num_images([settings.train_data], otherwise=50_000, given=settings.num_images)
    shares = ", ".join(f"{part.step} {part.items * part.cost / total:.0%}" for part in heaviest)
    time = {
        "digits:mlp": "The quick size takes a minute of CPU time over all processes.",
        "small:s": f"At {SPEED:,} passes/s (network S on two cores with native bf16, about) {total / SPEED / 60:,.0f} "
        "minutes.",
    }
    trained = next(part.items for part in parts if part.step == "train")
    return Work(
        counts={"passes of single images": total, "trainings": trained},
        note=f"{remark}Of them {shares}. {time.get(settings.model, '')}".strip(),
        parts=parts,
        unit=NetworkPass(models=(settings.model, settings.student)),
    )


def plan(settings: Settings) -> tuple[Part, ...]:
    """The steps of a run; the sets for D_rand and D_det at every size, of which the first may be enough."""
    counted, _ = num_images([settings.train_data], otherwise=50_000, given=settings.num_images)
    held = round(settings.held_out * counted[settings.train_data])
    used = counted[settings.train_data] - held
    chains, option, sizes = len(settings.chains), bool(settings.num_avoided), len(settings.eps_construct)
    sources = [settings.source(kind, 0) for kind in SOURCES if not settings.build or kind in ("standard", "robust")]
    sources += [settings.source("standard", 0)] * (0 if settings.build else settings.num_avoided)
    match = Part(step="match", items=2 * used * chains, cost=settings.match_steps)
    sized = 2 * used * chains * sizes
    if settings.build:
        perturb = Part(step="perturb", items=sized, cost=settings.perturb_steps, times=2 * sizes)
        return training_part([(spec, used) for spec in sources * chains]), match, perturb

    counted, _ = num_images([settings.test_data], otherwise=10_000)
    num_test = counted[settings.test_data]
    attacked = settings.num_attacked or num_test
    shown = (settings.num_transferred or num_test) if settings.transfer_archs else 0
    students, compared = list(_students(settings)), list(_compared(settings))
    perturbed = sized + (1 + option) * used * chains + shown * chains
    avoiding = settings.num_avoided * option * used * chains * settings.perturb_steps
    networks, strong = (NUM_SETS + option + 2) * chains, NUM_FAST * chains * bool(settings.num_fast)
    pgd = networks * len(settings.eps_test) * attacked
    fast = strong * settings.num_fast
    attacks = pgd * EARLY * (settings.test_steps + 2) + fast * EARLY * PASSES["fast-cascade"]
    long = settings.unit_steps + 3 * settings.long_unit_steps
    return (
        training_part([(spec, used) for spec in [*sources * chains, *students, *compared]]),
        match,
        Part(
            step="perturb",
            items=perturbed,
            cost=settings.perturb_steps + avoiding / perturbed,
            times=2 * chains * sizes + 1,
        ),
        Part(step="noise", items=used * chains, cost=LOOK),
        Part(step="leakage", items=2 * chains, cost=used * LOOK),
        Part(step="witness", items=(NUM_SEEN + option) * used * chains, cost=LOOK),
        Part(step="early", items=used * chains, cost=LOOK),
        Part(step="held-out", items=len(students) * held, cost=LOOK),
        Part(step="test", items=(len(students) + len(compared) + 2 * chains) * num_test, cost=LOOK),
        Part(
            step="attack",
            items=pgd + fast,
            cost=attacks / (pgd + fast),
            times=networks * len(settings.eps_test) + strong * STAGES["fast-cascade"],
        ),
        Part(step="audit", items=networks, cost=AUDITED),
        *_units(settings, used + num_test, long),
        Part(
            step="transfer",
            items=((NUM_SEEN - 1 + option) * used + len(settings.transfer_archs) * shown) * chains,
            cost=LOOK,
        ),
    )


def _units(settings: Settings, num_latents: int, steps: int) -> Iterator[Part]:
    if settings.num_units:
        networks = 2 * len(settings.chains)
        yield Part(step="latents", items=networks * num_latents, cost=LOOK)
        images = settings.unit_images // 2 * 2
        yield Part(step="units", items=networks * settings.num_units * images, cost=steps)


def _students(settings: Settings) -> Iterator[TrainSpec]:
    cells: list[tuple[float, Augmentation]] = [
        (lr, augmentation) for lr in settings.student_lrs for augmentation in settings.student_augmentations
    ]
    num_sets = NUM_SETS + bool(settings.num_avoided)
    for chain in settings.chains:
        for lr, augmentation in cells if chain in settings.in_grid else cells[:1]:
            yield from [settings.pupil(settings.train_data, lr, augmentation, chain)] * num_sets


def _compared(settings: Settings) -> Iterator[TrainSpec]:
    """Further architectures on D and on D_det; the students' own are there already."""
    for _ in settings.chains:
        for arch in settings.transfer_archs:
            if arch != settings.student:
                yield from [settings.pupil(settings.train_data, settings.student_lrs[0], "none", 0, arch=arch)] * 2
