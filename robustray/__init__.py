"""robustray: the experiments of adversarial robustness research on one laptop or on a Ray cluster.

The code lives in the top-level folders `tasks/`, `distributed/` and `tune_configs/`; this package is the one name
under which it is imported. Importing it starts nothing and loads neither torch nor Ray.
"""

from pathlib import Path as _Path
from typing import TYPE_CHECKING as _TYPE_CHECKING

if _TYPE_CHECKING:
    from robustray.distributed.api import run as run
    from robustray.tasks.audit.door import audit as audit
    from robustray.tasks.evaluation.evaluate import evaluate as evaluate

__version__ = "0.1.0"

_here = _Path(__file__).resolve().parent
if not (_here / "tasks").is_dir():  # links did not survive (zip archive, Windows): reach the real folders
    __path__.append(str(_here.parent))


def __getattr__(name: str) -> object:
    """`robustray.run`, `robustray.evaluate` and `robustray.audit`, each loaded when it is first used."""
    if name == "run":
        from robustray.distributed.api import run

        return run
    if name == "evaluate":
        from robustray.tasks.evaluation.evaluate import evaluate

        return evaluate
    if name == "audit":
        from robustray.tasks.audit.door import audit

        return audit
    raise AttributeError(f"module 'robustray' has no attribute {name!r}")
