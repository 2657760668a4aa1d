"""What the study of synthesis cannot use."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

from tests.cli.bad_input.case import Case, Prepare, both, data, file, folders, model, weights

RUN = "run synthesis --workers 0 "
PICTURE = RUN + "--image mine.png --task inpaint "


def picture(mode: str = "L", size: int = 8, name: str = "mine.png") -> Prepare:
    """A black picture."""
    pixels = np.zeros((size, size) if mode == "L" else (size, size, 3), np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return file(name, buffer.getvalue())


SYNTHESIS = [
    Case(name="synthesis: no such task", typed=RUN + "--task inpant", says=("'inpant'", "inpaint", "generate")),
    Case(name="synthesis: a ball of zero", typed=RUN + "--generate-eps 0", says=("generate_eps", "above 0")),
    Case(name="synthesis: no steps", typed=RUN + "--inpaint-steps 0", says=("inpaint_steps must be", "at least 1")),
    Case(name="synthesis: a hole as large as the image", typed=RUN + "--hole 8", says=("hole 8", "8x8", "smaller")),
    Case(name="synthesis: a factor that does not fit", typed=RUN + "--factor 3", says=("factor 3", "does not divide")),
    Case(
        name="synthesis: more of a class than there are",
        typed=RUN + "--per-class 300",
        says=("digits:test", "600 are needed", "per_class"),
    ),
    Case(name="synthesis: no such law", typed=RUN + "--laws class gray", says=("laws", "'gray'", "noise")),
    Case(
        name="synthesis: the judge is the generator",
        typed=RUN + "--num-seeds 1 --robust digits:mlp@w.safetensors --judge digits:mlp@w.safetensors",
        prepare=weights(),
        says=("judge digits:mlp@w.safetensors", "independent"),
    ),
    Case(
        name="synthesis: one judge twice",
        typed=RUN + "--judge digits:mlp@w.safetensors --robust-judge digits:mlp@w.safetensors",
        prepare=weights(),
        says=("both judges are the same network",),
    ),
    Case(
        name="synthesis: a generator without latents",
        typed=RUN + "--num-seeds 1 --standard own:build",
        prepare=model("return z"),
        says=("own:build with digits:test", "no latents"),
    ),
    Case(
        name="synthesis: a picture and nothing to do",
        typed=RUN + "--image mine.png",
        prepare=picture(),
        says=("mine.png", "--task inpaint"),
    ),
    Case(name="synthesis: no such picture", typed=PICTURE, says=("mine.png",)),
    Case(
        name="synthesis: a seed of squares that do not fit",
        typed=RUN + "--task generate --target 3 --seed-factor 3",
        says=("seed_factor 3", "does not divide", "8x8"),
    ),
    Case(
        name="synthesis: a seed of a class with a single training image",
        typed=RUN + "--task generate --target b --train-data own:data --test-data images --batch-size 4",
        prepare=both(
            folders("a", "b"),
            data("(np.zeros((6, 1, 8, 8), np.uint8), np.array([0] * 5 + [1]), ['a', 'b'])"),
        ),
        says=("own:data has 1 images of class 'b', 2 are needed", "--laws noise"),
    ),
    Case(
        name="synthesis: a picture for images that are not square",
        typed=PICTURE + "--test-data own:data",
        prepare=both(picture(), data("(np.zeros((20, 1, 8, 10), np.uint8), np.arange(20) % 10, list('0123456789'))")),
        says=("images of own:data are 8x10", "square"),
    ),
    Case(
        name="synthesis: a damaged picture",
        typed=PICTURE,
        prepare=file("mine.png"),
        says=("mine.png",),
    ),
    Case(
        name="synthesis: a picture in colour for grey data",
        typed=PICTURE,
        prepare=picture("RGB"),
        says=("mine.png is in colour", "digits:test"),
    ),
    Case(
        name="synthesis: no such class",
        typed=PICTURE + "--target three",
        prepare=picture(),
        says=("--target three", "no class of digits:test", "Known: 0, 1"),
    ),
    Case(
        name="synthesis: a hole above the picture",
        typed=PICTURE + "--hole-at -1 0 3",
        prepare=picture(),
        says=("hole_at: -1 0 3", "row and column are at least 0"),
    ),
    Case(
        name="synthesis: a hole outside the picture",
        typed=PICTURE + "--hole-at 6 6 3",
        prepare=picture(),
        says=("hole_at 6 6 3", "8x8"),
    ),
    Case(
        name="synthesis: a network for other images",
        typed=PICTURE + "--model small:s@w.safetensors",
        prepare=both(picture(), weights("small:s")),
        says=("small:s@w.safetensors with digits:test", "(2, 1, 8, 8)"),
    ),
    Case(
        name="synthesis: a network without a picture",
        typed=RUN + "--model digits:mlp@w.safetensors",
        prepare=weights(),
        says=("model goes with a picture", "--image"),
    ),
    Case(
        name="synthesis: a mask of another size",
        typed=PICTURE + "--mask mask.png",
        prepare=both(picture(), picture(size=9, name="mask.png")),
        says=("--mask mask.png has 9x9 pixels", "8x8"),
    ),
    Case(
        name="synthesis: a mask without a hole",
        typed=PICTURE + "--mask mask.png",
        prepare=both(picture(), picture(name="mask.png")),
        says=("--mask mask.png has no white pixel",),
    ),
    Case(
        name="synthesis: a mask where nothing is lost",
        typed=RUN + "--image mine.png --task translate --target 3 --mask mask.png",
        prepare=both(picture(), picture(name="mask.png")),
        says=("mask goes with --task inpaint",),
    ),
    Case(
        name="synthesis: no such coordinate",
        typed=RUN + "--image mine.png --task paint --unit 64 --model digits:mlp@w.safetensors",
        prepare=both(picture(), weights()),
        says=("--unit 64", "64 coordinates"),
    ),
    Case(
        name="synthesis: painting without latents",
        typed=RUN + "--image mine.png --task paint --model own:build",
        prepare=both(picture(), model("return z")),
        says=("own:build with digits:test", "no latents"),
    ),
    Case(
        name="synthesis: a translation to nothing",
        typed=RUN + "--image mine.png --task translate",
        prepare=picture(),
        says=("--task translate", "--target CLASS"),
    ),
    Case(
        name="synthesis: a class that a network of photographs does not have",
        typed=RUN + "--image mine.png --task translate --side 32 --model small:s@w.safetensors --target 10",
        prepare=both(picture("RGB", 40), weights("small:s")),
        says=("--target 10", "no class of small:s@w.safetensors", "Known: 0, 1"),
    ),
]
