"""Every command end to end, through its real entry point, with a tiny budget."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import robustray
from robustray.distributed.cli import COMMANDS
from robustray.distributed.commands.parsing import show_number, typed_as
from robustray.tasks.attack_sweep.settings import Settings
from robustray.tasks.errors import InputError
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store

TYPED = "/opt/venv/bin/python -m robustray"
TINY = "--workers 0 --num-images 40 --norm linf --eps-linf 0.1 0.3 --attack fgsm --num-examples 1"
FIRST = f"run attack-sweep {TINY} --model digits:mlp"
KEYS = {"run", "answer", "claims", "tables", "report"}

OWN = """\
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from robustray.tasks.attacks import FGSM


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 3)

    def forward(self, images):
        return self.layer(images.flatten(1))


def build():
    return Net()


def data():
    images = np.random.default_rng(0).random((20, 1, 8, 8), dtype=np.float32)
    return images, np.arange(20) % 3, ("ant", "bee", "cat")


@dataclass(frozen=True)
class Trouble:
    norm: str
    eps: float

    def __call__(self, model, images, labels, *, seed=0, indices=None, **others):
        for kind in (MemoryError, KeyboardInterrupt, ValueError):
            if Path(kind.__name__).exists() and int(Path(kind.__name__).read_text()) in list(indices):
                raise kind("as it was told to")
        return FGSM(norm=self.norm, eps=self.eps)(model, images, labels, seed=seed, indices=indices)


def trouble(norm, eps):
    return Trouble(norm, eps)
