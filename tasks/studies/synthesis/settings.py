"""The three sizes of the study, what they cost, and how it is explained. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping

from robustray.tasks.cost import NetworkPass, Part, Work
from robustray.tasks.kit.estimates import LOOK, num_classes, num_images, training_part
from robustray.tasks.studies.synthesis.fields import Settings
from robustray.tasks.studies.synthesis.kinds import ASKED, Task
from robustray.tasks.study import Outline, Size
from robustray.tasks.training.how import how_of
from robustray.tasks.training.reference import SEEDS, reference_specs
from robustray.tasks.training.twins import KINDS


def quick() -> Settings:
    """robustray run synthesis --size quick      50 s of CPU time; embedded data, proves nothing."""
    return Settings(
        architecture="digits:cnn",
        judge_architecture="digits:mlp",
        train_data="digits:train",
        test_data="digits:test",
        eps=0.8,
        num_seeds=3,
        epochs=10,
        batch_size=64,
        lr=0.1,
        train_steps=4,
        attack_precision="fp32",
        per_class=16,
        seed_factor=2,
        generate_eps=0.8,
        generate_step=0.04,
        generate_steps=60,
        num_images=150,
        hole=4,
        inpaint_eps=1.0,
        inpaint_step=0.05,
        inpaint_steps=60,
        factor=2,
        enlarge_eps=0.6,
        enlarge_step=0.06,
        enlarge_steps=40,
        translate_eps=1.5,
        translate_step=0.1,
        translate_steps=40,
        sketch_eps=1.5,
        sketch_step=0.1,
        sketch_steps=40,
        paint_eps=1.5,
        paint_step=0.1,
        paint_steps=40,
        precision="fp32",
    )


def small() -> Settings:
    """The reference twins on CIFAR-10 (l2 0.5), three seeds:
    robustray run synthesis --size small --data-root DIR      two CPU cores; hours where no twins are found.

    Sizes of balls: the paper's at 224 x 224 have the same mean change of a pixel here when they are divided by 7.
    """
    twin = reference_specs(SEEDS[0])["l2_05"]
    return Settings(
        architecture=twin.model,
        judge_architecture="cifar:resnet18-w16",
        train_data=twin.data_name,
        test_data="cifar10:test",
        norm=twin.norm,
        eps=twin.eps,
        num_seeds=len(SEEDS),
        seed=SEEDS[0],
        train_steps=twin.num_steps,
        **how_of(twin),
        per_class=200,
        seed_factor=2,
        generate_eps=6.0,
        generate_step=0.3,
        generate_steps=60,
        num_images=500,
        hole=8,
        inpaint_eps=3.1,
        inpaint_step=0.15,
        inpaint_steps=120,
        factor=4,
        enlarge_eps=1.5,
        enlarge_step=0.15,
        enlarge_steps=40,
        translate_eps=11.4,
        translate_step=0.3,
        translate_steps=100,
        sketch_eps=5.7,
        sketch_step=0.3,
        sketch_steps=60,
        paint_eps=10.0,
        paint_step=0.15,
        paint_steps=140,
    )


def paper() -> Settings:
    """ResNet-50 on CIFAR-10 with the published settings of generation. One GPU: days, nearly all of them training."""
    return Settings(
        architecture="cifar:resnet50",
        judge_architecture="cifar:wrn-28-10",
        train_data="cifar10:train",
        test_data="cifar10:test",
        eps=0.5,
        num_seeds=3,
        epochs=350,
        batch_size=256,
        lr=0.01,
        schedule="cosine",
        augmentation="crop-flip",
        train_steps=7,
        step_share=0.2,
        validation=1_000,
        per_class=500,
        generate_eps=30.0,
        generate_step=0.5,
        generate_steps=60,
        num_images=2_000,
        hole=8,
        inpaint_eps=3.1,
        inpaint_step=0.014,
        inpaint_steps=720,
        factor=4,
        enlarge_eps=1.5,
        enlarge_step=0.15,
        enlarge_steps=40,
        translate_eps=11.4,
        translate_step=0.3,
        translate_steps=100,
        sketch_eps=5.7,
        sketch_step=0.3,
        sketch_steps=60,
        paint_eps=10.0,
        paint_step=0.15,
        paint_steps=140,
    )


SIZES: Mapping[Size, Settings] = {"quick": quick(), "small": small(), "paper": paper()}


def estimate(settings: Settings) -> Work:
    """Gradient steps of all optimisations; trainings beside them."""
    if settings.one_picture:
        steps = settings.ascent(settings.tasks[0]).num_steps
        counts = {"gradient steps of single images": steps}
        return Work(
            counts=counts,
            note="One picture: seconds, once there is a network.",
            parts=(Part(step="picture", items=1, cost=steps),),
            unit=NetworkPass(models=(settings.architecture,)),
        )
    networks = len(KINDS) * settings.num_seeds
    generations = settings.per_class * num_classes(settings.train_data) * len(settings.laws)
    asked: Mapping[Task, int] = {task: len(labels) for task, labels in ASKED.items()}
    items: dict[Task, int] = {
        task: generations if task == "generate" else settings.num_images * asked.get(task, 1) for task in settings.tasks
    }
    steps = sum(networks * items[task] * settings.ascent(task).num_steps for task in settings.tasks)
    trainings = len(settings.wanted()) + len(KINDS) - len(settings.named_judges())
    times = {
        "digits:cnn": "The quick size takes 50 s of CPU time in one process.",
        "small:s": "Each robust network S takes 12 to 15 min on two slow cores, each standard one 4 to 5.",
    }
    note = "Judges are all that is trained." if trainings else "Nothing is trained."
    if settings.wanted():
        note = times.get(settings.architecture, "Training takes most of it.")
    return Work(
        counts={
            "gradient steps of single images": steps,
            "trainings": trainings,
        },
        note=note,
        parts=plan(settings, items),
        unit=NetworkPass(models=(settings.architecture,)),
    )


def plan(settings: Settings, items: Mapping[Task, int]) -> tuple[Part, ...]:
    """The steps of a run. items: images that each network makes, by task."""
    count, _ = num_images([settings.train_data, settings.test_data], otherwise=10_000)
    networks, num_train = len(KINDS) * settings.num_seeds, count[settings.train_data]
    judges = [settings.judge_spec(kind) for kind in KINDS if kind not in settings.named_judges()]
    made = networks * sum(items[task] for task in settings.tasks if task != "paint")  # no judge looks at paintings
    seen = len(KINDS) * (made + items.get("generate", 0)) + num_train * ("generate" in items)
    return (
        training_part(
            [(spec, num_train) for spec in [*settings.wanted().values(), *judges]], unit=settings.architecture
        ),
        Part(step="latents", items=count[settings.test_data] * (networks + len(KINDS)) + seen, cost=LOOK),
        *(
            Part(step=task, items=networks * items[task], cost=settings.ascent(task).num_steps)
            for task in settings.tasks
        ),
    )


OUTLINE = Outline(
    name="synthesis",
    question="Can a single classifier make and mend images, and does robust training decide it?",
    paper="arXiv:1906.09453",
    settings=Settings,
    sizes=SIZES,
    estimate=estimate,
    task="task",
    names={
        "standard": "model",
        "robust": "model",
        "judge": "model",
        "robust_judge": "model",
        "model": "model",
        "architecture": "model",
        "judge_architecture": "model",
        "train_data": "data",
        "test_data": "data",
    },
)
