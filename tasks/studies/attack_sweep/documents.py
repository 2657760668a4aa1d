"""Files for others: one record per model where AutoAttack ran."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from robustray.tasks.kit.frames import at
from robustray.tasks.statistics import proportion
from robustray.tasks.studies.attack_sweep.results import Results
from robustray.tasks.study import Document
from robustray.tasks.sweeps.leaderboard import record


def documents(results: Results) -> Iterator[Document]:
    """At the size at which the page answers; nothing without the full AutoAttack."""
    settings = results.settings
    if not results.by_autoattack:
        return
    for data, model, norm in itertools.product(settings.data, settings.models, settings.norms):
        eps = results.reference[norm]
        rows = at(results.headline, data=data, model=model, norm=norm, eps=eps)
        clean = results.clean[data, model].set_index("index").correct
        yield record(
            model=model,
            data=data,
            norm=norm,
            eps=eps,
            clean=proportion(clean.reindex(rows["index"]).to_numpy(dtype=bool)),
            autoattack=proportion(~rows.success.to_numpy(dtype=bool)),
            num_data=len(results.images[data]),
            hashes={"model": results.hashes[f"model {model}"], "data": results.hashes[f"data {data}"]},
            seed=settings.seed,
        )
