"""A report as the main job makes it, from made-up numbers: two models, a class table, a cost table, pictures.

Also one of hostile names, and a reader of pages.
"""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd

from robustray.tasks import figures
from robustray.tasks.report.comparison import ComparisonFacts, Difference, Side
from robustray.tasks.report.facts import RunFacts, StepFacts
from robustray.tasks.study import Claim, Description, Figure, Findings, PaperFigure, Picture, Table

EPS = [0.0, 0.5 / 255, 1 / 255, 2 / 255, 4 / 255, 8 / 255, 16 / 255]
ACCURACY = {
    "cifar:resnet20": [0.9173, 0.612, 0.281, 0.034, 0.0006, 0.0, 0.0],
    "cifar:resnet56": [0.9339, 0.655, 0.322, 0.051, 0.0011, 0.0, 0.0],
    "small:robust": [0.741, 0.728, 0.713, 0.681, 0.611, 0.462, 0.198],
}
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def wilson(p: float, n: int) -> tuple[float, float]:
    z = 1.959964
    centre, spread = (
        (p + z * z / 2 / n) / (1 + z * z / n),
        z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / 4 / n / n),
    )
    return max(0.0, float(centre - spread)), min(1.0, float(centre + spread))


def example_findings(n: int = 10_000) -> Findings:
    palette = figures.Palette(ACCURACY)
    series = []
    rows: list[dict[str, object]] = []
    for model, values in ACCURACY.items():
        intervals = [wilson(p, n) for p in values]
        lo, hi = [i[0] for i in intervals], [i[1] for i in intervals]
        runs = [[max(0.0, p + d * p * (1 - p)) for p in values] for d in (-0.09, 0.02, 0.08)]
        series.append(figures.Series(label=model, x=EPS, y=values, lo=lo, hi=hi, runs=runs))
        for eps, p, low, high in zip(EPS, values, lo, hi, strict=True):
            rows.append(
                {
                    "model": model,
                    "norm": "linf",
                    "eps": eps,
                    "n": n,
                    "robust_accuracy": p,
                    "lo": low,
                    "hi": high,
                    "evaluations_per_image": 21.5 - 12 * p,
                }
            )
    curve = figures.curve(
        name="accuracy-linf",
        title="Accuracy falls to nothing well below what one can see",
        caption=(
            "A standard network loses nearly all of its accuracy by ε = 4/255. Robust accuracy under "
            "PGD-20 over the first 10,000 test images, 3 seeds; bands are 95 % Wilson intervals, thin "
            "lines single seeds."
        ),
        alt=(
            "Line chart: accuracy against the size of the ℓ∞ perturbation for three models; the two "
            "standard ones fall from above 91 % to 0 % at 8/255, the robust one from 74 % to 46 %."
        ),
        series=series,
        palette=palette,
        x_label="ℓ∞ perturbation ε (pixel units)",
        y_label="robust accuracy",
        percent=True,
        levels=[figures.Level(value=0.1, words="chance, 10 %")],
        x_ticks=figures.eps_ticks(EPS),
        x_log=True,
    )
    bars = figures.dot_rows(
        name="worst-case",
        title="What remains at ε = 8/255",
        caption=(
            "Only the adversarially trained network keeps accuracy. Worst case over FGSM, noise and "
            "PGD-20 per image, n = 10,000, 95 % Wilson intervals."
        ),
        alt="Dot chart of robust accuracy at 8/255: 0 % for the two standard models, 46 % for the robust one.",
        rows=[
            figures.Row(
                label=m,
                value=v[5],
                lo=wilson(v[5], n)[0],
                hi=wilson(v[5], n)[1],
                runs=[v[5] * 0.97, v[5] * 1.04],
                color_by=m,
            )
            for m, v in ACCURACY.items()
        ],
        palette=palette,
        x_label="robust accuracy",
        percent=True,
        levels=[figures.Level(value=0.4704, words="the paper: 47.04 %")],
    )
    random = np.random.default_rng(0)
    confusion = random.dirichlet(np.full(10, 0.4), size=10)
    confusion[np.diag_indices(10)] = np.nan
    heat = figures.heat_map(
        name="confusion",
        title="Where the adversarial images go",
        caption=(
            "Animals become other animals. Share of the successful attacks on each class (rows) by "
            "the class predicted (columns), small:robust at 8/255, n = 5,380."
        ),
        alt="Heat map of ten true classes against ten predicted classes.",
        values=confusion,
        rows=CLASSES,
        columns=CLASSES,
        row_label="true class",
        column_label="predicted class",
    )
    images = np.stack([blob(random) for _ in range(6)])
    delta = random.choice([-1.0, 1.0], size=images.shape) * 8 / 255
    stack = np.concatenate([images, np.clip(images + delta, 0, 1), figures.magnified(delta, 10)])
    grid = figures.image_grid(
        name="examples",
        title="Examples",
        caption=(
            "The change is hard to see. Six images drawn at random (seed 0), not chosen; the "
            "perturbation is shown ten times magnified around mid-grey."
        ),
        alt="Grid of six images in columns: original, adversarial, and the perturbation ten times magnified.",
        images=stack,
        rows=["original", "adversarial", "difference × 10"],
        columns=[f"{a}\n→ {b}" for a, b in zip(CLASSES[:6], CLASSES[4:], strict=True)],
        scale=3,
    )
    frame = pd.DataFrame(rows)
    per_class = pd.DataFrame(
        [{"class": c, "n": 1000, **{m: float(random.uniform(0, 0.9)) for m in ACCURACY}} for c in CLASSES]
    )
    cost = pd.DataFrame(
        {
            "attack": ["noise", "fgsm", "pgd"],
            "images": [70_000, 70_000, 70_000],
            "evaluations": [70_000, 140_000, 1_482_113],
            "seconds": [41.2, 96.04, 1893.5],
            "images_per_second": [1699.0, 729.1, 37.0],
        }
    )
    return Findings(
        answer="At ℓ∞ 8/255, 0.0 % [0.0, 0.04] of ResNet-20's 91.7 % remain under PGD-20, n = 10,000.",
        claims=(
            Claim(
                words="A standard network has no accuracy left at ε = 8/255.",
                estimate=0.0,
                interval=(0.0, 0.00038),
                n=n,
                test="supported if the upper end of the 95 % Wilson interval is below 5 %",
                verdict="supported",
                paper=PaperFigure(
                    figure="0.00 %",
                    scale="ResNet-50, full CIFAR-10 test set, PGD-20",
                    source="robustness 1.2.1, README table",
                ),
            ),
            Claim(
                words="Adversarial training keeps at least half of the images right at ε = 8/255.",
                estimate=0.462,
                interval=wilson(0.462, n),
                n=n,
                test="supported if the lower end is above 50 %, contradicted if the upper end is below it",
                verdict="contradicted",
                paper=PaperFigure(
                    figure="53.49 %",
                    scale="ResNet-50, full CIFAR-10 test set",
                    source="robustness 1.2.1, README table",
                    value=0.5349,
                ),
                paper_verdict="supported",
            ),
            Claim(
                words="A deeper network loses more.",
                estimate=-0.004,
                interval=(-0.011, 0.003),
                n=n,
                test="paired bootstrap over images; supported if the interval is above 0",
                verdict="undecided",
                unit="points",
            ),
            Claim(
                words="PGD with 20 and with 100 steps leave the same accuracy to 0.6 points.",
                estimate=0.001,
                interval=(-0.001, 0.003),
                n=n,
                test="accuracy after 20 minus after 100 steps: supported if its 95 % interval lies within ±0.6 points",
                verdict="supported",
                unit="points",
                kind="check",
                paper=PaperFigure(figure="53.49 / 53.29 %", scale="ResNet-50", source="a table", value=0.002),
                paper_verdict="supported",
            ),
        ),
        descriptions=(
            Description(
                words="ResNet-20: of the images that it classifies correctly, those that ℓ∞ 8/255 breaks",
                estimate=1.0,
                interval=(0.9996, 1.0),
                n=9170,
                measured="broken by any attack of the sweep; 95 % interval over images (Wilson)",
                paper=PaperFigure(figure="100 % (standard), 38.5 % (robust)", scale="ResNet-50", source="a table"),
            ),
        ),
        tables=(
            Table(
                name="robust-accuracy",
                title="Robust accuracy",
                caption="Worst case over attacks per image. 95 % Wilson intervals over images.",
                frame=frame,
                formats={
                    "eps": "eps",
                    "robust_accuracy": "percent",
                    "interval:robust_accuracy": "lo,hi",
                    "evaluations_per_image": ".1f",
                },
            ),
            Table(
                name="per-class",
                title="Classes",
                caption="Robust accuracy of each true class at ε = 8/255.",
                frame=per_class,
                formats=dict.fromkeys(ACCURACY, "percent"),
            ),
            Table(
                name="cost",
                title="Cost",
                caption="Evaluations are forward passes (with gradient where the attack uses one) of single images.",
                frame=cost,
            ),
            Table(
                name="per-example",
                title="Single images",
                caption="One row per image, model, attack and ε.",
                frame=frame.loc[:2],
                on_page=False,
            ),
        ),
        figures=(curve, bars, heat),
        pictures=(grid,),
        warnings=("Robust accuracy under PGD is an upper bound: a stronger attack may find more.",),
    )


