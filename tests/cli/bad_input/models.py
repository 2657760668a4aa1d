"""Models, weights and attacks that cannot be used."""

from __future__ import annotations

from tests.cli.bad_input.case import (
    EIGHT,
    RUN,
    Case,
    attack,
    data,
    model,
    module,
    not_finite,
    pickled,
    weights,
)

MODELS = [
    Case(
        name="weights for a model that has none",
        typed=RUN + "--model cifar:resnet18 --data digits:test",
        says=("cifar:resnet18 has no weights", "robustray import weights"),
    ),
    Case(
        name="missing weights",
        typed=RUN + "--model digits:mlp@w.safetensors",
        says=("w.safetensors", "missing"),
    ),
    Case(
        name="truncated weights",
        typed=RUN + "--model digits:mlp@w.safetensors",
        prepare=weights(spoil=lambda data: data[:-10]),
        says=("w.safetensors", "truncated"),
    ),
    Case(
        name="a spoilt header of weights",
        typed=RUN + "--model digits:mlp@w.safetensors",
        prepare=weights(spoil=lambda data: data[:9] + b"\xff" + data[10:]),
        says=("w.safetensors", "no whole safetensors file"),
    ),
    Case(
        name="weights with NaN",
        typed=RUN + "--model digits:mlp@w.safetensors",
        prepare=not_finite,
        says=("w.safetensors", "head.weight", "NaN"),
    ),
    Case(
        name="weights of another architecture",
        typed=RUN + "--model digits:mlp@w.safetensors",
        prepare=weights("digits:cnn"),
        says=("w.safetensors does not fit digits:mlp", "hidden1"),
    ),
    Case(
        name="pickled weights",
        typed=RUN + "--model digits:mlp@w.pt",
        prepare=pickled,
        says=("w.pt", "never loaded", "robustray import weights w.pt"),
    ),
    Case(
        name="a weights file in place of a model",
        typed=RUN + "--model ./w.safetensors",
        prepare=weights(),
        says=("w.safetensors", "no architecture", "cifar:resnet20@"),
    ),
    Case(
        name="a model for three channels on grey images",
        typed=RUN + "--model small:s@w.safetensors",
        prepare=weights("small:s"),
        says=("--model small:s@w.safetensors with --data digits:test", "1 channels, the model takes 3"),
    ),
    Case(
        name="a self-training model on other images",
        typed=RUN + "--model digits:mlp --data own:data",
        prepare=data("np.zeros((10, 3, 32, 32), np.uint8), np.arange(10)"),
        says=("--model digits:mlp with --data own:data", "(10, 3, 32, 32)"),
    ),
    Case(
        name="a self-training model on other classes",
        typed=RUN + "--model digits:cnn --data own:data",
        prepare=data(f"{EIGHT}, np.arange(4)"),
        says=("--model digits:cnn", "10 outputs", "4 classes"),
    ),
    Case(
        name="a model that returns probabilities",
        typed=RUN + "--model own:build",
        prepare=model("return z.softmax(1)"),
        says=("own:build", "probabilities", "softmax"),
    ),
    Case(
        name="a model that returns NaN",
        typed=RUN + "--model own:build",
        prepare=model("return z * float('nan')"),
        says=("own:build", "NaN"),
    ),
    Case(
        name="a model that returns another shape",
        typed=RUN + "--model own:build",
        prepare=model("return z[:, None]"),
        says=("own:build", "(32, 1, 10)", "(32, 10)"),
    ),
    Case(
        name="a model with other classes",
        typed=RUN + "--model own:build",
        prepare=model("return z[:, :7]"),
        says=("own:build", "7 outputs", "10 classes"),
    ),
    Case(
        name="a model that returns a tuple",
        typed=RUN + "--model own:build",
        prepare=model("return z, x"),
        says=("own:build", "tuple", "logits"),
    ),
    Case(
        name="a model that raises",
        typed=RUN + "--model own:build",
        prepare=model("raise ValueError('no such\\nluck')"),
        says=("own:build", "ValueError: no such", "own.py:"),
    ),
    Case(
        name="a model that is never the same",
        typed=RUN + "--model own:build",
        prepare=model("return z + torch.rand_like(z)"),
        says=("own:build", "other logits", "dropout", "--model own:build --attack autoattack-rand"),
    ),
    Case(
        name="a model that passes no gradient",
        typed=RUN + "--model own:build",
        prepare=model("return torch.tensor((z * 8).tolist()) + 0 * self.layer.weight.sum()"),
        says=("own:build", "passes no gradient", "square"),
    ),
    Case(
        name="a model that computes over the batch",
        typed=RUN + "--model own:build",
        prepare=model("return z - z.mean(0)"),
        says=("own:build", "other logits when the rest of its batch changes", "over the batch"),
    ),
    Case(
        name="a model with one output",
        typed=RUN + "--model own:build",
        prepare=model("return z[:, :1]"),
        says=("own:build", "one output", "two classes"),
    ),
    Case(name="no such module", typed=RUN + "--model nowhere:build", says=("'nowhere'", "no module")),
    Case(
        name="no such function",
        typed=RUN + "--model own:biuld",
        prepare=model("return z"),
        says=("own has no function 'biuld'", "did you mean 'build'"),
    ),
    Case(
        name="a module that raises",
        typed=RUN + "--model own:build",
        prepare=module("1 / 0"),
        says=("own:build", "importing own fails", "ZeroDivisionError", "own.py:4"),
    ),
    Case(
        name="a module that is a script",
        typed=RUN + "--model own:build",
        prepare=module("raise SystemExit(0)"),
        says=("own:build", "importing own fails", "SystemExit"),
    ),
    Case(
        name="a module that is no Python",
        typed=RUN + "--data own:data",
        prepare=module("def data(:\n"),
        says=("own:data", "SyntaxError"),
    ),
    Case(
        name="a function that wants arguments",
        typed=RUN + "--model own:build",
        prepare=module("def build(width):\n    return nn.Linear(width, 10)\n"),
        says=("own:build needs 'width'",),
    ),
    Case(
        name="a function that raises",
        typed=RUN + "--model own:build",
        prepare=module("def build():\n    raise KeyError('width')\n"),
        says=("own:build raised KeyError", "own.py:5"),
    ),
    Case(
        name="a model of no kind",
        typed=RUN + "--model own:build",
        prepare=module("def build():\n    return lambda x: x\n"),
        says=("own:build returned function", "torch.nn.Module"),
    ),
]