"""


def ids(store: Path) -> list[str]:
    return sorted(path.parent.name for path in store.glob("*/run.json"))


def run_file(store: Path, run: str) -> dict[str, Any]:
    return json.loads((store / run / "run.json").read_text())


def computed(store: Path, run: str) -> list[str]:
    """The steps of the blocks that a run computed, in their order."""
    path = store / run / "blocks.jsonl"
    return [json.loads(line)["step"] for line in path.read_text().splitlines()] if path.exists() else []


def tables(store: Path, run: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((store / run / "tables").iterdir())}


def once(store: Path, *runs: str) -> None:
    """Together these runs computed every block of their own attack once."""
    lines = [json.loads(line) for run in runs for line in (store / run / "blocks.jsonl").read_text().splitlines()]
    files = [line["file"] for line in lines if line["step"] == "attack"]
    assert len(files) == len(set(files)) > 5  # 40 images at the first size, 8 in a block


def only_document(outcome: Any) -> dict[str, Any]:
    """The one JSON document on standard output."""
    assert outcome.code == 0, outcome
    assert outcome.out.count("\n") == 1 and outcome.out.startswith("{"), outcome.out
    document = json.loads(outcome.out)
    assert set(document) == KEYS
    return document


@dataclass(frozen=True)
class Original:
    """A store with one finished run, made by the real command in a process of its own."""

    store: Path
    run: str
    out: str
    err: str


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Original:
    folder = tmp_path_factory.mktemp("original")
    environment = {key: value for key, value in os.environ.items() if key not in ("ROBUSTRAY_DATA", "RAY_ADDRESS")}
    environment["PYTHONPATH"] = str(repository)
    command = [sys.executable, "-m", "robustray", *shlex.split(FIRST), "--store", "store"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    assert ended.returncode == 0, ended.stderr
    (run,) = ids(folder / "store")
    return Original(folder / "store", run, ended.stdout, ended.stderr)


@pytest.fixture
def runs(original: Original, tmp_path: Path) -> Path:
    """A copy of it as `./runs` of the folder in which `cli` works."""
    return Path(shutil.copytree(original.store, tmp_path / "runs"))


# -- run ---------------------------------------------------------------------------------------------------------------


def test_a_run_answers_and_says_where_everything_is(original: Original) -> None:
    assert "n = 40 images of digits:test" in " ".join(original.out.split())
    assert f"new run {original.run}" in " ".join(original.out.split())
    folder = original.store / original.run
    for path in (folder / "report.html", *sorted((folder / "tables").glob("*.parquet"))):
        assert f"  {path}\n" in original.out and path.stat().st_size > 0
    assert original.out.splitlines()[-1].endswith(f"{sys.executable} -m robustray status --store store")
    # only progress is on standard error: "attack: 39/39 · 812.3/s"
    assert {line.partition(":")[0] for line in original.err.splitlines()} == {"train", "clean", "attack", "examples"}
    assert computed(original.store, original.run) == ["train", "clean", "attack", "attack", "examples"]
    assert run_file(original.store, original.run)["status"] == "finished"


def test_typed_again_it_shows_the_finished_run_and_computes_nothing(cli: Any, runs: Path, original: Original) -> None:
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()}
    outcome = cli(FIRST)
    assert outcome.code == 0 and outcome.err == ""
    assert "finished before" in outcome.out and "nothing was computed" in outcome.out
    assert f"  {runs / original.run / 'report.html'}\n" in outcome.out
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()} == before


def test_a_finished_run_is_where_its_store_is_now(cli: Any, runs: Path, original: Original) -> None:
    document = only_document(cli(f"{FIRST} --json"))
    assert document["run"] == original.run
    for path in (document["report"], *document["tables"].values()):
        assert Path(path).is_file() and Path(path).is_relative_to(runs)
    (row,) = json.loads(cli("status --json").out)["runs"]
    assert row["report"] == document["report"]


def test_a_folder_may_have_any_name(cli: Any, runs: Path, original: Original) -> None:
    folder = runs.rename(runs.parent / "[bold] of $HOME")
    outcome = cli(f"{FIRST} --store '{folder.name}'")
    assert outcome.code == 0 and f"  {folder / original.run / 'report.html'}\n" in outcome.out
    printed = cli(f"status --store '{folder.name}'").out.splitlines()[-1].removeprefix(f"next: {TYPED} ")
    assert printed == f"report {original.run} --store '[bold] of $HOME'" and cli(printed).code == 0


def test_json_prints_one_document_and_the_rest_on_stderr(cli: Any, runs: Path) -> None:
    outcome = cli(f"{FIRST} --seed 1 --json")
    document = only_document(outcome)
    assert "attack-sweep" in outcome.err and "passes of single images" in outcome.err
    assert document["claims"] and all(claim["verdict"] for claim in document["claims"])
    assert len(pd.read_parquet(document["tables"]["images"])) == 80
    assert document == only_document(cli(f"{FIRST} --seed 1 --json"))


def test_another_seed_is_another_run(cli: Any, runs: Path, original: Original) -> None:
    document = only_document(cli(f"{FIRST} --seed 1 --json"))
    assert document["run"] != original.run and set(ids(runs)) == {document["run"], original.run}
    # the model and the clean predictions don't depend on it
    assert "train" not in computed(runs, document["run"]) and "clean" not in computed(runs, document["run"])
    assert "attack" in computed(runs, document["run"])


def test_what_does_not_change_a_result_does_not_change_the_run(cli: Any, runs: Path, original: Original) -> None:
    folder = runs.parent / "elsewhere"
    shutil.copytree(runs, folder)
    line = FIRST.replace("--workers 0", "--workers 3")  # nothing is left to compute: Ray does not even start
    assert only_document(cli(f"{line} --store {folder} --device cpu --data-root nowhere --json"))["run"] == original.run


def test_fresh_computes_a_step_again_once(cli: Any, runs: Path, original: Original) -> None:
    document = only_document(cli(f"{FIRST} --fresh attack --json"))
    assert document["run"] != original.run
    assert computed(runs, document["run"]) == ["attack", "attack"]
    assert tables(runs, document["run"]) == tables(runs, original.run)
    # a resume of it does not drop them again, and the plain command shows it
    run_json = runs / document["run"] / "run.json"
    run_json.write_text(run_json.read_text().replace('"finished"', '"interrupted"'))
    assert cli(f"resume {document['run']}").code == 0
    assert computed(runs, document["run"]) == ["attack", "attack"]
    assert only_document(cli(f"{FIRST} --json"))["run"] == document["run"]


def test_several_models_and_a_size_as_a_fraction(cli: Any, runs: Path) -> None:
    (trained,) = [name for name in json.loads(cli("list --json").out)["models"] if name.startswith("run:")]
    line = FIRST.replace("0.1 0.3", "2/255 --eps-linf 8/255") + f" --model {trained} --json"
    table = pd.read_parquet(only_document(cli(line))["tables"]["worst-case"])
    assert set(table.model) == {"digits:mlp", trained}
    assert set(table.eps) == {0, 2 / 255, 8 / 255}


def test_a_trained_model_by_its_key(cli: Any, runs: Path) -> None:
    listed = json.loads(cli("list --json").out)["models"]
    (name,) = [name for name in listed if name.startswith("run:")]
    assert listed[name].startswith("digits:mlp trained on digits:train (seed 0)")
    document = only_document(cli(f"run attack-sweep {TINY} --model {name} --json"))
    table = pd.read_parquet(document["tables"]["worst-case"])
    assert set(table.model) == {name} and computed(runs, document["run"]) == []  # the same weights: the same pieces
    outcome = cli(f"run attack-sweep {TINY} --model {name} --store other")
    hint = re.search("`(.*)`", outcome.err)
    assert outcome.code == 2 and hint
    assert cli(hint[1].removeprefix(TYPED)).code == 0


def test_own_model_data_and_attack_from_the_current_folder(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "my_mod.py").write_text(OWN)
    line = "run attack-sweep --model my_mod:build --data my_mod:data --attack my_mod:trouble --attack pgd --workers 0"
    document = only_document(cli(f"{line} --num-steps 2 --norm linf --eps-linf 0.1 --num-examples 1 --json"))
    images = pd.read_parquet(document["tables"]["images"])
    assert set(images.attack) == {"my_mod:trouble", "pgd"} and set(images.data) == {"my_mod:data"}
    assert len(images) == 2 * 20 and set(images.label) == {0, 1, 2}
    assert "bee" in Path(document["report"]).read_text()


def test_a_model_that_is_built_anew_each_time_is_hashed_as_it_is_used(cli: Any, tmp_path: Path) -> None:
    from robustray.tasks.models.reference import open_model

    text = "import numpy as np, torch\ndef build():\n    layer = torch.nn.Linear(4, 2)\n"
    text += "    layer.bias.data = torch.from_numpy(np.random.default_rng().random(2, np.float32))\n    return layer\n"
    (tmp_path / "my_dice.py").write_text(text)
    sys.path.insert(0, str(tmp_path))
    one, other = (open_model("my_dice:build", data_root=None) for _ in range(2))
    assert one.content_hash != other.content_hash
    assert all(np.array_equal(one.fetch()["weights"][key], one.fetch()["weights"][key]) for key in ("weight", "bias"))
    travelled = pickle.loads(pickle.dumps(one))
    assert travelled.content_hash == one.content_hash and "_built" not in vars(travelled)
    assert travelled.build(one.fetch(), "cpu").bias.tolist() == one.fetch()["weights"]["bias"].tolist()


def test_a_changed_module_of_ones_own_is_another_run(cli: Any, tmp_path: Path) -> None:
    from robustray.tasks.lab import code

    def run(text: str) -> str:
        (tmp_path / "my_own.py").write_text(text)
        sys.modules.pop("my_own", None)  # as in a process of its own
        code._code_hash.cache_clear()
        line = "run attack-sweep --model my_own:build --data my_own:data --attack fgsm --workers 0 --norm linf --json"
        return only_document(cli(f"{line} --eps-linf 0.1 --num-examples 0"))["run"]

    first = run(OWN)
    assert run(OWN) == first
    assert run(OWN + "\n# the results are the same, but who knows that before?\n") != first


# -- when it goes wrong ------------------------------------------------------------------------------------------------


@pytest.fixture
def troubled(cli: Any, runs: Path) -> str:
    """A command with an attack of one's own, which does what the files `MemoryError`, ... in the folder tell it."""
    (runs.parent / "my_trouble.py").write_text(OWN)
    return FIRST.replace("--attack fgsm", "--attack my_trouble:trouble --block 8")


