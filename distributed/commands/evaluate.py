"""`robustray evaluate MODEL`: how accurate a model is under attacks and common corruptions, in this process."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Annotated, Literal

from robustray.distributed.commands.parsing import (
    Switch,
    again,
    as_typed,
    gather,
    optional,
    parse,
    split_names,
    typed_as,
)
from robustray.distributed.commands.run import data_root, open_store, print_document
from robustray.tasks.corruptions.settings import Corrupting
from robustray.tasks.errors import InputError
from robustray.tasks.kit import checks
from robustray.tasks.study import refuse_idle


@dataclass(frozen=True, kw_only=True)
class Flags(Corrupting):
    """Accuracy of one model on one data set: as the images are, under attacks, and under common corruptions.

    MODEL is what --model of attack-sweep takes: digits:mlp, cifar:resnet20, my_pkg.my_mod:function@w.safetensors.
    Interrupted, the same command goes on from the last finished block of images. Many models, or Ray: attack-sweep,
    with the same --corruptions."""

    data: Annotated[str | None, optional("NAME")] = None
    """Images: digits:test, cifar10:test, ./photos,size=224, or my_pkg.my_mod:function."""
    attacks: tuple[str, ...] = ()
    """Attacks of `robustray list`, such as pgd and autoattack; none if not given."""
    norm: Literal["linf", "l2"] = "linf"
    """Norm that bounds the perturbations of attacks."""
    eps: tuple[float, ...] = ()
    """Sizes of the perturbations: 8/255."""
    num_images: int = 0
    """Images, from the first one on; 0 means all."""
    seed: int = 0
    """Seed of the noise, which depends on it and on the image's place."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """cuda is a demand: an error where there is none."""
    store: Annotated[str | None, optional("FOLDER")] = None
    """Folder or URL; ./runs if not given. Finished blocks go there, and the page into its folder evaluations."""
    data_root: Annotated[str | None, optional("FOLDER")] = None
    """Folder of real data sets and weights; ROBUSTRAY_DATA if not given."""
    json: Switch = False
    """Print one JSON document, and everything else on stderr."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.counts(num_images=self.num_images, seed=self.seed)

    def idle(self) -> dict[str, str]:
        """Fields that do nothing beside the others, and why."""
        unused = super().idle()
        return unused if self.attacks else unused | dict.fromkeys(("eps", "norm"), "no attack is named")


def main(argv: list[str]) -> int:
    """Evaluate one model."""
    names, words = split_names(argv, Flags)
    flags = parse(Flags, gather(words, Flags), prog=f"{typed_as()} evaluate MODEL", default=Flags())
    if len(names) != 1 or flags.data is None:
        raise InputError(
            f"evaluate needs the name of one model, and its images: `{again('evaluate digits:mlp')} --data digits:test "
            f"--corruptions all`; got {len(names)} model(s)" + " and no --data" * (flags.data is None)
        )
    if not flags.attacks and not flags.corruptions:
        raise InputError("evaluate under what? name --corruptions all, or --attacks pgd --eps 8/255, or both")
    if flags.attacks and not flags.eps:
        raise InputError(f"--attacks {' '.join(flags.attacks)} needs --eps: 8/255")
    refuse_idle(flags, Flags())
    from robustray.tasks.data.reference import open_data
    from robustray.tasks.evaluation.evaluate import evaluate
    from robustray.tasks.evaluation.page import write_page

    store, root = open_store(flags.store, None), data_root(flags.data_root)
    try:
        found = evaluate(
            names[0],
            flags.data,
            flags.attacks,
            corruptions=flags.corruptions,
            severities=flags.severities,
            table=flags.table,
            norm=flags.norm,
            eps=flags.eps or None,
            seed=flags.seed,
            num_images=flags.num_images,
            device=flags.device,
            data_root=root,
            store=store.url,
        )
        command = f"{typed_as()} evaluate {shlex.join(argv)}"
        written = write_page(found, open_data(flags.data, data_root=root), flags, store, command=command)
    except InputError as error:
        raise InputError(as_typed(str(error), flags.store)) from error
    if flags.json:
        print_document(written.document)
        return 0
    print(found)
    print(f"\nreport {written.page}")
    return 0
