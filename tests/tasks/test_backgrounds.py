"""The study of backgrounds: who gets whose background, what versions hold, and what is estimated from predictions."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robustray.tasks.compose.cut import box_masks, tiled
from robustray.tasks.data import open_data
from robustray.tasks.data.images import ImageData
from robustray.tasks.data.scenes import parse_scenes, render
from robustray.tasks.errors import InputError
from robustray.tasks.kit.frames import at, one
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.statistics import Estimate
from robustray.tasks.studies.backgrounds import adversarial, reduce
from robustray.tasks.studies.backgrounds.blocks import NO_OTHER, composed, cuttable, partners
from robustray.tasks.studies.backgrounds.settings import VERSIONS, Settings
from robustray.tasks.studies.backgrounds.study import STUDY, run

# -- who gets whose background -----------------------------------------------------------------------------------------

LABELS = np.arange(270) % 9


@pytest.mark.parametrize("version", ["mixed_same", "mixed_rand", "mixed_next"])
def test_no_image_keeps_its_own_background_and_classes_are_the_stated_ones(version: str) -> None:
    kept = [image for image in range(270) if image % 5]
    pairs = partners(version, LABELS, kept, seed=0)
    assert [foreground for foreground, _ in pairs] == kept
    assert all(foreground != background and background in kept for foreground, background in pairs)
    shift = [(LABELS[background] - LABELS[foreground]) % 9 for foreground, background in pairs]
    if version == "mixed_rand":
        assert len(set(shift)) == 9 and max(Counter(shift).values()) < 3 * len(kept) / 9, "uniform, the own class too"
    else:
        assert set(shift) == {0 if version == "mixed_same" else 1}
    assert len({background for _, background in pairs}) > 60, "many backgrounds, not one per class"


def test_partners_belong_to_the_image_and_the_seed() -> None:
    kept = list(range(270))
    first = partners("mixed_rand", LABELS, kept, seed=0)
    assert partners("mixed_rand", LABELS, kept, seed=0) == first
    assert partners("mixed_rand", LABELS, kept, seed=1) != first
    assert partners("only_fg", LABELS, [4, 2], seed=0) == [[4, NO_OTHER], [2, NO_OTHER]]


def test_classes_need_not_be_numbered_without_gaps() -> None:
    labels = np.array([2, 2, 7, 7])
    assert [labels[b] for _, b in partners("mixed_next", labels, [0, 1, 2, 3], 0)] == [7, 7, 2, 2]
    with pytest.raises(InputError, match="image 2 is the only one of its class"):
        partners("mixed_same", labels, [0, 1, 2], 0)


# -- what the versions hold --------------------------------------------------------------------------------------------


def scenes(n: int = 90, rho: float = 0.0) -> ImageData:
    return open_data(f"scenes:test,n={n},rho={rho},aa=1", data_root=None).fetch()


def version_of(version: str, data: ImageData, pairs: list[list[int]]) -> np.ndarray:
    assert data.masks is not None and data.boxes is not None
    chosen, others = np.array(pairs).T
    sources = np.where(others == NO_OTHER, chosen, others)
    boxes = data.boxes
    return composed(
        version,
        data.images[chosen],
        data.masks[chosen],
        boxes[chosen],
        lambda: np.stack([tiled(data.images[source], boxes[source]) for source in sources]),
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_keeps_what_it_keeps_to_the_pixel(version: str) -> None:
    data = scenes()
    assert data.masks is not None and data.boxes is not None
    kept = list(range(90))
    pairs = partners(version, data.labels, kept, seed=0)
    result = version_of(version, data, pairs)
    masks, boxes = data.masks[:, None], box_masks(data.boxes, 32, 32)[:, None]
    whole = np.broadcast_to(masks, result.shape)
    around = ~np.broadcast_to(boxes, result.shape)
    if version in ("only_fg", "mixed_same", "mixed_rand", "mixed_next"):
        assert np.array_equal(result[whole], data.images[whole]), "the foreground is kept"
    if version in ("only_bg_b", "only_bg_t", "no_fg"):
        assert np.array_equal(result[around], data.images[around]), "the background is kept"
    if version == "only_fg":
        assert not result[~whole].any()
    if version == "no_fg":
        assert not result[whole].any()
    if version == "only_bg_b":
        assert not result[~around].any()
    if version == "only_bg_t":
        objects = [set(map(tuple, image[:, mask].T)) for image, mask in zip(data.images, data.masks, strict=True)]
        shown = [set(map(tuple, image.reshape(3, -1).T)) for image in result]
        assert not any(a & b for a, b in zip(objects, shown, strict=True)), "nothing of the object is left"
    if version.startswith("mixed"):
        others = version_of("only_bg_t", data, [[b, NO_OTHER] for _, b in pairs])
        assert np.array_equal(result[~whole], others[~whole]), "the rest is the other image's tiled background"


def test_without_correlation_own_and_other_classes_have_the_same_backgrounds() -> None:
    """The null of the study: at rho = 0 the family of a background is independent of whose background it is."""
    n = 3_600
    families = render(parse_scenes(f"scenes:test,n={n},size=12,aa=1"), range(n)).backgrounds
    labels = np.arange(n) % 9
    for version in ("mixed_same", "mixed_rand"):
        pairs = np.array(partners(version, labels, list(range(n)), seed=0))
        share = (families[pairs[:, 1]] == labels[pairs[:, 0]]).mean()
        assert abs(share - 1 / 9) < 4 * np.sqrt(8 / 81 / n)


def test_boxes_without_masks_are_their_own_masks() -> None:
    data = scenes()
    assert set(cuttable(data)) == {""}
    bare = ImageData(name="b", images=data.images, labels=data.labels, classes=data.classes, boxes=data.boxes)
    assert set(cuttable(bare)) == {""}
    assert data.boxes is not None
    masks = box_masks(data.boxes, 32, 32)
    no_fg, black_box = (
        composed(version, data.images, masks, data.boxes, lambda: data.images) for version in ("no_fg", "only_bg_b")
    )
    assert np.array_equal(no_fg, black_box)


# -- what is estimated -------------------------------------------------------------------------------------------------


def records(**predictions: list[int]) -> pd.DataFrame:
    """Eight images of class 0 under one network, one seed."""
    n = len(next(iter(predictions.values())))
    plain = {version: [0] * n for version in ("original", *VERSIONS)}
    head = {"images": "rho 0.9", "rho": 0.9, "network": "net", "seed": 0, "index": range(n), "label": 0}
    return pd.DataFrame({**head, "background_rand": 1, **plain, **predictions})


def test_the_gap_is_the_difference_of_paired_accuracies() -> None:
    frame = records(mixed_same=[0, 0, 0, 0, 0, 0, 1, 1], mixed_rand=[0, 0, 1, 1, 1, 5, 1, 1], mixed_next=[1] * 8)
    table = reduce.gap_table(frame, VERSIONS)
    row = one(table, network="net")
    assert row.gap == 6 / 8 - 2 / 8 and row.next_gap == 6 / 8
    assert row.lo < row.gap < row.hi and (row.n, row.seeds) == (8, 1)
    assert row.towards_background == 5 / 8, "five answers are the background's class, one is neither"
    same = reduce.gap_table(records(mixed_same=[0, 1] * 50, mixed_rand=[0, 1] * 50), VERSIONS)
    assert same.gap.item() == 0, "equal answers on both differ by nothing"


def test_the_own_class_of_a_background_does_not_count_as_being_fooled() -> None:
    frame = records(mixed_rand=[1, 1, 0, 0]).assign(background_rand=[1, 1, 0, 0])
    assert reduce.gap_table(frame, VERSIONS).towards_background.item() == 1.0
    assert reduce.gap_table(frame, VERSIONS).gap.item() == 0.5


@pytest.mark.parametrize(
    ("full", "foreground", "background", "category"),
    [
        (1, 0, 1, "bg_required"),
        (0, 1, 0, "bg_fools"),
        (1, 0, 0, "bg_and_fg_required"),
        (0, 1, 1, "bg_and_fg_fool"),
        (1, 1, 0, "bg_irrelevant"),
        (0, 0, 1, "bg_irrelevant"),
        (1, 1, 1, "bg_irrelevant"),
    ],
)
def test_categories_are_those_of_the_paper(full: int, foreground: int, background: int, category: str) -> None:
    wrong = 5
    frame = records(
        original=[0 if full else wrong, 0],
        mixed_rand=[0 if foreground else wrong, 0],
        only_bg_t=[0 if background else wrong, 0],
    )
    row = reduce.category_table(frame).iloc[0]
    shares = {name: row[name] for name in (*reduce.CATEGORIES, "bg_irrelevant")}
    expected = dict.fromkeys(shares, 0.0) | {"bg_irrelevant": 0.5}
    expected[category] = expected[category] + 0.5
    assert shares == pytest.approx(expected)
    assert row["required"] == (0.5 if category in ("bg_required", "bg_and_fg_required") else 0)


def test_seeds_are_averaged_on_the_same_images() -> None:
    good, bad = records(mixed_rand=[0] * 40), records(mixed_rand=[1] * 40).assign(seed=1)
    frame = pd.concat([bad.iloc[::-1], good], ignore_index=True)
    found: Estimate = next(reduce.gap(seeds) for _, seeds in reduce.groups(frame))
    assert found.value == 0.5 and found.n == 40
    assert (found.lo, found.hi) == (-1, 1), "two seeds that far apart say nothing"


def test_the_difference_of_two_gaps_is_paired_by_seed_and_foreground() -> None:
    """Gaps of single images: of the first 1 0 1 0, of the second 0 0 -1 0."""
    first = records(mixed_same=[0, 0, 0, 0], mixed_rand=[1, 0, 1, 0])
    second = records(mixed_same=[0, 0, 1, 1], mixed_rand=[0, 0, 0, 1])
    found = reduce.gap_difference([first], [second])
    assert found.value == pytest.approx(3 / 4) and found.n == 4
    assert reduce.gap_difference([first], [first]).interval == (0, 0), "a network differs from itself by nothing"


def kind(clean: float, gap: float, n: int = 1_000, seed: int = 0) -> pd.DataFrame:
    """A network with this clean accuracy and this BG-gap."""
    right, lost = round(n * clean), round(n * gap)
    return records(
        original=[0] * right + [1] * (n - right), mixed_same=[0] * n, mixed_rand=[1] * lost + [0] * (n - lost)
    ).assign(seed=seed)


def test_slopes_are_those_of_a_straight_line() -> None:
    line = [(0.5, 0.4), (0.6, 0.35), (0.8, 0.25)]
    kinds = [[kind(x, y, seed=seed) for seed in range(3)] for x, y in line]
    assert reduce.slope_over_seeds(kinds, reduce.gap_of).interval == pytest.approx((-0.5, -0.5))
    bent = [[kind(x, y + 0.1 * seed * (x - 0.5), seed=seed) for seed in range(3)] for x, y in line]
    found = reduce.slope_over_seeds(bent, reduce.gap_of)  # slopes -0.5, -0.4, -0.3
    assert found.value == pytest.approx(-0.4) and found.n == 3
    assert found.hi - found.value == pytest.approx(4.30265 * 0.1 / np.sqrt(3), rel=1e-4)
    models = reduce.slope_over_models([0.5, 0.6, 0.8, 0.9], [0.4, 0.35, 0.25, 0.2])
    assert models.value == pytest.approx(-0.5) and models.hi - models.lo == pytest.approx(0, abs=1e-6)
    assert np.isnan(reduce.slope_over_models([0.5] * 4, [1, 2, 3, 4]).value)


# -- adversarial backgrounds -------------------------------------------------------------------------------------------

ANSWERS = np.array(
    [  # backgrounds of the classes 0, 1, 1, 2; foregrounds of the classes 0, 0, 1
        [0, 1, 0, 0],
        [2, 1, 0, 0],
        [1, 1, 1, 1],
    ]
)
FOREGROUNDS, ROOMS = np.array([0, 0, 1]), np.array([0, 1, 1, 2])


def met(**changed: object) -> adversarial.Met:
    sweep = pd.DataFrame({"index": range(3), "label": FOREGROUNDS, "answers": list(ANSWERS)})
    challenge = pd.DataFrame(
        {"index": range(3), "label": FOREGROUNDS, "vulnerable": [True, True, False], "looked_at": [2, 1, 4]}
    )
    facts = {"network": "net", "seed": 0, "sweep": sweep, "challenge": challenge, "background_labels": ROOMS}
    return adversarial.Met(**{**facts, "clean": pd.Series([True, False, True]), **changed})


def test_success_counts_the_backgrounds_class_and_the_challenge_any_wrong_one() -> None:
    success = adversarial.attack_success(ANSWERS, FOREGROUNDS, ROOMS)
    assert success.tolist() == [0, 1, 0, 0], "of foregrounds of other classes; class 0 on class 0 does not count"
    assert adversarial.fooled(ANSWERS, FOREGROUNDS, ROOMS).tolist() == [True, True, False]
    only_wrong = np.array([[2, 0, 0, 0]])  # wrong on a background of class 0: no background's class, and still wrong
    assert not adversarial.fooled(only_wrong, FOREGROUNDS[:1], ROOMS).any()
    assert (only_wrong != FOREGROUNDS[:1, None]).any(), "which is what the challenge counts"
    alone = adversarial.attack_success(ANSWERS[:2], FOREGROUNDS[:2], ROOMS)
    assert np.isnan(alone[0]), "no foreground of another class"


def test_scores_stand_beside_their_anchors() -> None:
    row = one(adversarial.score_table([met()]), network="net")
    assert row.fooled == pytest.approx(2 / 3) and row.challenge == pytest.approx(1 / 3)
    assert row.clean == pytest.approx(2 / 3) and row.constant == pytest.approx(2 / 3), "two of three are of class 0"
    assert row.looked_at == pytest.approx(7 / 3)
    calm = met(challenge=met().challenge.assign(vulnerable=False))
    assert adversarial.challenge_gain([met()], [calm]).value == pytest.approx(2 / 3)


def test_the_best_background_is_reported_on_foregrounds_that_did_not_choose_it() -> None:
    """With answers at random the best of many backgrounds is no better than any on other foregrounds."""
    rng = np.random.default_rng(0)
    labels, rooms = np.repeat([0, 1], 200), np.repeat([0, 1], 150)
    answers = rng.integers(0, 2, (400, 300))
    random = met(
        sweep=pd.DataFrame({"index": range(400), "label": labels, "answers": list(answers)}), background_labels=rooms
    )
    table = adversarial.background_table([random], ("a", "b"), seed=0)
    for row in table.itertuples():
        assert row.n == 100 and row.backgrounds == 150
        assert abs(row.best - 0.5) < 0.2 and abs(row.worst - 0.5) < 0.2 and abs(row.mean - 0.5) < 0.02
        assert row.any == 1
    inside = answers[:200][:, rooms == 1].mean(0)
    assert inside.max() > 0.57, "chosen and reported on the same ones it would look better"


def test_foregrounds_of_the_challenge_are_others_as_far_as_there_are_others() -> None:
    settings = Settings(num_swept=20, num_challenged=30, num_backgrounds=40, num_fixed=100)
    found = adversarial.drawn(settings, 100)
    assert not set(found.swept) & set(found.challenged) and len(set(found.challenged)) == 30
    assert len(set(found.backgrounds)) == 40 and found == adversarial.drawn(settings, 100)
    few = adversarial.drawn(settings, 25)
    assert len(few.swept) == 20 and len(set(few.challenged)) == 25 and len(few.backgrounds) == 25


# -- which networks ----------------------------------------------------------------------------------------------------


def test_networks_of_several_claims_are_trained_once() -> None:
    settings = Settings(
        rhos=(0.0, 0.35, 0.9), curve_shares=(0.5,), curve_archs=("small:s",), eps_train=(0.3,), num_seeds=2
    )
    words = [network.words for network in settings.networks()]
    assert words[::2] == [
        "trained on Original, rho 0",
        "trained on Original, rho 0.35",
        "trained on Original, rho 0.9",
        "trained on Mixed-Rand, rho 0.9",
        "trained on Original, adversarially (l2 0.3), rho 0.9",
        "trained on Original, 0.5 of the scenes, rho 0.35",
        "trained on Original, small:s, rho 0.35",
    ]
    assert words[::2] == words[1::2], "with every seed"
    assert {network.words for network in settings.swept()} == {words[4], words[6]}
    assert len(settings.curve()) == 3 and all(network in settings.networks() for network in settings.curve())
    robust = settings.spec(settings.networks()[8], "scenes:train")
    assert (robust.loss, robust.norm, robust.eps, robust.num_steps) == ("adversarial", "l2", 0.3, 3)


def test_settings_of_scenes_do_nothing_beside_ones_own_images() -> None:
    """Every setting is read somewhere, and none is idle in both."""
    scenes = Settings(eps_train=(0.3,), curve_shares=(0.5,))
    own = Settings(data="mine", build="built")
    assert set(scenes.idle()) == {"segment", "attempts", "photo_side", "groups"}
    assert {"rhos", "arch", "epochs", "num_seeds", "test_steps", "curve_rho"} <= own.idle().keys()
    assert not {"seed", "num_examples", "num_swept", "num_saliency", "block", "versions"} & own.idle().keys()
    assert {"test_steps", "num_robust", "curve_rho"} <= Settings().idle().keys()


def test_a_network_is_on_the_curve_once() -> None:
    with pytest.raises(InputError, match="scenes:cnn is arch itself"):
        Settings(curve_archs=("small:s", "scenes:cnn"))


# -- the whole ---------------------------------------------------------------------------------------------------------


def test_a_model_on_ones_own_images_and_versions_to_take_away(tmp_path: Path) -> None:
    lab = SerialLab(store=Store(str(tmp_path / "store")))
    lab.declared = STUDY.declared
    own = "scenes:test,n=36,rho=0.9,aa=1"
    settings = Settings(data=own, build=str(tmp_path / "built"), num_examples=1)
    assert STUDY.door(settings, lab).incomplete
    found = run(settings, lab)
    assert not STUDY.door(settings, lab).incomplete
    assert "36 images" in found.answer and not found.claims
    assert {table.name for table in found.tables} == {"pairs", "built"}, "no model: nothing to judge"
    read = open_data(str(tmp_path / "built/mixed_same"), data_root=None).fetch()
    pairs = next(table.frame for table in found.tables if table.name == "pairs")
    mine = at(pairs, version="mixed_same")
    data = open_data(own, data_root=None).fetch()
    expected = version_of("mixed_same", data, mine[["foreground", "background"]].to_numpy().tolist())
    assert np.array_equal(read.images, expected)
    assert read.masks is not None and data.masks is not None and np.array_equal(read.masks, data.masks)
    run(settings, lab)  # what is there already and is the same is left
    (tmp_path / "built/no_fg/test-00000-of-00001.parquet").write_bytes(
        (tmp_path / "built/only_fg/test-00000-of-00001.parquet").read_bytes()
    )
    with pytest.raises(InputError, match=r"no_fg holds other test-\*\.parquet"):
        run(settings, lab)


def test_a_network_that_knows_shapes_only_has_no_gap_and_one_that_knows_backgrounds_has() -> None:
    """Scenes answered by an oracle, to see that versions, pairs and estimates fit together."""
    data = scenes(900, rho=0.9)
    families = render(parse_scenes("scenes:test,n=900,rho=0.9,aa=1"), range(900)).backgrounds
    frame = records(original=[0] * 900).assign(label=data.labels)
    pairs = {v: np.array(partners(v, data.labels, list(range(900)), seed=0))[:, 1] for v in VERSIONS if "mixed" in v}
    frame = frame.assign(background_rand=data.labels[pairs["mixed_rand"]])
    shapes = frame.assign(**{version: data.labels for version in pairs})
    backgrounds = frame.assign(**{version: families[others] for version, others in pairs.items()})
    assert reduce.gap_table(shapes, VERSIONS).gap.item() == 0
    row = reduce.gap_table(backgrounds, VERSIONS).iloc[0]
    same, rand = 0.9 + 0.1 / 9, 1 / 9  # by design; Mixed-Rand's class is right by chance
    assert row.gap == pytest.approx(same - rand, abs=0.06)
    assert row.towards_background == pytest.approx(same, abs=0.05)
