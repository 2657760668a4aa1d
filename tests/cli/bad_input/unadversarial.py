"""What the study of unadversarial patches cannot use."""

from __future__ import annotations

from tests.cli.bad_input.case import Case, data, file, model

RUN = "run unadversarial --workers 0 "

UNADVERSARIAL = [
    Case(name="unadversarial: no such class", typed=RUN + "--classes stra", says=("'stra'", "did you mean 'star'")),
    Case(name="unadversarial: one class twice", typed=RUN + "--classes star star", says=("star", "twice")),
    Case(name="unadversarial: a patch larger than the image", typed=RUN + "--side 32", says=("side 32", "32x32")),
    Case(
        name="unadversarial: a patch larger than your own images",
        typed=RUN + "--models digits:mlp --data digits:test --side 9 --num-images 0",
        says=("side 9", "8x8"),
    ),
    Case(
        name="unadversarial: your own classifier does not exist",
        typed=RUN + "--models nowhere:build --data digits:test --side 4 --num-images 0",
        says=("nowhere",),
    ),
    Case(
        name="unadversarial: a classifier of other classes",
        typed=RUN + "--models digits:mlp --side 4",
        says=("--models digits:mlp", "scenes"),
    ),
    Case(
        name="unadversarial: one classifier twice",
        typed=RUN + "--models digits:mlp digits:mlp",
        says=("models", "twice"),
    ),
    Case(
        name="unadversarial: a training of frozen classifiers",
        typed=RUN + "--models digits:mlp --data digits:test --epochs 3",
        says=("--epochs does nothing", "frozen"),
    ),
    Case(
        name="unadversarial: a class of one image",
        typed=RUN + "--models own:build --data own:data --side 4 --num-images 0",
        prepare=data("(np.zeros((5, 1, 8, 8), np.uint8), np.array([0, 0, 1, 1, 2]), ['a', 'b', 'c'])"),
        says=("class 'c' has one image", "half"),
    ),
    Case(
        name="unadversarial: a gamut that is no profile",
        typed=RUN + "--gamut printer.icc",
        prepare=file("printer.icc", b"no profile"),
        says=("--gamut printer.icc", "ICC profile"),
    ),
    Case(name="unadversarial: a gamut that is not there", typed=RUN + "--gamut gone.icc", says=("gone.icc", "no such")),
    Case(
        name="unadversarial: a gamut for grey images",
        typed=RUN + "--models digits:mlp --data digits:test --side 4 --num-images 0 --gamut printer.icc",
        says=("--gamut", "grey"),
    ),
    Case(name="unadversarial: a poster of a mile", typed=RUN + "--print-mm 1.6e6", says=("print_mm", "2000 mm")),
    Case(name="unadversarial: more bleed than patch", typed=RUN + "--bleed-mm 40", says=("bleed_mm 40", "50 mm")),
    Case(
        name="unadversarial: a print that is not made",
        typed=RUN + "--print-mm 0 --print-dpi 600",
        says=("--print-dpi does nothing", "--print-mm 0"),
    ),
    Case(name="unadversarial: no such booster", typed=RUN + "--booster one-clas", says=("one-class",)),
    Case(
        name="unadversarial: more detailed images than images",
        typed=RUN + "--num-detailed 451",
        says=("num_detailed 451", "450"),
    ),
    Case(
        name="unadversarial: another side that is larger than the image",
        typed=RUN + "--other-sides 4 40",
        says=("side 40", "32x32"),
    ),
    Case(
        name="unadversarial: a rate at which nothing learns along",
        typed=RUN + "--joint-lr 0.1",
        says=("--joint-lr does nothing", "--joint"),
    ),
    Case(name="unadversarial: the same side again", typed=RUN + "--other-sides 10", says=("other_sides", "10")),
    Case(
        name="unadversarial: another classifier that is the same",
        typed=RUN + "--models digits:mlp --other-models digits:mlp",
        says=("other_models", "digits:mlp"),
    ),
    Case(name="unadversarial: no patch", typed=RUN + "--side 0", says=("side", "at least 1")),
    Case(name="unadversarial: no such corruption", typed=RUN + "--corruptions fgo", says=("corruptions", "'fgo'")),
    Case(
        name="unadversarial: a mean over nothing",
        typed=RUN + "--corruptions procedural-frost",
        says=("corruptions", "procedural-frost", "mean"),
    ),
    Case(name="unadversarial: severity 6", typed=RUN + "--severities 1 6", says=("severities", "got 6")),
    Case(name="unadversarial: turned too far", typed=RUN + "--rotation 200", says=("rotation", "180")),
    Case(
        name="unadversarial: scales in the wrong order",
        typed=RUN + "--smallest 1.2",
        says=("smallest and largest", "1.2 and 1.1"),
    ),
    Case(
        name="unadversarial: a batch larger than the class",
        typed=RUN + "--classes star --design-batch 401",
        says=("design_batch 401", "400 images of these classes", "smaller --design-batch"),
    ),
    Case(
        name="unadversarial: test images in training",
        typed=RUN + "--test-data scenes:train,rho=0.5",
        says=("--train-data scenes:train,rho=0.5", "the same images"),
    ),
    Case(
        name="unadversarial: images that are not square",
        typed=RUN + "--train-data own:data --test-data own:data2 --side 4 --num-images 0",
        prepare=data(
            "(np.zeros((64, 3, 16, 20), np.uint8), np.arange(64) % 2, ['a', 'b'])\n\n\ndef data2():\n"
            "    return (np.ones((64, 3, 16, 20), np.uint8), np.arange(64) % 2, ['a', 'b'])"
        ),
        says=("own:data", "16x20", "square"),
    ),
    Case(
        name="unadversarial: a classifier that passes no gradient to its images",
        typed=RUN + "--train-data digits:train --test-data digits:test --side 4 --num-images 0 --arch own:build",
        prepare=model("return self.layer(x.detach().flatten(1))"),
        says=("own:build with digits:train", "passes no gradient to its images"),
    ),
    Case(
        name="unadversarial: a mesh without UVs",
        typed=RUN + "--mesh my.obj --mesh-class disc",
        prepare=file("my.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"),
        says=("my.obj, line 4", "no texture coordinate", "UVs"),
    ),
    Case(
        name="unadversarial: a mesh with a degenerate triangle",
        typed=RUN + "--mesh my.obj --mesh-class disc",
        prepare=file("my.obj", b"v 0 0 0\nv 1 0 0\nv 2 0 0\nvt 0 0\nvt 1 0\nvt 0 1\nf 1/1 2/2 3/3\n"),
        says=("triangle 0 has no area",),
    ),
    Case(
        name="unadversarial: a mesh that is not there",
        typed=RUN + "--mesh gone.obj --mesh-class disc",
        says=("gone.obj", "No such file"),
    ),
    Case(
        name="unadversarial: a solid of a class that there is not",
        typed=RUN + "--task objects --solid-classes disc star ba",
        says=("solid_classes", "'ba'", "did you mean 'bar'"),
    ),
    Case(
        name="unadversarial: no OpenGL for the judge",
        typed=RUN + "--task objects",
        environment={"MUJOCO_GL": "vulkan"},
        says=("'vulkan': egl, osmesa or glfw", "--num-weather-views 0"),
    ),
    Case(
        name="unadversarial: no OpenGL for the landing",
        typed=RUN + "--task landing",
        environment={"MUJOCO_GL": "vulkan"},
        says=("'vulkan': egl, osmesa or glfw",),
    ),
    Case(
        name="unadversarial: a setting of patches for a landing",
        typed=RUN + "--task landing --side 8",
        says=("--side does nothing here", "--task landing"),
    ),
]
