"""Make the golden arrays with the original implementation: `python tests/golden/make.py CHECKOUT`.

CHECKOUT is a clone of github.com/MadryLab/implementation-matters at commit 5ee6ecb. Its step and agent code is imported
as it is; patched at run time are only the random numbers (ours), a function that torch has renamed, and packages that
the steps don't use. Nothing of it is copied: what is written are float64 arrays.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import subprocess
import sys
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from robustray.tasks.policy_gradients.mlp import Layout
from tests.golden import cases

HERE = Path(__file__).resolve().parent


class Anything(types.ModuleType):
    """Stands for a package that the original imports and these functions never touch."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything


def original(checkout: Path) -> Any:
    """The modules of the original, importable with today's torch."""
    sys.path.insert(0, str(checkout / "src"))
    unused = ("dill", "gym", "gym.spaces", "gym.spaces.discrete", "gym.spaces.box", "cox", "cox.store", "tqdm")
    sys.modules.update({name: Anything(name) for name in unused})
    utils: Any = torch.nn.utils
    utils.clip_grad_norm = utils.clip_grad_norm_
    torch.set_default_dtype(torch.float64)
    names = ("steps", "models", "torch_utils", "agent")
    modules = {name: importlib.import_module(f"policy_gradients.{name}") for name in names}
    for name in unused:
        del sys.modules[name]
    return SimpleNamespace(**modules)


def with_random(rng: np.random.Generator) -> Any:
    """Shuffles and choices of the original are those of a generator of ours."""

    def shuffle(indices: Any) -> None:
        indices[:] = rng.permutation(len(indices))

    def choice(rows: Any, size: int, replace: bool) -> Any:
        return rng.choice(len(rows), size=size, replace=replace)

    np.random.shuffle = shuffle  # type: ignore[assignment]
    np.random.choice = choice  # type: ignore[assignment]


def load(network: Any, layers: list[Any], layout: Layout, flat: Any) -> None:
    with torch.no_grad():
        for layer, (weights, biases) in zip(layers, layout.layers(flat), strict=True):
            layer.weight.copy_(torch.from_numpy(weights))
            layer.bias.copy_(torch.from_numpy(biases))
        if layout.extra:
            network.log_stdev.copy_(torch.from_numpy(layout.free(flat)))


def flat_of(network: Any, layers: list[Any], layout: Layout) -> Any:
    parts = [part.detach().numpy().reshape(-1) for layer in layers for part in (layer.weight, layer.bias)]
    return np.concatenate(parts + ([network.log_stdev.detach().numpy()] if layout.extra else []))


def make(checkout: Path) -> dict[str, Any]:
    code, batch = original(checkout), cases.steps()
    tensors = {name: torch.from_numpy(np.asarray(value)) for name, value in batch.items()}
    not_done = (~tensors["done"]).to(torch.float64)
    found: dict[str, Any] = {}

    one = {name: tensors[name][None] for name in ("rewards", "values")}
    agent = SimpleNamespace(GAMMA=cases.DISCOUNT, LAMBDA=cases.LAMBDA)
    advantages, returns = code.agent.Trainer.advantage_and_return(agent, one["rewards"], one["values"], not_done[None])
    found["advantages"], found["returns"] = advantages[0].numpy(), returns[0].numpy()

    def policy() -> tuple[Any, list[Any]]:
        network = code.models.CtsPolicy(cases.NUM_INPUTS, cases.NUM_ACTIONS, "orthogonal", cases.HIDDEN)
        layers = [*network.affine_layers, network.final_mean]
        load(network, layers, cases.POLICY, batch["policy"])
        return network, layers

    def parameters(**more: Any) -> Any:
        common = {
            "share_weights": False,
            "value_calc": "gae",
            "num_minibatches": cases.NUM_MINIBATCHES,
            "val_epochs": cases.EPOCHS,
            "ppo_epochs": cases.EPOCHS,
            "should_log_kl": False,
        }
        return code.torch_utils.Parameters({**common, **more})

    for name, clipping in (("value", False), ("value-clipped", True)):
        network = code.models.ValueDenseNet(cases.NUM_INPUTS, "orthogonal", cases.HIDDEN)
        layers = [*network.affine_layers, network.final]
        load(network, layers, cases.VALUE, batch["value"])
        with_random(np.random.default_rng(1))
        adam = torch.optim.Adam(network.parameters(), **cases.ADAM)
        options = parameters(value_clipping=clipping, clip_val_eps=0.2)
        code.steps.value_step(
            tensors["observations"], returns[0], advantages[0], not_done, network, adam, options, None
        )
        found[name] = flat_of(network, layers, cases.VALUE)

    rows = (tensors["observations"], tensors["actions"], tensors["log_probs"], tensors["rewards"], returns[0], not_done)
    for name, case in cases.PPO.items():
        network, layers = policy()
        with_random(np.random.default_rng(2))
        options = parameters(
            clip_eps=1e32 if case["clip"] is None else case["clip"],
            entropy_coeff=case["entropy_bonus"],
            clip_grad_norm=-1 if case["gradient_clip"] is None else case["gradient_clip"],
            policy_adam=torch.optim.Adam(network.parameters(), **cases.ADAM),
        )
        code.steps.ppo_step(*rows, advantages[0], network, options, None, None)
        found[name] = flat_of(network, layers, cases.POLICY)

    for name, case in cases.TRPO.items():
        network, layers = policy()
        with_random(np.random.default_rng(3))
        options = parameters(
            fisher_frac_samples=cases.FISHER_SHARE,
            damping=cases.DAMPING,
            cg_steps=cases.CG_STEPS,
            max_kl=case["max_kl"],
            max_backtrack=case["tries"],
        )
        with contextlib.redirect_stdout(io.StringIO()) as said:
            code.steps.trpo_step(*rows, advantages[0], network, options, None, None)
        found[name] = flat_of(network, layers, cases.POLICY)
        print(f"{name}: accepted {said.getvalue().strip() or 'nothing'}")

    observations, rewards = cases.stream()
    utils = code.torch_utils
    identity = utils.Identity()
    filters = {
        "filtered-observations": utils.ZFilter(identity, shape=[cases.NUM_INPUTS], clip=cases.CLIP),
        "rewards-returns": utils.RewardFilter(identity, shape=(), gamma=cases.DISCOUNT, clip=cases.CLIP),
        "rewards-rewards": utils.ZFilter(identity, shape=(), center=False, clip=cases.CLIP),
        "rewards-none": identity,
    }
    for name, each in filters.items():
        values = []
        for t, value in enumerate(observations if name == "filtered-observations" else rewards):
            if t in cases.RESET_AT:
                each.reset()
            values.append(np.asarray(each(value)))
        found[name] = np.asarray(values)
    return found


if __name__ == "__main__":
    where = Path(sys.argv[1])
    command = ["git", "-C", str(where), "rev-parse", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    arrays = make(where)
    written: dict[str, Any] = {name: np.asarray(array, np.float64) for name, array in arrays.items()}
    np.savez_compressed(HERE / "policy_gradients.npz", **written)
    about = {"repository": "github.com/MadryLab/implementation-matters", "commit": commit, "torch": torch.__version__}
    (HERE / "policy_gradients.json").write_text(json.dumps(about, indent=1) + "\n")
