"""Is an old number ever served as a current one, and how many are called old that are not?

    python benchmarks/stale_code.py [--edits 300] [--seed 0] [--lanes 2]

Each edit changes one statement of a copy of the tree, drawn among all of them. A new process then asks the lab about
the pieces that were made before the edit (current, old, or none with this key), computes the same ten steps again, and
compares the rows: *stale* is a piece that is served as current while the edited code gives other rows; *needlessly old*
one that is not served as current while it gives the same.

What can't matter isn't tried: where no line of the statement runs, the rows are those of before, and where its file is
not even read, so is what the lab says. Every tenth edit is tried all the same, and must agree. No timing is measured;
other work may run beside it.

The record goes to benchmarks/records/stale-code.json. While the campaign runs, each result is a line of
stale-code.jsonl beside it; one that was stopped goes on from there when it is started again on the same tree.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ["MKL_CBWR"] = "AUTO,STRICT"
ROOT = Path(__file__).resolve().parent.parent
sys.path[:] = [str(ROOT / "benchmarks"), *(p for p in sys.path if Path(p or ".").resolve() != ROOT)]

# What takes long to import is here before the processes are forked; robustray itself is not.
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402, F401
import pyarrow.parquet as pq  # noqa: E402
import sklearn.datasets  # noqa: E402, F401
import torch  # noqa: E402
import torch.fx  # noqa: E402
from PIL import Image  # noqa: E402, F401
from safetensors.numpy import load_file  # noqa: E402
from staleness import steps  # noqa: E402
from staleness.edits import FOLDERS, Edit, draw_edits  # noqa: E402

PATIENCE_S = 60
"""An edit can make a loop endless."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--edits", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=600, help="stop after so long, whatever --edits says")
    parser.add_argument("--lanes", type=int, default=1, help="edits that are tried at once")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "records" / "stale-code.json")
    arguments = parser.parse_args()
    assert "robustray" not in sys.modules
    torch.set_num_threads(1)
    edits = list(draw_edits(ROOT, arguments.edits, arguments.seed))
    results = Results(arguments.output.with_suffix(".jsonl"), of=[edits_hash(edits), arguments.seed])
    until = time.monotonic() + 60 * arguments.minutes
    lanes = [fork(partial(walk, edits, results, until, lane, arguments.lanes)) for lane in range(arguments.lanes)]
    failed = [lane for lane in lanes if os.waitpid(lane, 0)[1]]
    assert not failed, f"{len(failed)} of {len(lanes)} lanes failed; what they found is in {results.file}"
    found = results.read()
    record = summary([found[number] for number in sorted(found)], seed=arguments.seed)
    arguments.output.write_text(json.dumps(record, indent=1) + "\n")
    if len(found) == len(edits):
        results.file.unlink()
    print(json.dumps({name: value for name, value in record.items() if not isinstance(value, list)}, indent=1))


def walk(edits: list[Edit], results: Results, until: float, lane: int, num_lanes: int) -> None:
    """Try every edit of a lane that has no result yet, until the clock stops it."""
    with tempfile.TemporaryDirectory() as scratch:
        campaign = Campaign(Path(scratch))
        known = results.read()
        for number in range(lane, len(edits), num_lanes):
            if number in known:
                continue
            if time.monotonic() > until:
                break
            result = campaign.try_out(edits[number], check=number % 10 == 0)
            results.add(number, result)
            print(number, tell(result), flush=True)