def test_an_exception_ends_the_run_in_one_line_and_keeps_the_rest(cli: Any, runs: Path, troubled: str) -> None:
    (runs.parent / "ValueError").write_text("20")
    outcome = cli(troubled)
    last = outcome.err.splitlines()[-1]
    assert outcome.code == 1 and last.startswith("robustray: failed: attack, items 16 to 23 failed: ValueError: as it")
    (log,) = re.findall(r"traceback in (.*)\)", last)
    assert "my_trouble.py" in Path(log).read_text() and "Traceback" not in outcome.err
    failed = Path(log).parent.name
    assert run_file(runs, failed)["status"] == "failed"
    assert f"resume {failed}" in cli("status").out
    # typed again, everything is tried again, from the blocks that were finished
    (runs.parent / "ValueError").unlink()
    document = only_document(cli(f"{troubled} --json"))
    assert document["run"] != failed and run_file(runs, failed)["status"] == "failed"
    once(runs, failed, document["run"])


def test_an_interrupted_run_goes_on(cli: Any, runs: Path, troubled: str) -> None:
    (runs.parent / "KeyboardInterrupt").write_text("20")
    outcome = cli(troubled)
    assert outcome.code == 130
    assert outcome.err.splitlines()[-1].startswith("robustray: interrupted; everything finished is kept")
    run = next(run for run in ids(runs) if run_file(runs, run)["status"] == "interrupted")
    (runs.parent / "KeyboardInterrupt").unlink()
    outcome = cli(troubled)
    assert outcome.code == 0 and f"goes on {run}" in " ".join(outcome.out.split())
    assert run_file(runs, run)["status"] == "finished" and run_file(runs, run)["attempts"] == 2
    once(runs, run)


