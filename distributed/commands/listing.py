"""`robustray list`: what can be named."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated

from robustray.distributed.commands.parsing import Switch, as_typed, gather, optional, parse, typed_as
from robustray.tasks.study import STUDIES


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Studies, grids, models, data sources and attacks by name."""

    store: Annotated[str | None, optional("FOLDER")] = None
    """Also name the models that were trained in this store; ./runs if not given."""
    json: Switch = False
    """Print one JSON document."""


def main(argv: list[str]) -> int:
    """Print what can be named."""
    flags = parse(Flags, gather(argv, Flags), prog=f"{typed_as()} list", default=Flags())
    from robustray.distributed.tuning import grid_names
    from robustray.tasks.attacks.catalogue import ATTACKS
    from robustray.tasks.data.sources import FORMS, SOURCES
    from robustray.tasks.models import registry
    from robustray.tasks.sweeps.named import TRANSFER
    from robustray.tasks.training.recipes import RECIPES
    from robustray.tasks.training.reference_twins import TWINS

    own = "my_pkg.my_mod:function"
    listed = {
        "studies": {name: words for name, (_, words) in STUDIES.items()},
        "grids": {
            **grid_names(),
            own: "your own: called with a size, returns a Grid",
        },
        "models": {
            **{
                name: f"{entry.num_classes} classes, images {'x'.join(map(str, entry.input_shape))}"
                + ("; trains itself in seconds" if name in RECIPES else "; @WEIGHTS.safetensors")
                for name, entry in registry.MODELS.items()
            },
            **{form: f"{words}; @WEIGHTS.safetensors" for form, words in registry.FORMS.items()},
            **{name: "network S on CIFAR-10, published weights" for name in TWINS},
            **(_trained(flags.store or "runs") or {"run:KEY": "trained in a store; none there yet"}),
            own: "your own: returns a torch module from pixels in [0, 1] to logits; @WEIGHTS.safetensors may follow",
        },
        "data": {
            **{source.form: as_typed(source.about) for source in SOURCES.values()},
            **FORMS,
            own: "your own: returns ImageData, or (images, labels[, classes])",
        },
        "attacks": {
            **{name: (kind.__doc__ or "").strip().splitlines()[0] for name, kind in ATTACKS.items()},
            TRANSFER: "What fools other models (--sources), tried on each model.",
            own: "your own: called with norm and eps, returns a frozen dataclass called like PGD",
        },
    }
    if flags.json:
        print(json.dumps(listed, indent=1))
        return 0
    for kind, names in listed.items():
        print(f"{kind}:")
        width = max(map(len, names))
        for name, words in names.items():
            print(f"  {name:<{width}}  {words}")
        print()
    print(f"run one: {typed_as()} run {next(iter(STUDIES))} --size quick")
    return 0


def _trained(url: str) -> dict[str, str]:
    """Names of the models trained in a store, with what they are."""
    from robustray.tasks.lab import arrays
    from robustray.tasks.lab.store import Store
    from robustray.tasks.training.weights import FOLDER

    store = Store(url)
    found = {}
    for name in store.list(FOLDER):
        data = arrays.read(store, f"{FOLDER}/{name}")
        if data is not None:
            spec = arrays.about(data)["spec"]
            found[f"run:{name.partition('-')[0]}"] = (
                f"{spec['model']} trained on {spec['data']} (seed {spec['seed']}) in {store.url}"
            )
    return found
