"""What the study of transfer cannot use."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.cli.bad_input.case import Case, Prepare, both, file, folders, model, module, png

RUN = "run transfer --workers 0 --train-data digits:train --test-data digits:test --arch digits:cnn --per-class 10 "


def photos(*classes: str, count: int = 6, channels: int = 1, side: int = 12) -> Prepare:
    """`photos/CLASS/0.png ...`, random pixels."""

    def prepare(folder: Path) -> None:
        rng = np.random.default_rng(0)
        for name in classes:
            (folder / "photos" / name).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                shape = (side, side, 3) if channels == 3 else (side, side)
                (folder / "photos" / name / f"{number}.png").write_bytes(
                    png(rng.integers(0, 256, shape, dtype=np.uint8))
                )

    return prepare


NO_NINE = """
from robustray.tasks.data.images import ImageData

def data():
    labels = np.arange(36) % 9
    images = np.zeros((36, 1, 8, 8), np.uint8) + labels[:, None, None, None].astype(np.uint8)
    return ImageData(name="own", images=images, labels=labels, classes=tuple("0123456789"))
"""
"""Digits whose tenth class has no image."""

COLOUR = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(192, 16)
        self.head = nn.Linear(16, 10)

    def forward_with_latent(self, images, fake_relu=False):
        latent = self.layer(images.flatten(1))
        return self.head(latent), latent

    def forward(self, images):
        return self.forward_with_latent(images)[0]

def build():
    return Net()
"""