def test_items_that_were_given_up_are_tried_again_by_the_printed_command(cli: Any, runs: Path, troubled: str) -> None:
    (runs.parent / "MemoryError").write_text("20")
    outcome = cli(f"{troubled} --store runs --json")
    assert outcome.code == 1 and set(json.loads(outcome.out)) == KEYS
    last = outcome.err.splitlines()[-1]
    assert last.startswith("robustray: failed: 1 item(s) were given up")
    (printed,) = re.findall("`(.*)`", last)
    run = json.loads(outcome.out)["run"]
    assert printed == f"{TYPED} resume {run} --failed --store runs"
    assert len(pd.read_parquet(json.loads(outcome.out)["tables"]["images"])) < 80
    assert cli("status").out.splitlines()[-1] == f"next: {TYPED} resume {run} --failed"

    (runs.parent / "MemoryError").unlink()
    again = cli(f"resume {run}")  # without --failed they stay out
    assert again.code == 1 and "--failed tries them again" in again.err
    outcome = cli(printed.removeprefix(TYPED))
    assert outcome.code == 0, outcome
    assert run_file(runs, run)["status"] == "finished" and not run_file(runs, run)["failures"]
    clean = only_document(cli(f"{troubled} --json"))
    assert clean["run"] == run and len(pd.read_parquet(clean["tables"]["images"])) == 80


# -- status, resume, report --------------------------------------------------------------------------------------------


def test_status_lists_the_runs_and_what_to_type_next(cli: Any, runs: Path, original: Original) -> None:
    outcome = cli("status")
    assert outcome.code == 0 and original.run in outcome.out and "finished" in outcome.out
    assert outcome.out.splitlines()[-1] == f"next: {TYPED} report {original.run}"
    document = json.loads(cli("status --json --store runs").out)
    assert document["store"] == str(runs)
    assert [row["run"] for row in document["runs"]] == [original.run]
    empty = cli("status --store 'not there'")
    assert empty.code == 0 and not Path("not there").exists()
    assert f"{TYPED} run attack-sweep --size quick --store 'not there'" in empty.out
    assert json.loads(cli("status --json --store 'not there'").out)["runs"] == []


def test_resume_repeats_what_is_missing_and_gives_the_same_bytes(cli: Any, runs: Path, original: Original) -> None:
    run_json = runs / original.run / "run.json"
    run_json.write_text(run_json.read_text().replace('"finished"', '"interrupted"'))
    before = tables(runs, original.run)
    shutil.rmtree(runs / original.run / "tables")
    (runs / original.run / "report.html").unlink()
    pieces = sorted(path for path in (runs / "pieces").rglob("*.parquet"))
    pieces[0].unlink()
    outcome = cli(f"resume {original.run[-8:]} --json")  # the end of its name is enough
    assert only_document(outcome)["run"] == original.run
    assert tables(runs, original.run) == before
    assert len(computed(runs, original.run)) == 6  # one more than at first
    assert (runs / original.run / "report.html").is_file()