def blob(random: np.random.Generator) -> np.ndarray:
    """A smooth colourful 32 x 32 image in [0, 1]."""
    y, x = np.mgrid[0:32, 0:32] / 31
    waves = [
        0.5 + 0.45 * np.sin(random.uniform(2, 9) * x + random.uniform(2, 9) * y + random.uniform(0, 6))
        for _ in range(3)
    ]
    return np.stack(waves)


def example_facts(**changes: object) -> RunFacts:
    given: dict[str, object] = dict(
        study="attack-sweep",
        question="How does accuracy fall with the size of an adversarial perturbation?",
        paper="arXiv:1706.06083",
        size="small",
        run="attack-sweep-20260521-1a2b3c4d",
        command=(
            "robustray run attack-sweep --size small --model "
            "cifar:resnet20@weights/resnet20.safetensors --model "
            "cifar:resnet56@weights/resnet56.safetensors --data cifar10:test --seed 0"
        ),
        seed=0,
        date="2026-05-21T14:03:11",
        settings={
            "models": ["cifar:resnet20", "cifar:resnet56"],
            "attacks": [{"kind": "pgd", "num_steps": 20, "step_size": 2 / 255}, {"kind": "fgsm"}],
            "eps": EPS,
            "num_images": 10_000,
            "nested": {"device": "cpu", "none": None},
        },
        hashes={"data cifar10:test": "9f" * 32, "model cifar:resnet20": "3c" * 32, "code": "77" * 32},
        versions={"robustray": "0.1.0", "torch": "2.14.1", "ray": "2.60.0", "numpy": "2.4.0"},
        hardware={"cpu": "2 cores", "threads": 1, "gpus": "none", "memory": "8 GiB"},
        steps=(
            StepFacts(
                name="clean",
                items=20_000,
                blocks=40,
                computed_blocks=12,
                reused_blocks=28,
                seconds=31.25,
                items_per_second=192.0,
            ),
            StepFacts(
                name="pgd linf",
                items=140_000,
                blocks=4375,
                computed_blocks=4375,
                retried=2,
                failed_items=1,
                seconds=1893.5,
                items_per_second=73.9,
            ),
            StepFacts(name="fgsm", items=0, blocks=0),
        ),
        warnings=("1 image of step 'pgd linf' killed its worker even alone and is missing (item 4711).",),
        notes=("clean: 28 of 40 blocks were read from the store although code that they depend on has changed since.",),
        tables={
            "robust-accuracy": "tables/robust-accuracy.parquet",
            "per-class": "tables/per-class.parquet",
            "cost": "tables/cost.parquet",
            "per-example": "tables/per-example.parquet",
        },
        wall_seconds=2071.0,
    )
    return RunFacts(**(given | changes))  # type: ignore[arg-type]


