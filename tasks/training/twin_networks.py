"""Standard and robust twins and their judges, opened or trained: what `TwinSettings` asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robustray.tasks.errors import InputError
from robustray.tasks.kit.images import (
    model_to_try,
    open_pair,
    opened_now,
    own_modules,
    trained_modules,
    try_attacks,
)
from robustray.tasks.latents.doors import try_latents
from robustray.tasks.latents.judges import check_judge
from robustray.tasks.models.doors import check_model
from robustray.tasks.training.doors import check_training
from robustray.tasks.training.twins import Kind, TwinSettings

if TYPE_CHECKING:
    from robustray.tasks.data.images import ImageData
    from robustray.tasks.inputs.settings import StepRule
    from robustray.tasks.lab.protocol import Lab, Reference


@dataclass(frozen=True, kw_only=True)
class TwinNetworks:
    """Model references."""

    twins: Mapping[tuple[Kind, int], Reference]
    judges: Mapping[Kind, Reference]
    """"standard" always; "robust" where a second judge was asked for."""


def check_twins(settings: TwinSettings, lab: Lab, *, judges: Sequence[Kind] = ("standard",)) -> dict[str, Reference]:
    """Open both data sets and every network that is named, and try all networks on them, before any work.

    Returns what was opened, by what it is. Raises: InputError for data that do not belong together, networks that do
    not fit them or give no latents, a judge that is one of the twins, and trainings that cannot start.
    """
    data, train, test = open_pair(lab, settings.train_data, settings.test_data)
    named = settings.named().values()
    judging = {kind: name for kind, name in settings.named_judges().items() if kind in judges}
    opened = opened_now(lab, dict.fromkeys((*named, *judging.values())))
    for name in named:
        try_network(model_to_try(lab, name, opened), name, test, latents=True, fake_relu=True)
    if len({opened[name].content_hash if name in opened else name for name in judging.values()}) < len(judging):
        raise InputError("both judges are the same network: give two, or leave one out and it is trained")
    for name in judging.values():
        if name in opened:
            check_judge(opened[name], [opened[each] for each in named if each in opened])
        try_network(model_to_try(lab, name, opened), name, test, latents=True)
    for spec in {spec.loss: spec for spec in settings.wanted().values()}.values():
        check_training(spec, train)
    for kind in judges:
        if kind not in judging:
            check_training(settings.judge_spec(kind), train)
    return data | {f"model {name}": ref for name, ref in opened.items()}


def twin_modules(settings: TwinSettings) -> tuple[str, ...]:
    """Where the code of all networks begins that a run may have to train, for `Opened.modules`."""
    names = (*settings.named().values(), *settings.named_judges().values())
    return (*own_modules(settings.architecture, settings.judge_architecture), *trained_modules(names))


def follow_twins(settings: TwinSettings, lab: Lab, ascents: Iterable[StepRule]) -> tuple[str, ...]:
    """Try on every twin, untrained where the run will train it, what follows its gradients. Returns: warnings for the
    page. Raises: InputError as `kit.images.try_attacks`."""
    named = dict.fromkeys(settings.named().values())
    opened = opened_now(lab, named)
    names = [*named, *[settings.architecture] * bool(settings.wanted())]
    return try_attacks(lab, dict.fromkeys(names, tuple(ascents)), [lab.load(lab.data(settings.test_data))], opened)


def gather(settings: TwinSettings, lab: Lab, *, judges: Sequence[Kind] = ("standard",)) -> TwinNetworks:
    """All networks; those that were not given are trained side by side."""
    wanted: dict[Any, Any] = {("twin", *key): spec for key, spec in settings.wanted().items()}
    given = settings.named_judges()
    wanted |= {("judge", kind): settings.judge_spec(kind) for kind in judges if kind not in given}
    trained = dict(zip(wanted, lab.train(list(wanted.values())).result() if wanted else (), strict=True))
    named = lab.models((*settings.named().values(), *given.values()))
    twins = {key: named[name] for key, name in settings.named().items()}
    twins |= {key[1:]: ref for key, ref in trained.items() if key[0] == "twin"}
    judging = {key[1]: ref for key, ref in trained.items() if key[0] == "judge"}
    judging |= {kind: named[name] for kind, name in given.items()}
    for judge in judging.values():
        check_judge(judge, twins.values())
    return TwinNetworks(twins=twins, judges={kind: judging[kind] for kind in judges})


def try_network(model: Any, name: str, data: ImageData, *, latents: bool, fake_relu: bool = False) -> None:
    """Try a network on two images. Raises: InputError, naming it, where it does not fit the data, answers differently
    when asked twice, or lacks latents (with a fake ReLU) that are wanted."""
    images, _ = data.batch(range(min(2, len(data))))
    try:
        warnings = check_model(model, images, data.num_classes)
        if latents and not hasattr(model, "forward_with_latent"):
            raise InputError("it has no latents: it needs forward_with_latent(images, fake_relu)")
        if latents:
            try_latents(model, images, fake_relu=fake_relu)
    except InputError as error:
        raise InputError(f"{name} with {data.name}: {error}") from error
    if warnings:
        raise InputError(f"{name}: {warnings[0]}")