@pytest.mark.parametrize("line", ["resume {run}", "resume --store runs {run}", "resume runs/{run}/"])
def test_resume_of_a_finished_run_says_so(line: str, cli: Any, runs: Path, original: Original) -> None:
    outcome = cli(line.format(run=original.run))
    assert outcome.code == 0 and "nothing is left to do" in outcome.out
    assert str(runs / original.run / "report.html") in outcome.out
    assert only_document(cli(f"{line.format(run=original.run)} --json"))["run"] == original.run


def test_report_writes_the_page_again_from_the_pieces(cli: Any, runs: Path, original: Original) -> None:
    page = runs / original.run / "report.html"
    page.unlink()
    before = tables(runs, original.run)
    outcome = cli(f"report {original.run}")
    assert outcome.code == 0 and str(page) in outcome.out
    assert "<svg" in page.read_text() and "n = 40" in page.read_text()
    assert tables(runs, original.run) == before and len(computed(runs, original.run)) == 5
    assert only_document(cli(f"report {original.run} --json"))["report"] == str(page)


def test_report_of_several_runs_is_an_index(cli: Any, runs: Path, original: Original) -> None:
    other = only_document(cli(f"{FIRST} --seed 1 --json"))["run"]
    outcome = cli(f"report {original.run} {other}")
    assert outcome.code == 0 and outcome.out.strip() == str(runs / "index.html")
    text = (runs / "index.html").read_text()
    assert all(f"{run}/report.html" in text for run in (original.run, other)) and text.count("<svg") >= 2
    document = json.loads(cli(f"report {original.run} {other} --json").out)
    assert document == {"runs": [original.run, other], "report": str(runs / "index.html")}


# -- list, show, doctor, help ------------------------------------------------------------------------------------------


def test_list_names_what_can_be_named(cli: Any) -> None:
    outcome = cli("list")
    assert outcome.code == 0 and outcome.err == ""
    for name in ("attack-sweep", "digits:cnn", "cifar:resnet20", "cifar10:SPLIT", "pgd", "my_pkg.my_mod:function"):
        assert re.search(rf"^  {re.escape(name)} ", outcome.out, re.MULTILINE), name
    assert outcome.out.splitlines()[-1] == f"run one: {TYPED} run attack-sweep --size quick"
    assert set(json.loads(cli("list --json").out)) == {"studies", "models", "data", "attacks"}


def test_show_resolves_the_settings_and_runs_nothing(cli: Any, tmp_path: Path) -> None:
    outcome = cli("show attack-sweep --size small --eps-linf 1/255 8/255 --model 'my mod'")
    assert outcome.code == 0 and not any(tmp_path.iterdir())
    assert re.search(r"^  eps_linf +1/255 8/255$", outcome.out, re.MULTILINE)
    assert re.search(r"^  data +cifar10:test$", outcome.out, re.MULTILINE)
    assert "passes of single images" in outcome.out
    typed = "run attack-sweep --size small --eps-linf 1/255 8/255 --model 'my mod'"
    assert outcome.out.splitlines()[-1] == f"nothing was run; to run it: {TYPED} {typed}"
    document = json.loads(cli("show attack-sweep --no-random-start --json").out)
    assert document["study"] == "attack-sweep" and document["settings"]["random_start"] is False
    assert document["work"]["images"] == 710 and document["work"]["evaluations"] > 0


def test_the_size_decides_the_other_defaults_wherever_it_stands(cli: Any) -> None:
    for line in ("--size paper --num-seeds 2", "--num-seeds 2 --size=paper", "--size=small --num-seeds 2 --size paper"):
        settings = json.loads(cli(f"show attack-sweep {line} --json").out)["settings"]
        assert (settings["num_steps"], settings["num_seeds"]) == (100, 2), line


