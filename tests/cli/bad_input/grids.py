"""Grids that cannot be run."""

from __future__ import annotations

from tests.cli.bad_input.case import Case, Prepare, file

HEAD = """\
from robustray.tasks.grids.settings import Cell, Grid, Outcome
from robustray.tasks.policy_gradients.settings import AgentSpec

RETURN = [Outcome(name="late_return", words="late return")]

def cell(environment="Hopper-v5", **levels):
    return Cell(levels=levels, settings=AgentSpec(environment=environment, iterations=1))

def make(*cells, **more):
    return Grid(question="?", paper="none", outcomes=RETURN, cells=cells, **more)
"""


def own(body: str, head: str = "def grid(size):") -> Prepare:
    """`own.py` with a grid."""
    return file("own.py", f"{HEAD}\n{head}\n    {body}\n".encode())


GRIDS = [
    Case(name="tune nothing", typed="tune", says=("which grid", "attack-eps", "-m robustray tune attack-eps")),
    Case(name="tune flags only", typed="tune --size quick", says=("which grid",)),
    Case(name="tune an unknown grid", typed="tune atack-eps", says=("no grid 'atack-eps'", "'attack-eps'")),
    Case(name="tune a study", typed="tune attack-sweep", says=("no grid 'attack-sweep'",)),
    Case(name="tune an unknown size", typed="tune attack-eps --size huge", says=("huge",)),
    Case(name="tune an unknown flag", typed="tune attack-eps --worker 1", says=("--worker", "--workers")),
    Case(name="tune without Ray", typed="tune attack-eps --workers 0", says=("--workers 0", "trials")),
    Case(name="tune on fewer workers than none", typed="tune attack-eps --workers -1", says=("--workers -1",)),
    Case(name="tune without a CPU", typed="tune attack-eps --cpus-per-trial 0", says=("--cpus-per-trial 0",)),
    Case(name="tune on a negative GPU", typed="tune attack-eps --gpus-per-trial -1", says=("--gpus-per-trial -1",)),
    Case(
        name="tune on more CPUs than there are",
        typed="tune five-algorithms --cpus-per-trial 100000",
        says=("100000 CPUs", "wait for ever", "--cpus-per-trial"),
    ),
    Case(
        name="tune with one runner",
        typed="tune five-algorithms --runners-per-trial 1",
        says=("--runners-per-trial 1", "2 and more"),
    ),
    Case(
        name="tune with ASHA what can't be stopped",
        typed="tune attack-eps --asha",
        says=("--asha", "stopped early"),
    ),
    Case(
        name="tune with ASHA and nobody to judge",
        typed="tune own:grid --asha",
        prepare=own(
            "from robustray.tasks.grids.settings import Halving\n"
            "    from robustray.tasks.training.settings import TrainSpec\n"
            "    spec = TrainSpec(model='digits:mlp', data='digits:train', epochs=2, validation=0.2)\n"
            "    cells = [Cell(levels={'lr': lr, 'seed': 0}, settings=spec) for lr in (1, 2)]\n"
            "    accuracy = [Outcome(name='clean_accuracy', words='accuracy')]\n"
            "    more = dict(choose=('lr',), halving=Halving())\n"
            "    return Grid(question='?', paper='none', outcomes=accuracy, cells=cells, **more)"
        ),
        says=("--asha", "two seeds"),
    ),
    Case(
        name="a grid of trainings that hold nothing out",
        typed="tune own:grid",
        prepare=own(
            "from robustray.tasks.training.settings import TrainSpec\n"
            "    spec = TrainSpec(model='digits:mlp', data='digits:train', epochs=2)\n"
            "    return make(Cell(levels={'seed': 0}, settings=spec))"
        ),
        says=("seed=0", "validation"),
    ),
    Case(
        name="tune with a password in the command line",
        typed="tune attack-eps --mlflow https://me:hunter2@mlflow.example.org",
        says=("--mlflow", "password", "MLFLOW_TRACKING_PASSWORD"),
    ),
    Case(
        name="tune with runners for a study",
        typed="tune attack-eps --runners-per-trial 2",
        says=("--runners-per-trial 2", "attack-sweep"),
    ),
    Case(
        name="tune with more runners than streams",
        typed="tune five-algorithms --runners-per-trial 2",
        says=("--runners-per-trial 2", "at most 1 stream", "num_streams"),
    ),
    Case(
        name="tune with the dashboard of a cluster",
        typed="tune attack-eps --dashboard --address 127.0.0.1:1 --store {folder}/store",
        says=("--dashboard", "127.0.0.1:1"),
    ),
    Case(
        name="tune on a cluster that is not there",
        typed="tune attack-eps --address 127.0.0.1:1 --store {folder}/store",
        says=("--address 127.0.0.1:1", "nothing answers"),
    ),
    Case(
        name="tune on a cluster with a relative store",
        typed="tune attack-eps --address 127.0.0.1:1",
        says=("no --store", "absolute or a URL"),
    ),
    Case(
        name="tune with checkpoints at no time",
        typed="tune attack-eps --checkpoint-every 0s",
        says=("--checkpoint-every 0s",),
    ),
    Case(name="a grid in no module", typed="tune own:grid", says=("no module 'own'",)),
    Case(name="a grid that is not there", typed="tune own:gird", prepare=own("pass"), says=("'gird'", "'grid'")),
    Case(name="a grid that raises", typed="tune own:grid", prepare=own("1 / 0"), says=("own:grid", "ZeroDivision")),
    Case(
        name="a grid without a size",
        typed="tune own:grid",
        prepare=own("return make(cell(seed=0))", head="def grid():"),
        says=("own:grid", "called with the size"),
    ),
    Case(name="a grid that is a list", typed="tune own:grid", prepare=own("return [1]"), says=("must return", "[1]")),
    Case(name="a grid of nothing", typed="tune own:grid", prepare=own("return make()"), says=("at least one cell",)),
    Case(
        name="a grid with a cell twice",
        typed="tune own:grid",
        prepare=own("return make(cell(seed=0), cell(seed=0))"),
        says=("two cells", "seed=0"),
    ),
    Case(
        name="a grid of an unknown study",
        typed="tune own:grid",
        prepare=own("return make(Cell(levels={'a': 1}, settings=1, reads={'late_return': None}), study='nothing')"),
        says=("a=1", "no study 'nothing'"),
    ),
    Case(
        name="a grid in an unknown environment",
        typed="tune own:grid",
        prepare=own("return make(cell(environment='Nowhere-v0', seed=0))"),
        says=("seed=0", "Nowhere-v0"),
    ),
]