TRANSFER = [
    Case(
        name="transfer: networks that exist, without a target",
        typed="run transfer --workers 0 --sources twin:standard:0 twin:linf8:0",
        says=("--sources", "give --target"),
    ),
    Case(
        name="transfer: a network that exists and has no latents",
        typed="run transfer --workers 0 --sources own:build digits:cnn --target photos --image-side 8",
        prepare=both(photos("cat", "dog"), model("return z[:, :6]")),
        says=("--sources own:build with --target photos at 8 x 8 pixels",),
    ),
    Case(
        name="transfer: a network that exists, for grey images, beside one for colour",
        typed="run transfer --workers 0 --sources own:build digits:mlp --target photos --image-side 8",
        prepare=both(photos("cat", "dog", channels=3), module(COLOUR)),
        says=("--sources digits:mlp with --target photos at 8 x 8 pixels", "images have 3 channels, the model takes 1"),
    ),
    Case(
        name="transfer: trainings of networks that exist",
        typed="run transfer --workers 0 --sources digits:cnn digits:mlp --target photos --epochs 3",
        prepare=photos("cat", "dog"),
        says=("--epochs does nothing here", "trained already"),
    ),
    Case(name="transfer: no chains", typed=RUN + "--num-seeds 0", says=("num_seeds", "at least 1")),
    Case(
        name="transfer: all classes are the source's",
        typed=RUN + "--num-source-classes 10",
        says=("num_source_classes 10", "digits:train has 10 classes"),
    ),
    Case(name="transfer: no target", typed=RUN + "--num-source-classes 0", says=("leaves no class", "--target")),
    Case(
        name="transfer: a target of one class",
        typed=RUN + "--num-source-classes 9",
        says=("one class only", "--num-source-classes"),
    ),
    Case(
        name="transfer: one image of a class",
        typed=RUN.replace("--per-class 10", "--per-class 1"),
        says=("per_class 1", "two images"),
    ),
    Case(name="transfer: sizes that fall", typed=RUN + "--eps-train 0.5 0.25", says=("eps_train", "ascend")),
    Case(name="transfer: nothing held out", typed=RUN + "--held-out 0", says=("held_out", "(0, 1)")),
    Case(
        name="transfer: shrunk to what it is",
        typed=RUN + "--shrink 8",
        says=("shrink 8", "8 x 8 pixels", "fewer than 8"),
    ),
    Case(name="transfer: no such metric", typed=RUN + "--metric top-1", says=("metric", "top-1")),
    Case(
        name="transfer: mean per class over test images that lack a class",
        typed=RUN.replace("--test-data digits:test", "--test-data own:data") + "--metric per-class",
        prepare=module(NO_NINE),
        says=("own:data", "has no image of '9'"),
    ),
    Case(
        name="transfer: one number of images twice",
        typed=RUN + "--more-per-class 20 10",
        says=("per_class 10 and more_per_class", "twice"),
    ),
    Case(name="transfer: one more image of a class", typed=RUN + "--more-per-class 1", says=("more_per_class", "2")),
    Case(name="transfer: no draws", typed=RUN + "--num-draws 0", says=("num_draws", "at least 1")),
    Case(
        name="transfer: fine-tuned from a size that is not trained at",
        typed=RUN + "--eps-train 0.25 0.5 --tune-eps 0.1",
        says=("tune_eps 0.1", "--eps-train"),
    ),
    Case(
        name="transfer: what networks that exist have not learnt",
        typed="run transfer --workers 0 --sources digits:cnn digits:mlp --target others photos",
        says=("--target others", "not known"),
    ),
    Case(
        name="transfer: test images of one target of two",
        typed=RUN + "--target photos digits:train --target-test digits:test",
        prepare=photos("cat", "dog"),
        says=("--target-test", "one for each of --target photos digits:train"),
    ),
    Case(
        name="transfer: a target of the paper that is not there",
        typed=RUN + "--target pets --data-root .",
        says=("pets:train", "oxford-iiit-pet", "unpack"),
    ),
    Case(
        name="transfer: textures that can't be drawn",
        typed=RUN + "--target textures:train,size=3",
        says=("textures: size", "12"),
    ),
    Case(name="transfer: one rate twice", typed=RUN + "--tune-lrs 0.1 0.1", says=("tune_lrs", "twice")),
    Case(
        name="transfer: the size of an attack on networks that exist, for ones that are trained",
        typed=RUN + "--attack-eps 0.5",
        says=("--attack-eps does nothing here", "--probe-eps"),
    ),
    Case(
        name="transfer: steps of an attack that is not made",
        typed="run transfer --workers 0 --sources digits:cnn digits:mlp --target photos --probe-steps 3",
        prepare=photos("cat", "dog"),
        says=("--probe-steps does nothing here", "--attack-eps"),
    ),
    Case(
        name="transfer: tested on what was trained on",
        typed=RUN.replace("digits:test", "digits:train"),
        says=("--test-data digits:train", "the same images"),
    ),
    Case(
        name="transfer: a network without latents",
        typed=RUN + "--arch own:build",
        prepare=model("return z[:, :6]"),
        says=("own:build",),
    ),
    Case(name="transfer: a share of nothing", typed=RUN + "--test-share 0.2", says=("--test-share", "does nothing")),
    Case(name="transfer: no such folder", typed=RUN + "--target photso", says=("photso",)),
    Case(
        name="transfer: photographs in colour for grey sources",
        typed=RUN + "--target photos",
        prepare=photos("cat", "dog", channels=3),
        says=("--target photos has images of 3 channels", "digits:train of 1"),
    ),
    Case(
        name="transfer: photographs of one thing",
        typed=RUN + "--target photos",
        prepare=photos("cat"),
        says=("--target photos has one class only",),
    ),
    Case(
        name="transfer: one photograph of a class",
        typed=RUN + "--target images",
        prepare=folders("cat", "dog"),
        says=("--target images", "has 1 image, at least 2"),
    ),
    Case(
        name="transfer: an unreadable photograph among the others",
        typed=RUN + "--target photos",
        prepare=both(photos("cat", "dog"), file("photos/cat/7.png")),
        says=("7.png",),
    ),
    Case(
        name="transfer: tested on the photographs that were learnt",
        typed=RUN + "--target photos --target-test photos",
        prepare=photos("cat", "dog"),
        says=("--target-test photos", "the same images"),
    ),
    Case(
        name="transfer: test photographs of other things",
        typed=RUN + "--target photos --target-test images",
        prepare=both(photos("cat", "dog", side=8), folders("cat", "cow")),
        says=("--target-test images", "classes"),
    ),
]