def test_doctor_says_what_is_fine_and_what_mends_the_rest(cli: Any, tmp_path: Path) -> None:
    outcome = cli("doctor")
    assert outcome.code == 0, outcome
    for what in ("python", "torch", "devices", "ray", "token", "store", "disk"):
        assert re.search(rf"^OK   {what} ", outcome.out, re.MULTILINE), outcome.out
    (tmp_path / "root").mkdir()
    outcome = cli("doctor --data-root root")
    assert outcome.code == 1 and "FIX  data" in outcome.out
    assert "→ found neither root/cifar10/test-*.parquet" in outcome.out and f"`{TYPED} import cifar10" in outcome.out
    outcome = cli("doctor --data-root nowhere --json")
    broken = [check for check in json.loads(outcome.out) if not check["ok"]]
    assert outcome.code == 1 and [check["what"] for check in broken] == ["data"]
    assert f"`{TYPED} import cifar10 SOURCE --data-root nowhere`" in broken[0]["fix"]
    (tmp_path / "occupied").write_text("")
    outcome = cli("doctor --store occupied")
    assert outcome.code == 1 and "FIX  store" in outcome.out
    assert not (tmp_path / "runs").exists()


HELP = [
    *(f"{command} --help" for command in COMMANDS),
    "run attack-sweep --help",
    "run attack-sweep --size paper -h",
    "show attack-sweep --help",
    "import weights --help",
    "import cifar10 --help",
]


@pytest.mark.parametrize("line", HELP)
def test_every_command_explains_itself(line: str, cli: Any) -> None:
    outcome = cli(line)
    assert outcome.code == 0 and outcome.err == ""
    assert outcome.out.startswith(f"usage: {TYPED} {line.split()[0]}")
    assert "None" not in outcome.out and "(default: )" not in outcome.out


def test_the_help_names_every_command_and_the_exit_codes(cli: Any) -> None:
    texts = {cli(line).out for line in ("", "--help", "-h", "help")}
    (text,) = texts
    assert all(re.search(rf"^  {command} ", text, re.MULTILINE) for command in COMMANDS)
    assert "exit codes: 0 done" in text and max(map(len, text.splitlines())) <= 120
    assert cli("--version").out == f"robustray {robustray.__version__}\n"


def test_what_only_explains_loads_no_large_library(repository: Path) -> None:
    """That is what makes `--help` instant, on any machine."""
    lines = ["--help", "--version", "list", "status", "show attack-sweep", "show attack-sweep --json", *HELP]
    script = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "ray", "pandas", "matplotlib", "sklearn", "scipy"):
            raise AssertionError(f"{{name}} was imported")

sys.meta_path.insert(0, Blocked())
from robustray.distributed.cli import main
for line in {lines!r}:
    assert main(line.split()) == 0, line
"""
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert ended.returncode == 0 and ended.stderr == "", ended.stderr


def test_the_process_ends_with_the_exit_code_of_the_command(tmp_path: Path, repository: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    for line, code in (("--version", 0), ("doctor --store .", 0), ("rnu", 2), ("run attack-sweep --help", 0)):
        command = [sys.executable, "-m", "robustray", *line.split()]
        ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
        assert ended.returncode == code, ended
        assert bool(ended.stdout) == (code == 0) and bool(ended.stderr) == (code != 0)


@pytest.mark.parametrize(
    ("words", "typed"),
    [
        (["python", "-m", "robustray", "run"], "python -m robustray"),
        (["/my venv/bin/python", "-X", "dev", "-m", "robustray"], "'/my venv/bin/python' -X dev -m robustray"),
        (["/usr/bin/python", "/usr/local/bin/robustray", "run"], "/usr/local/bin/robustray"),
        (["/usr/bin/python", "robustray", "run"], "robustray"),
    ],
)
def test_printed_commands_start_as_the_users_did(words: list[str], typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", words)
    monkeypatch.setattr(sys, "argv", [words[1] if words[1].startswith(("/", "robust")) else "__main__.py"])
    assert typed_as() == typed


@pytest.mark.parametrize(
    ("value", "words"),
    [(8 / 255, "8/255"), (1 / 255, "1/255"), (0.2, "0.2"), (0.5, "0.5"), (1.0, "1"), (0.123456, "0.1235"), (16, "16")],
)
def test_sizes_are_shown_as_one_would_type_them(value: float, words: str) -> None:
    assert show_number(value) == words


# -- import ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A look-alike of the published CIFAR-10 folder, whose sums are declared to be the published ones."""
    from robustray.tasks.data import cifar

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for file in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        batch = {
            "data": rng.integers(0, 256, (4, 3072), dtype=np.uint8),
            "labels": rng.integers(0, 10, 4).tolist(),
            "filenames": [f"{file}_{i}.png" for i in range(4)],
        }
        (folder / file).write_bytes(pickle.dumps(batch, protocol=4))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(cifar.CIFAR10_CLASSES)}))
    sums = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}

    def published(name: str, split: str) -> tuple[dict[str, str], tuple[str, str], str]:
        files = ["test_batch"] if split == "test" else [f"data_batch_{i}" for i in range(1, 6)]
        return {file: sums[file] for file in files}, ("batches.meta", sums["batches.meta"]), "label_names"

    monkeypatch.setattr(cifar, "published", published)
    return folder


