"""`robustray run` end to end, through its real entry point, with a tiny budget."""

from __future__ import annotations

import json
import pickle
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests.cli.conftest import (
    FIRST,
    KEYS,
    OWN,
    TINY,
    TYPED,
    Original,
    computed,
    ids,
    once,
    only_document,
    run_file,
    tables,
)


def test_a_run_answers_and_says_where_everything_is(original: Original) -> None:
    assert "n = 40 images of digits:test" in " ".join(original.out.split())
    assert f"new run {original.run}" in " ".join(original.out.split())
    folder = original.store / original.run
    for path in (folder / "report.html", *sorted((folder / "tables").glob("*.parquet"))):
        assert f"  {path}\n" in original.out and path.stat().st_size > 0
    assert original.out.splitlines()[-1].endswith(f"{sys.executable} -m robustray status --store store")
    # only progress is on standard error: "attack: 39/39 · 812.3/s", and of a slow training "train digits:mlp: ..."
    steps = {line.partition(":")[0].split()[0] for line in original.err.splitlines()}
    assert steps == {"train", "clean", "attack", "examples"}
    assert computed(original.store, original.run) == ["train", "clean", "attack", "attack", "examples"]
    assert run_file(original.store, original.run)["status"] == "finished"


def test_typed_again_it_shows_the_finished_run_and_computes_nothing(cli: Any, runs: Path, original: Original) -> None:
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()}
    outcome = cli(FIRST)
    assert outcome.code == 0 and outcome.err == ""
    assert "finished before" in outcome.out and "nothing was computed" in outcome.out
    assert f"  {runs / original.run / 'report.html'}\n" in outcome.out
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()} == before


def test_a_run_is_repeated_from_what_it_wrote_and_flags_change_it(cli: Any, runs: Path, original: Original) -> None:
    config = f"--config {original.store / original.run / 'run.json'}"
    document = only_document(cli(f"run {config} --workers 0 --store {runs} --json"))
    assert document["run"] == original.run, "the same settings are the same run"
    shown = json.loads(cli(f"show attack-sweep {config} --num-images 7 --json").out)
    plain = run_file(original.store, original.run)["identity"]["settings"]
    assert {"type": plain["type"], **shown["settings"]} == plain | {"num_images": 7}
    outcome = cli(f"show {config} --size quick")
    assert outcome.code == 2 and "--size and --config both say" in outcome.err


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
    assert all(claim["verdict"] for claim in document["claims"])
    assert document["descriptions"] and all(each["interval"] and each["n"] for each in document["descriptions"])
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


def test_a_model_without_parameters_can_be_attacked(cli: Any, tmp_path: Path) -> None:
    """A fixed filter, say. (It can't be trained: that is refused where trainings are.)"""
    text = (
        "from torch import nn\nclass Filter(nn.Module):\n    def forward(self, x):\n        return 9 * x[:, 0, 3, :3]\n"
    )
    (tmp_path / "my_filter.py").write_text(f"{text}def build():\n    return Filter()\n")
    (tmp_path / "my_own.py").write_text(OWN)
    line = "run attack-sweep --model my_filter:build --data my_own:data --attack pgd --num-steps 20 --workers 0"
    document = only_document(cli(f"{line} --norm linf --eps-linf 0.5 --num-examples 1 --json"))
    images = pd.read_parquet(document["tables"]["images"])
    assert len(images) == 20 and images.success.mean() == 1.0


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
        code.forget()
        line = "run attack-sweep --model my_own:build --data my_own:data --attack fgsm --workers 0 --norm linf --json"
        return only_document(cli(f"{line} --eps-linf 0.1 --num-examples 0"))["run"]

    first = run(OWN)
    assert run(OWN) == first
    assert run(OWN + "\n# the results are the same, but who knows that before?\n") != first


def test_a_change_deep_in_an_attack_of_ones_own_is_another_run(cli: Any, tmp_path: Path) -> None:
    """The module of a dataclass in a field of the attack, which the attack's own module does not import."""
    from robustray.tasks.lab import code

    header = "from dataclasses import dataclass\nfrom typing import Any\n\n@dataclass(frozen=True)\n"
    outer = "class Outer:\n    norm: str\n    eps: float\n    inner: Any\n"
    call = "    def __call__(self, *given, **named):\n        return self.inner(*given, **named)\n"
    (tmp_path / "my_outer.py").write_text(header + outer + call)
    make = "from my_inner import Trouble\nfrom my_outer import Outer\n"
    (tmp_path / "my_make.py").write_text(
        f"{make}def make(norm, eps):\n    return Outer(norm, eps, Trouble(norm, eps))\n"
    )

    def run(text: str) -> str:
        (tmp_path / "my_inner.py").write_text(text)
        for name in ("my_inner", "my_make", "my_outer"):
            sys.modules.pop(name, None)  # as in a process of its own
        code.forget()
        return only_document(cli(f"{FIRST.replace('--attack fgsm', '--attack my_make:make')} --json"))["run"]

    first = run(OWN)
    assert run(OWN) == first
    assert run(OWN + "\n# changed\n") != first


# -- when it goes wrong ------------------------------------------------------------------------------------------------


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
