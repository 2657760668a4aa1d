"""What `robustray tune` says of its trials, and which it refuses to start: no Ray is needed for either."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from robustray.distributed import trials as tune_trials
from robustray.distributed.trial_table import TrialTable
from robustray.tasks.errors import InputError
from robustray.tasks.grids.settings import Outcome


def test_the_table_shows_each_end_once_and_what_runs(capsys: pytest.CaptureFixture[str]) -> None:
    def trial(name: str, status: str, **result: Any) -> Any:
        return SimpleNamespace(config={"cell": name}, status=status, trial_id=name, last_result=result)

    share = Outcome(name="y", words="a share", unit="percent")
    table = TrialTable(lambda config: f"seed={config['cell']}", [share])
    trials = [
        trial("0", "TERMINATED", items=3, items_known=3, y=0.5),
        trial("1", "ERROR"),
        trial("2", "RUNNING", items=1, items_known=4, **{"curve/update": 6.0}),
        trial("3", "PENDING"),
    ]
    assert not table.should_report(trials) and table.should_report(trials, done=True)
    table.report(trials, False)
    said = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert " ".join(said[0][1:]) == "· 4 trials: 1 finished, 1 failed, 1 running, 1 waiting"
    assert said[2:] == [
        ["seed=0", "finished", "3", "of", "3", "50.0", "%"],
        ["seed=1", "failed"],
        ["seed=2", "running", "1", "of", "4", "7"],
    ]
    table.report(trials, False)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:]] == ["seed=2"]


def test_a_request_that_no_node_can_meet_is_refused() -> None:
    def ask(cpus: float, gpus: float, runners: int = 0) -> None:
        share = tune_trials.Share(cpus=cpus, gpus=gpus, at_once=None, address=None, dashboard=False, runners=runners)
        tune_trials.check_room(share, [{"CPU": 4.0}, {"CPU": 2.0, "GPU": 1.0}])

    ask(4, 0)
    ask(2, 1)
    ask(4, 0, runners=2)
    with pytest.raises(InputError, match=r"3 env runners, there are 6 in all.*--runners-per-trial"):
        ask(4, 0, runners=3)
    for cpus, gpus, flag in ((5, 0, "--cpus-per-trial"), (1, 2, "--gpus-per-trial"), (4, 1, "--gpus-per-trial")):
        with pytest.raises(InputError, match=f"wait for ever; give a smaller {flag}"):
            ask(cpus, gpus)
