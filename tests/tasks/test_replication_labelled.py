"""What labels say of a replica without answers: shares by hand, bounds, a replica that has labels, the page."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustray.tasks.crowds.replicas.labelled import KNOWN, known_parts, labelled
from robustray.tasks.crowds.replicas.ranked import ANNOTATED, RANKS, Ranked, place_of, ranked
from robustray.tasks.crowds.sets import ACCEPTED, AcceptedLabels
from robustray.tasks.crowds.tables import read_table
from robustray.tasks.errors import InputError
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.studies.replication.determining import determined_parts
from robustray.tasks.studies.replication.settings import Settings
from robustray.tasks.studies.replication.study import STUDY
from robustray.tasks.study import Table

ORIGINAL = {"image_id": list("abcdef"), "class_id": [0, 0, 0, 1, 1, 1], "m": [1, 1, 1, 2, 1, 1]}
REPLICA = {"image_id": list("uvwx"), "class_id": [0, 0, 1, 1], "m": [1, 2, 2, 1]}
LABELS = {"a": [0], "b": [0], "c": [0, 1], "d": [1, 2], "e": [1], "f": []}
OF_REPLICA = {"u": [0], "v": [0, 3], "w": [1, 4], "x": [1]}


def write(folder: Path, name: str, columns: dict[str, Any]) -> str:
    pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    return str(folder / f"{name}.parquet")


def labels_of(folder: Path, labels: dict[str, list[int]]) -> str:
    columns = {"image": list(labels), "given": [0] * len(labels)}
    return write(folder, "labels", columns | {"accepted": pa.array(labels.values(), pa.list_(pa.int64()))})


def known(folder: Path, labels: dict[str, list[int]]) -> dict[str, float]:
    of = joined(folder)
    kinds = labelled(of, AcceptedLabels.of(read_table(labels_of(folder, labels), ACCEPTED)))
    return dict(zip(KNOWN, known_parts(of, kinds, 1, np.ones((1, 6)), np.ones((1, 4)))[0, 0].tolist(), strict=True))


def joined(folder: Path, annotated: dict[str, Any] | None = None) -> Ranked:
    original, replica = (
        read_table(write(folder, name, columns), RANKS) for name, columns in (("o", ORIGINAL), ("r", REPLICA))
    )
    flags = None if annotated is None else read_table(write(folder, "flags", annotated), ANNOTATED)
    return ranked(original, {"r": replica}, annotated=flags)


def test_shares_and_tipping_point_by_hand(tmp_path: Path) -> None:
    """Of five labelled images two have several labels; models are right on all with one, on half of those."""
    found = known(tmp_path, LABELS)
    assert [found[name] for name in ("share", "one", "several")] == pytest.approx([0.4, 1.0, 0.5])
    assert found["drop"] == pytest.approx(5 / 6 - 1 / 2), "image f counts here: it needs no label"
    assert found["needed"] == pytest.approx(0.4 + (1 / 3) / 0.5)
    assert (found["least"], found["most"]) == pytest.approx((-0.2, 0.3))
    assert np.isnan([found[name] for name in ("share_replica", "explained", "rest")]).all()


def test_the_needed_share_makes_exactly_the_drop(tmp_path: Path) -> None:
    found = known(tmp_path, LABELS)
    lost = found["one"] - found["several"]
    assert (found["needed"] - found["share"]) * lost == pytest.approx(found["drop"])
    assert found["most"] - found["least"] == pytest.approx(lost)


def test_a_replica_with_labels_is_decomposed(tmp_path: Path) -> None:
    found = known(tmp_path, LABELS | OF_REPLICA)
    assert found["share_replica"] == 0.5
    # (share of the original - of the replica) of each kind, times the mean accuracy of both sets on it
    assert found["explained"] == pytest.approx((0.6 - 0.5) * 1.0 + (0.4 - 0.5) * 0.25)
    assert found["explained"] + found["rest"] == pytest.approx(found["drop"])
    alike = known(
        tmp_path, LABELS | {"u": [0], "v": [0], "w": [1, 4], "x": [1, 2]} | {"f": [1, 3], "e": [1, 2], "c": [0]}
    )
    assert alike["share"] == alike["share_replica"] == 0.5 and alike["explained"] == pytest.approx(0)


def test_places_of_images() -> None:
    assert place_of(np.array(["b", "z", "a"]), np.array(["c", "b", "a"])).tolist() == [1, -1, 2]


def test_labels_and_flags_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no image of the original that several labels fit"):
        known(tmp_path, {name: each[:1] for name, each in LABELS.items()})
    flags: dict[str, Any] = {"image_id": list("abcdef"), "in_annotated20k": [True, True, False, True, True, True]}
    with pytest.raises(InputError, match="class 0 has one of them"):
        joined(tmp_path, flags)
    with pytest.raises(InputError, match=r"1 images of .* are not in it .the first is f"):
        joined(tmp_path, {name: each[:5] for name, each in flags.items()})
    with pytest.raises(InputError, match="image a has 2 rows"):
        joined(tmp_path, {name: [*each, each[0]] for name, each in flags.items()})
    with pytest.raises(InputError, match="a replica goes by the name of its file"):
        Settings(original="o", replicas=("accepted.parquet",))


@pytest.mark.parametrize("labels_of_replica", [False, True])
def test_the_page_says_what_is_determined(tmp_path: Path, labels_of_replica: bool) -> None:
    rng = np.random.default_rng(0)
    several = {name: rng.random(400) < share for name, share in (("o", 0.2), ("r", 0.5))}

    def table(name: str) -> dict[str, Any]:
        right = rng.random((400, 3)) < np.where(several[name], 0.4, 0.8)[:, None]
        return {"image_id": [f"{name}{i}" for i in range(400)], "class_id": np.arange(400) % 4} | {
            f"model{m}": np.where(right[:, m], 1, 3) for m in range(3)
        }

    names = ("o", "r") if labels_of_replica else ("o",)
    labels = {f"{name}{i}": [0, 1] if several[name][i] else [0] for name in names for i in range(400)}
    flags = {"image_id": [f"o{i}" for i in range(400)], "in_annotated20k": (np.arange(400) // 4) % 2 == 0}
    settings = Settings(
        original=write(tmp_path, "val", table("o")),
        replicas=(write(tmp_path, "hard", table("r")),),
        annotated=write(tmp_path, "flags", flags),
        accepted=labels_of(tmp_path, labels),
        num_resamples=200,
    )
    store = Store(str(tmp_path / "store"))
    store.create()
    lab = SerialLab(store=store)
    assert len(STUDY.door(settings, lab).refs) == 4
    found = STUDY.run(settings, lab)
    tables = {each.name: each.frame for each in found.tables}
    assert tables["determined"].determined.tolist() == ["yes", "yes" if labels_of_replica else "no", "no", "no"]
    row = tables["several-labels"].iloc[0]
    assert row.needed_lo < 0.5 < row.needed_hi, "planted: nothing but several labels makes the replica harder"
    assert tables["replicas"].drop_annotated[0] == pytest.approx(0.12, abs=0.05)
    if labels_of_replica:
        assert row.explained_lo < 0.12 < row.explained_hi and row.rest_lo < 0 < row.rest_hi
        assert not found.warnings
    else:
        assert "hard: not identifiable how much of the drop" in found.warnings[0] and "explained" not in row


def test_every_replica_is_told_by_its_own_labels() -> None:
    """One with labels, one without, and one whose labelled images are all of one kind."""
    ends = np.full((3, len(KNOWN), 3), 0.2)
    for place, unknown in ((1, ("share_replica", "explained", "rest")), (2, ("explained", "rest"))):
        ends[place, [KNOWN.index(name) for name in unknown]] = np.nan
    results = SimpleNamespace(
        known=pd.DataFrame({"top": [1, 5], "known": [ends, ends]}),
        of=SimpleNamespace(replicas=dict.fromkeys(("a", "b", "c"))),
        num_images=10,
        settings=Settings(),
    )
    pieces = list(determined_parts(results))  # type: ignore[arg-type]
    (table,) = [each for each in pieces if isinstance(each, Table) and each.name == "determined"]
    assert table.frame.determined.tolist() == ["yes", "of a only", "no", "no"]
    said = [each for each in pieces if isinstance(each, str)]
    assert [each[:2] for each in said] == ["b:", "c:"]
    assert "(it has no labels)" in said[0] and "(its labelled images are all of one kind)" in said[1]


def test_published_labels_of_imagenet(shared_data: Path, tmp_path: Path) -> None:
    """Several labels fit 15.9 % of the validation images that any fits; the drop needs far more of the replica's."""
    folder = shared_data / "annotations"
    real = pq.read_table(folder / "real_labels.parquet").rename_columns(["image", "given", "accepted"])
    pq.write_table(real, tmp_path / "accepted.parquet")
    of = ranked(
        read_table(str(folder / "pred_rank_imagenet_val.parquet"), RANKS),
        {"matched": read_table(str(folder / "pred_rank_v2_matched_frequency.parquet"), RANKS)},
        annotated=read_table(str(folder / "pred_top1_imagenet_val.parquet"), ANNOTATED),
    )
    assert of.annotated is not None and of.annotated.sum() == 20_000
    kinds = labelled(of, AcceptedLabels.of(read_table(str(tmp_path / "accepted.parquet"), ACCEPTED)))
    ones = np.ones((1, 50_000)), np.ones((1, 10_000))
    found = dict(zip(KNOWN, known_parts(of, kinds, 1, *ones)[0, 0].tolist(), strict=True))
    assert found["share"] == pytest.approx(7_443 / 46_837)
    assert [found[name] for name in ("drop", "one", "several")] == pytest.approx([0.1183, 0.817, 0.435], abs=5e-4)
    assert found["needed"] == pytest.approx(0.468, abs=2e-3) and np.isnan(found["explained"])