def test_import_brings_data_and_weights_to_a_run(cli: Any, archive: Path, tmp_path: Path) -> None:
    import torch

    from robustray.tasks.models.registry import build_model

    outcome = cli("import cifar10 cifar-10-batches-py --data-root 'my root'")
    assert outcome.code == 0 and outcome.err == ""
    *written, following = outcome.out.splitlines()
    assert len(written) == 2 and all(Path(line.removeprefix("wrote ")).is_file() for line in written)

    torch.manual_seed(0)
    torch.save({"state_dict": {f"module.{key}": value for key, value in build_model("small:s").state_dict().items()}},
               tmp_path / "net.pt")  # fmt: skip
    outcome = cli("import weights net.pt --arch small:s")
    assert outcome.code == 0, outcome
    first, second = outcome.out.splitlines()
    assert first.startswith("wrote net.safetensors (") and second.endswith("--model small:s@net.safetensors")

    # the printed command, with its placeholder filled in
    assert following.startswith(f"next: {TYPED} run attack-sweep --data cifar10:test")
    line = following.removeprefix(f"next: {TYPED} ").replace("NAME@WEIGHTS", "small:s@net")
    document = only_document(
        cli(f"{line} --workers 0 --attack fgsm --norm linf --eps-linf 8/255 --num-examples 0 --json")
    )
    images = pd.read_parquet(document["tables"]["images"])
    assert len(images) == 4 and set(images.data) == {"cifar10:test"}
    outcome = cli("doctor --data-root 'my root'")
    assert outcome.code == 0 and "cifar10:test in my root" in outcome.out


# -- from Python -------------------------------------------------------------------------------------------------------


SETTINGS = Settings(
    models=("digits:mlp",),
    data=("digits:test",),
    num_images=40,
    attacks=("fgsm",),
    norms=("linf",),
    eps_linf=(0.1, 0.3),
    eps_l2=(0.2, 0.4, 0.8, 1.2, 1.6),
    num_examples=1,
    block=90,
)


def test_from_python_it_is_the_same_run(cli: Any, runs: Path, original: Original) -> None:
    findings = robustray.run("attack-sweep", SETTINGS)
    assert findings.answer == run_file(original.store, original.run)["document"]["answer"]
    assert ids(runs) == [original.run] and len(computed(runs, original.run)) == 5
    assert findings.tables[0].name == "worst-case"


def test_from_python_with_a_lab_of_ones_own(cli: Any, runs: Path, original: Original) -> None:
    lab = SerialLab(store=Store(str(runs)))
    findings = robustray.run("attack-sweep", SETTINGS, lab=lab)
    assert findings.answer == run_file(original.store, original.run)["document"]["answer"]
    assert lab.journal.counts["attack"].computed_blocks == 0 and lab.journal.counts["attack"].reused_blocks == 2
    assert ids(runs) == [original.run]
    lab.close()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: robustray.run("attack-swep"), "did you mean 'attack-sweep'"),
        (lambda: robustray.run("attack-sweep", size="smal"), "did you mean 'small'"),
        (lambda: robustray.run("attack-sweep", {"models": ()}), "settings of attack-sweep must be Settings"),
        (lambda: robustray.run("attack-sweep", workers=-1), "--workers -1"),
    ],
)
def test_from_python_bad_input_is_an_input_error(call: Callable[[], Any], says: str, cli: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(says)):
        call()
    assert not any(tmp_path.iterdir())