# -- names that must stay words, and numbers that are none ------------------------------------------------------------

HOSTILE = "<script>alert('\"&{{ 7*7 }}')</script>[bold]"
NAN = float("nan")


def hostile_findings() -> Findings:
    frame = pd.DataFrame({HOSTILE: [HOSTILE, "=1+1"], "value": [NAN, 0.5], "lo": [NAN, 0.4], "hi": [NAN, 0.6]})
    return Findings(
        answer=HOSTILE,
        claims=(
            Claim(
                words=HOSTILE,
                estimate=NAN,
                interval=(NAN, math.inf),
                n=0,
                test=HOSTILE,
                verdict="undecided",
                paper=PaperFigure(figure=HOSTILE, scale=HOSTILE, source=HOSTILE),
            ),
            Claim(words="nothing", estimate=None, interval=None, n=0, test="none", verdict="undecided"),
        ),
        descriptions=(
            Description(words=HOSTILE, estimate=None, interval=None, n=0, measured=HOSTILE),
            Description(
                words=HOSTILE,
                estimate=NAN,
                interval=(NAN, math.inf),
                n=1,
                measured=HOSTILE,
                paper=PaperFigure(figure=HOSTILE, scale=HOSTILE, source=HOSTILE, value=0.5),
            ),
        ),
        tables=(
            Table(
                name="hostile",
                title=HOSTILE,
                caption=HOSTILE,
                frame=frame,
                formats={"value": "percent", "interval:value": "lo,hi"},
            ),
            Table(name="empty", title="Empty", caption="Nothing.", frame=pd.DataFrame({"a": [], "b": []})),
        ),
        figures=(Figure(name="f", title=HOSTILE, caption=HOSTILE, alt=HOSTILE, svg="<svg viewBox='0 0 1 1'></svg>"),),
        pictures=(Picture(name="p", title=HOSTILE, caption=HOSTILE, alt=HOSTILE, png=b"png", width=1, height=1),),
        warnings=(HOSTILE,),
    )


