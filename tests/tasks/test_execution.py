"""What a study raises, and what then stands in its run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from robustray.tasks.errors import InputError, WorkFailed
from robustray.tasks.execution import Request, execute
from robustray.tasks.lab import runs
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.studies.attack_sweep.settings import SIZES
from robustray.tasks.studies.attack_sweep.study import STUDY


@pytest.mark.parametrize(
    ("error", "raised", "says"),
    [
        (InputError("--model m: no image is classified correctly"), InputError, "--model m: no image"),
        (ZeroDivisionError("division by zero"), WorkFailed, "ZeroDivisionError: division by zero"),
    ],
)
def test_bad_input_that_shows_only_in_results_is_still_the_users(
    error: Exception, raised: type[Exception], says: str, tmp_path: Path
) -> None:
    """An InputError ends the command with 2 and one line; a bug ends it with 1 and a traceback in the log."""

    def refuse(settings: Any, lab: Any) -> Any:
        raise error

    refuse.__module__ = STUDY.run.__module__  # whose source is hashed
    settings = replace(SIZES["quick"], models=("digits:mlp",), num_images=20)
    request = Request(study=replace(STUDY, run=refuse), settings=settings, size="custom", command="", options={})
    store = Store(str(tmp_path))
    with pytest.raises(raised) as caught:
        execute(request, store=store, make_lab=lambda store: SerialLab(store=store))
    (run,) = runs.all_runs(store)
    assert says in str(caught.value) and says in run.file.error
    assert run.file.status == "failed"
    assert ("traceback" in str(caught.value)) == (raised is WorkFailed)