ATTACKS = [
    Case(name="no such attack module", typed=RUN + "--attack nowhere:attack", says=("'nowhere'", "no module")),
    Case(
        name="an attack of no kind",
        typed=RUN + "--attack own:attack",
        prepare=attack("def attack(norm, eps):\n    return 'junk'"),
        says=("--attack own:attack", "frozen dataclass", "'junk'"),
    ),
    Case(
        name="an attack that takes nothing",
        typed=RUN + "--attack own:attack",
        prepare=attack("def attack():\n    return FGSM(norm='linf', eps=0.1)"),
        says=("--attack own:attack", "norm='linf'", "TypeError"),
    ),
    Case(
        name="an attack of its own size",
        typed=RUN + "--attack own:attack",
        prepare=attack("def attack(norm, eps):\n    return FGSM(norm=norm, eps=0.5)"),
        says=("--attack own:attack", "asked for", "eps=0.05"),
    ),
    Case(
        name="an attack that can change",
        typed=RUN + "--attack own:Attack",
        prepare=attack("@dataclass\nclass Attack:\n    norm: str\n    eps: float\n    def __call__(self): ..."),
        says=("--attack own:Attack", "frozen"),
    ),
    Case(
        name="an attack that holds a tensor",
        typed=RUN + "--attack own:Attack",
        prepare=attack(
            "@dataclass(frozen=True)\nclass Attack:\n    norm: str\n    eps: float\n    noise: Any = torch.zeros(2)\n"
            "    def __call__(self): ..."
        ),
        says=("--attack own:Attack", "Tensor", "fields"),
    ),
]
