"""What the study of representations cannot use."""

from __future__ import annotations

from tests.cli.bad_input.case import Case, both, data, folders, model, weights

RUN = "run representations --workers 0 "
GIVEN = RUN + "--num-seeds 1 "

REPRESENTATIONS = [
    Case(name="representations: eps of zero", typed=RUN + "--eps 0", says=("eps 0", "standard one")),
    Case(
        name="representations: no such start",
        typed=RUN + "--starts noise grey",
        says=("starts", "'grey'", "noise", "image"),
    ),
    Case(
        name="representations: more targets than images",
        typed=RUN + "--num-targets 356",
        says=("num_targets 356", "digits:test has 355"),
    ),
    Case(
        name="representations: a twin without its seeds",
        typed=RUN + "--robust digits:mlp@w.safetensors",
        prepare=weights(),
        says=("robust: 1 networks for num_seeds 3",),
    ),
    Case(
        name="representations: the judge is judged",
        typed=GIVEN + "--robust digits:mlp@w.safetensors --judge digits:mlp@w.safetensors",
        prepare=weights(),
        says=("judge digits:mlp@w.safetensors", "independent"),
    ),
    Case(
        name="representations: the judge is judged under another name",
        typed=GIVEN + "--standard digits:mlp@w.safetensors --judge digits:mlp@copy.safetensors",
        prepare=both(weights(), weights(file="copy.safetensors")),
        says=("digits:mlp@copy.safetensors", "has the same weights", "another architecture or seed"),
    ),
    Case(
        name="representations: no latents",
        typed=GIVEN + "--robust own:build",
        prepare=model("return z"),
        says=("own:build with digits:test", "no latents", "forward_with_latent"),
    ),
    Case(
        name="representations: a network for other images",
        typed=GIVEN + "--robust small:s@w.safetensors",
        prepare=weights("small:s"),
        says=("small:s@w.safetensors with digits:test", "(2, 1, 8, 8)"),
    ),
    Case(
        name="representations: one image for training and test",
        typed=RUN + "--train-data digits:test",
        says=("--train-data digits:test", "--test-data digits:test", "the same images"),
    ),
    Case(
        name="representations: a class with a single image",
        typed=RUN + "--train-data own:data --test-data images --num-targets 1 --top-images 1 --batch-size 4",
        prepare=both(
            folders("a", "b"),
            data("(np.arange(256, dtype=np.uint8).reshape(4, 1, 8, 8), np.array([0, 0, 1, 1]), ['a', 'b'])"),
        ),
        says=("images", "single image of class 'a'"),
    ),
    Case(
        name="representations: a batch larger than the training set",
        typed=RUN + "--batch-size 2000",
        says=("batch_size", "2000"),
    ),
    Case(
        name="representations: sizes of balls that fall",
        typed=RUN + "--match-eps 0.5 0.1",
        says=("match_eps", "ascend"),
    ),
    Case(
        name="representations: answers of nobody",
        typed=RUN + "--people answers.parquet",
        says=("answers.parquet", "how many people chose each class"),
    ),
    Case(
        name="representations: latents that raise",
        typed="run representations --workers 0 --num-seeds 1 --standard own:build --robust digits:mlp",
        prepare=model(
            "return z\n    def forward_with_latent(self, x, fake_relu=False):\n        raise KeyError('oops')"
        ),
        says=("own:build with digits:test", "must return logits and latents", "KeyError", "oops"),
    ),
]