def fork(do: Callable[[], None]) -> int:
    """Run a function in a new process, which ends with 1 if it fails. Returns its id."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            do()
            status = 0
        except Exception:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    return child


def edits_hash(edits: list[Edit]) -> str:
    """Hash of all files that are edited, since edits of another tree are other edits."""
    return hashlib.sha256("\0".join(edit.source for edit in edits).encode()).hexdigest()


class Results:
    """What was found so far, by the number of the edit: lines of a file that all lanes add to."""

    def __init__(self, file: Path, *, of: list[Any]) -> None:
        self.file = file
        first = file.read_text().split("\n", 1)[0] if file.exists() else ""
        if first != json.dumps(of):  # of another tree or seed
            file.write_text(json.dumps(of) + "\n")

    def read(self) -> dict[int, dict[str, Any]]:
        found = {}
        for line in self.file.read_text().splitlines()[1:]:
            with contextlib.suppress(json.JSONDecodeError):  # torn: stopped while it was written
                number, result = json.loads(line)
                found[number] = result
        return found

    def add(self, number: int, result: dict[str, Any]) -> None:
        with self.file.open("a") as file:
            file.write(json.dumps([number, result]) + "\n")


class Campaign:
    """A copy of the tree, the pieces that it makes, and processes that look at it."""

    def __init__(self, scratch: Path) -> None:
        self.scratch, self.tree, self.folder = scratch, scratch / "tree", scratch / "folder"
        os.environ["XDG_CACHE_HOME"] = str(scratch / "cache")
        for name in FOLDERS:
            shutil.copytree(ROOT / name, self.tree / "robustray" / name, ignore=shutil.ignore_patterns("__pycache__"))
        for path in (ROOT / "robustray").glob("*.py"):
            shutil.copy(path, self.tree / "robustray")
        self.folder.mkdir()
        assert self.process(lambda: steps.prepare(self.folder) or "ready", write_bytecode=True) == "ready"
        self.before = self.process(lambda: steps.compute(scratch / "before", self.folder), write_bytecode=True)
        assert all(isinstance(files, list) and files for files in self.before.values()), self.before
        self.store = scratch / "store"
        for made in sorted((scratch / "before").iterdir()):
            shutil.copytree(made, self.store, dirs_exist_ok=True)
        self.unedited = self.look(rows_too=True)
        assert set(self.unedited.values()) == {("current", "same")}, self.unedited
        self.looked_at: dict[str, list[int]] = self.process(lambda: steps.looked_at(self.folder, self.tree))

    def try_out(self, edit: Edit, *, check: bool) -> dict[str, Any]:
        """What the edit did, step by step: (what the lab says, what the rows are). check: compute the rows in every
        case."""
        runs = any(edit.line <= line <= edit.last_line for line in self.looked_at.get(edit.file, []))
        if edit.file not in self.looked_at and not check:
            return self.result(edit, self.unedited)
        path = self.tree / "robustray" / edit.file
        kept, times = path.read_text(), path.stat()
        path.write_text(edit.source)
        os.utime(path, (times.st_atime, times.st_mtime + 1_000))  # not taken for what it was compiled from
        try:
            found = self.look(rows_too=runs or check)
        finally:
            path.write_text(kept)
            os.utime(path, (times.st_atime, times.st_mtime))
        if check and not runs:
            expected = (
                self.unedited if edit.file not in self.looked_at else {n: (s, "same") for n, (s, _) in found.items()}
            )
            assert found == expected, f"a short cut was wrong: {edit.file}:{edit.line}: {found}"
        return self.result(edit, found)

    def result(self, edit: Edit, found: dict[str, tuple[str, str]]) -> dict[str, Any]:
        return {"file": edit.file, "line": edit.line, "before": edit.before, "after": edit.after, "found": found}

    def look(self, *, rows_too: bool) -> dict[str, tuple[str, str]]:
        """What the lab says, and what the rows are: without `rows_too`, those of before."""
        fresh = self.scratch / "fresh"
        shutil.rmtree(fresh, ignore_errors=True)

        def answers() -> Any:
            return steps.serve(self.store, self.folder), steps.compute(fresh, self.folder) if rows_too else None

        served, made = self.process(answers) or ({}, {})
        return {
            name: (
                served.get(name, "broken"),
                "same" if made is None else self.compare(files, made.get(name, "no answer")),
            )
            for name, files in self.before.items()
        }

    def compare(self, before: list[str], after: list[str] | str) -> str:
        """The rows of two lists of files: the same, other ones, or none."""
        if isinstance(after, str) or not after:  # it failed, or no row was computed
            return "none"
        return "same" if contents(before) == contents(after) else "other"

    def process(self, do: Callable[[], Any], *, write_bytecode: bool = False) -> Any:
        """What `do` returns in a process that has the tree; None where it dies, fails or takes too long."""
        answer = self.scratch / "answer.json"
        answer.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            try:
                signal.alarm(PATIENCE_S)
                sys.dont_write_bytecode = not write_bytecode
                sys.path.insert(0, str(self.tree))
                with open(os.devnull, "w") as nowhere:
                    os.dup2(nowhere.fileno(), 1)
                    if not write_bytecode:
                        os.dup2(nowhere.fileno(), 2)
                answer.write_text(json.dumps(do()))
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        return json.loads(answer.read_text()) if answer.exists() else None


def contents(files: list[str]) -> list[Any]:
    """Content of files regardless of their names: rows of pieces; weights and curves of trainings."""
    found: list[Any] = []
    for file in map(Path, files):
        if file.suffix == ".parquet":
            found.append(repr(pq.read_table(file).to_pydict()))  # NaN is itself; floats in all their digits
        elif file.suffix == ".safetensors":
            data = file.read_bytes()
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            about = json.loads(header["__metadata__"]["robustray"])
            tensors = {name: value.tobytes() for name, value in sorted(load_file(file).items())}
            found.append((tensors, json.dumps(about["curve"])))
    return sorted(found, key=lambda each: np.frombuffer(repr(each).encode(), np.uint8).sum())


def kind(said: str, rows: str) -> str:
    """Kind of outcome of one step after one edit."""
    if said == "broken":
        return "nothing served"
    if said == "current":
        return {"same": "current, rightly", "other": "stale", "none": "current, but nothing can be computed"}[rows]
    return {"same": "needlessly old", "other": "old, rightly", "none": "old, rightly"}[rows]


def tell(result: dict[str, Any]) -> str:
    counts = Counter(kind(*each) for each in result["found"].values())
    words = ", ".join(f"{count} {name}" for name, count in counts.items())
    return f"{result['file']}:{result['line']} {result['before']!r} -> {result['after']!r}: {words}"


def summary(results: list[dict[str, Any]], *, seed: int) -> dict[str, Any]:
    """The record: counts of pairs (edit, step) by kind, and which edits were stale or needless."""
    pairs = Counter(kind(*each) for result in results for each in result["found"].values())
    kinds = [{kind(*each) for each in result["found"].values()} for result in results]
    return {
        "edits": len(results),
        "seed": seed,
        "steps": len(steps_of(results)),
        "pairs": dict(pairs),
        "edits that made a stale number": sum("stale" in each for each in kinds),
        "edits that made something needlessly old": sum("needlessly old" in each for each in kinds),
        "edits that changed some rows": sum(bool(each & {"old, rightly", "stale"}) for each in kinds),
        "python": platform.python_version(),
        "torch": torch.__version__.partition("+")[0],
        "stale": [tell(result) for result, each in zip(results, kinds, strict=True) if "stale" in each],
        "served without code": [
            tell(result)
            for result, each in zip(results, kinds, strict=True)
            if "current, but nothing can be computed" in each
        ],
        "needlessly old": [
            tell(result) for result, each in zip(results, kinds, strict=True) if "needlessly old" in each
        ],
    }


def steps_of(results: list[dict[str, Any]]) -> list[str]:
    return list(results[0]["found"]) if results else []


if __name__ == "__main__":
    main()