def hostile_facts() -> RunFacts:
    return RunFacts(
        study=HOSTILE,
        question=HOSTILE,
        paper=HOSTILE,
        size="custom",
        run=HOSTILE,
        command=HOSTILE,
        seed=0,
        date="2026-01-01",
        settings={HOSTILE: HOSTILE, "list": [{HOSTILE: 1}, 2], "empty": {}},
        hashes={HOSTILE: HOSTILE},
        warnings=(HOSTILE,),
        tables={"hostile": HOSTILE},
    )


def comparison_facts(**changes: Any) -> ComparisonFacts:
    sides = tuple(
        Side(
            label=label,
            run=f"run-{label}",
            answer=f"answer {label} {HOSTILE}",
            size="quick",
            date="2026-01-02T03:04:05",
            command=f"robustray run {label}",
            link=link,
        )
        for label, link in (("A", "../../run-A/report.html"), ("B", None))
    )
    given: dict[str, Any] = {
        "study": "attack-sweep",
        "question": HOSTILE,
        "sides": sides,
        "kinds": ("setting", "code"),
        "differences": (Difference(kind="setting", name="num_steps", a="20", b=HOSTILE),),
        "command": "robustray compare run-A run-B",
        "date": "2026-01-03T03:04:05",
        "warnings": ("a warning of ours",),
    }
    return ComparisonFacts(**(given | changes))


class Reader(HTMLParser):
    """Text and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(re.sub(r"(<script>|<style>).*?(</script>|</style>)", r"\1\2", page, flags=re.DOTALL))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str, attribute: str) -> list[str]:
        return [attrs[attribute] or "" for name, attrs in self.tags if name == tag and attribute in attrs]
