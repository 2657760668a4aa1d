"""What the study of unadversarial patches cannot use."""

from __future__ import annotations

from tests.cli.bad_input.case import Case, data, model

RUN = "run unadversarial --workers 0 "

UNADVERSARIAL = [
    Case(name="unadversarial: no such class", typed=RUN + "--classes stra", says=("'stra'", "did you mean 'star'")),
    Case(name="unadversarial: one class twice", typed=RUN + "--classes star star", says=("star", "twice")),
    Case(name="unadversarial: a patch larger than the image", typed=RUN + "--side 32", says=("side 32", "32x32")),
    Case(name="unadversarial: no patch", typed=RUN + "--side 0", says=("side", "at least 1")),
    Case(name="unadversarial: no such corruption", typed=RUN + "--corruptions fgo", says=("corruptions", "'fgo'")),
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
        says=("design_batch 401", "400 images of these classes"),
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
        typed=RUN + "--train-data digits:train --test-data digits:test --side 4 --num-images 0 --model own:build",
        prepare=model("return self.layer(x.detach().flatten(1))"),
        says=("own:build with digits:train", "passes no gradient to its images"),
    ),
]
