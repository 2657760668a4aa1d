"""What the study of features cannot use."""

from __future__ import annotations

from tests.cli.bad_input.case import Case, both, data, file, folders, model

RUN = "run features --workers 0 "

FEATURES = [
    Case(name="features: no chains", typed=RUN + "--num-chains 0", says=("num_chains", "at least 1")),
    Case(name="features: all held out", typed=RUN + "--held-out 1", says=("held_out", "share in (0, 1)")),
    Case(name="features: too few held out", typed=RUN + "--held-out 0.001", says=("digits:train", "too few")),
    Case(
        name="features: sizes that do not ascend",
        typed=RUN + "--eps-construct 1 0.5",
        says=("eps_construct", "ascend"),
    ),
    Case(
        name="features: claims at a size without an attack",
        typed=RUN + "--eps-test 0.2",
        says=("eps_reference 0.4", "eps_test"),
    ),
    Case(name="features: one rate twice", typed=RUN + "--student-lrs 0.1 0.1", says=("student_lrs", "twice")),
    Case(name="features: no success asked for", typed=RUN + "--least-success 0", says=("least_success", "(0, 1]")),
    Case(
        name="features: sets in the place of a file",
        typed=RUN + "--build notes/sets",
        prepare=file("notes"),
        says=("--build notes/sets", "notes is a file; give a folder"),
    ),
    Case(
        name="features: no such augmentation",
        typed=RUN + "--student-augmentations crop",
        says=("'crop'", "crop-flip"),
    ),
    Case(
        name="features: test images in the sets",
        typed=RUN + "--test-data digits:train",
        says=("--train-data digits:train", "the same images"),
    ),
    Case(
        name="features: two classes",
        typed=RUN + "--train-data own:data --test-data images",
        prepare=both(folders("a", "b"), data("(np.zeros((64, 1, 8, 8), np.uint8), np.arange(64) % 2, ['a', 'b'])")),
        says=("own:data has 2 classes", "at least 3"),
    ),
    Case(
        name="features: a set at a size of 0", typed=RUN + "--eps-construct 0 0.5", says=("eps_construct", "positive")
    ),
    Case(name="features: units at a size of 0", typed=RUN + "--eps-units 0", says=("eps_units", "above 0")),
    Case(
        name="features: students that no set is built for",
        typed=RUN + "--build sets --student-epochs 3",
        says=("--student-epochs does nothing", "--build trains no students"),
    ),
    Case(
        name="features: a figure of three architectures",
        typed=RUN + "--transfer-archs digits:mlp digits:cnn small:s",
        says=("transfer_archs", "at least 5", "digits:mlp"),
    ),
    Case(
        name="features: more images under the stronger attack than there are",
        typed=RUN + "--num-fast 400",
        says=("num_fast 400", "355"),
    ),
    Case(
        name="features: more images than there are", typed=RUN + "--num-images 2000", says=("num_images 2000", "1442")
    ),
    Case(
        name="features: data without a test part",
        typed=RUN + "--train-data ./images/train --test-data ./images/test",
        prepare=folders("train/a", "train/b", "train/c"),
        says=("there is no file or folder ./images/test",),
    ),
    Case(
        name="features: other labels in the test data",
        typed=RUN + "--test-data own:data",
        prepare=data("(np.zeros((64, 1, 8, 8), np.uint8), np.arange(64) % 10, list('1234567890'))"),
        says=("--test-data own:data", "the same classes"),
    ),
    Case(
        name="features: latents without the argument for gradients past a ReLU",
        typed=RUN + "--model own:build",
        prepare=model("return z\n    def forward_with_latent(self, x):\n        return self.forward(x), x.flatten(1)"),
        says=("own:build", "fake_relu"),
    ),
    Case(
        name="features: latents without logits",
        typed=RUN + "--model own:build",
        prepare=model("return z\n    def forward_with_latent(self, x, fake_relu=False):\n        return x.flatten(1)"),
        says=("own:build", "must return logits and latents"),
    ),
    Case(
        name="features: a source without latents",
        typed=RUN + "--model own:build",
        prepare=model("return z"),
        says=("forward_with_latent",),
    ),
    Case(
        name="features: a source that lacks the last class, towards which D_det is perturbed",
        typed=RUN + "--model own:build",
        prepare=model("return z[:, :9]"),
        says=("own:build", "the model has 9 outputs, the data 10 classes"),
    ),
    Case(
        name="features: images outside [0, 1]",
        typed=RUN + "--train-data own:data",
        prepare=data("(np.full((64, 1, 8, 8), 1.5, np.float32), np.arange(64) % 10, list('0123456789'))"),
        says=("own:data", "[0, 1]"),
    ),
    Case(name="features: no steps", typed=RUN + "--match-steps 0", says=("match_steps must be",)),
]
