"""`robustray audit MODEL --data NAME`: what speaks against a robust accuracy of a model, before it is measured."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Annotated, Literal

from robustray.distributed.commands.parsing import Switch, as_typed, gather, optional, parse, split_names, typed_as
from robustray.distributed.commands.run import data_root, open_store, print_document
from robustray.tasks.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Look for what makes attacks fail on a model without making it robust: gradients that are zero, wrong or stopped,
    logits that are saturated or go in steps, randomness, images that depend on their batch, attacks that behave oddly.

    MODEL is what --model takes: digits:mlp, small:s@weights.safetensors, my_mod:build. Every check has a figure and a
    rule; where one is broken the command says why a robust accuracy by gradients is no evidence, in which layer, and
    which attack helps, and ends with exit code 1. Examples:

      robustray audit digits:mlp --data digits:test --eps 0.1

      robustray audit my_mod:build --data cifar10:test --norm l2 --eps 0.5 --json

    Exit codes: 0 nothing speaks against it, 1 something does, 2 bad input."""

    data: Annotated[str, optional("NAME")] = "digits:test"
    """Images: digits:test, cifar10:test, a folder of class folders, my_pkg.my_mod:function. Labels are not needed."""
    norm: Literal["linf", "l2"] = "linf"
    """Norm that bounds the perturbation."""
    eps: float = 8 / 255
    """Its size, pixels in [0, 1]; fractions such as 8/255 can be written."""
    num_images: int = 32
    """Images that are looked at, the first ones."""
    surrogate: Annotated[str | None, optional("NAME")] = None
    """Another model, whose adversarial examples are tried on this one."""
    seed: int = 0
    """Seed of all random draws."""
    store: Annotated[str | None, optional("FOLDER")] = None
    """Folder or URL; ./runs if not given. The page goes into its folder audits."""
    data_root: Annotated[str | None, optional("FOLDER")] = None
    """Folder of real data sets and weights; ROBUSTRAY_DATA if not given."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs; auto takes a GPU where there is one."""
    json: Switch = False
    """Print one JSON document."""


def main(argv: list[str]) -> int:
    """Audit one model. Exit code 1 if something speaks against its robust accuracies."""
    names, words = split_names(argv, Flags)
    flags = parse(Flags, gather(words, Flags), prog=f"{typed_as()} audit MODEL", default=Flags())
    if len(names) != 1:
        raise InputError(f"audit needs one model, got {len(names)}: audit digits:mlp --data digits:test --eps 0.1")
    from robustray.tasks.audit.door import audit
    from robustray.tasks.audit.page import write_page

    store = open_store(flags.store, None)
    try:
        found = audit(
            names[0],
            flags.data,
            norm=flags.norm,
            eps=flags.eps,
            seed=flags.seed,
            num_images=flags.num_images,
            surrogate=flags.surrogate,
            device=flags.device,
            data_root=data_root(flags.data_root),
            store=store.url,
        )
    except InputError as error:
        raise InputError(as_typed(str(error), flags.store)) from error
    page, tables = write_page(found, store, command=f"{typed_as()} audit {shlex.join(argv)}")
    if flags.json:
        print_document({**found.document, "report": page, "tables": tables})
    else:
        print(f"{found.answer}\n\n{found!r}\n\nreport  {page}")
    return 0 if found.passed else 1
