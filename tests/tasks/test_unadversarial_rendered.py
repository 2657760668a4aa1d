"""The study's rendered tasks: textures for a network whose answer is known, and what is read off flights and views."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from robustray.tasks.data.images import ImageData
from robustray.tasks.errors import InputError
from robustray.tasks.inputs.settings import SharedAscent
from robustray.tasks.inputs.shared import SharedParameter
from robustray.tasks.lab.protocol import Context
from robustray.tasks.pad.settings import Flight
from robustray.tasks.render.cameras import Views
from robustray.tasks.render.obj import obj_text
from robustray.tasks.render.reference import mesh_reference
from robustray.tasks.render.simulator import NoGl, require_gl
from robustray.tasks.render.solids import solid
from robustray.tasks.studies.unadversarial.landing import pad_block
from robustray.tasks.studies.unadversarial.landing_findings import claims, warnings
from robustray.tasks.studies.unadversarial.landing_results import (
    KINDS,
    LandingResults,
    Pad,
    Pilot,
    landing_table,
    pilot_table,
)
from robustray.tasks.studies.unadversarial.object_results import (
    SWAPPED,
    TEXTURES,
    ObjectResults,
    swap_table,
    texture_table,
    weather_table,
)
from robustray.tasks.studies.unadversarial.objects import CONDITIONS, solids
from robustray.tasks.studies.unadversarial.reduce import Chain
from robustray.tasks.studies.unadversarial.settings import OUTLINE
from robustray.tasks.studies.unadversarial.shares import share
from robustray.tasks.studies.unadversarial.textures import (
    CLEAR,
    GREY,
    NOISE,
    Condition,
    Scenery,
    Seen,
    TextureSettings,
    seen_block,
    shown,
    texture_block,
    texture_design,
)

QUICK = OUTLINE.sizes["quick"]
SIDE = 16
SCENERY = Scenery(elsewhere=(0,), views=Views(), texture_side=8)


class Colours(nn.Module):
    """Class c is whatever has the most of colour c: logits = 40 x mean of each channel."""

    def forward(self, x: Tensor) -> Tensor:
        return 40 * x.mean((2, 3))


def images(count: int = 24) -> ImageData:
    levels = np.random.default_rng(0).integers(100, 156, (count, 3, SIDE, SIDE), dtype=np.uint8)
    return ImageData(name="random", images=levels, labels=np.arange(count) % 3, classes=("red", "green", "blue"))


def context(settings: Any, seed: int = 5, **objects: Any) -> Context:
    known: dict[str, Any] = {"model": Colours(), "data": images(), "mesh": solid("car")} | objects
    return Context(settings=settings, seed=seed, device="cpu", load=known.__getitem__)


@pytest.fixture(name="gl", scope="module")
def gl_fixture(lacking: Callable[[str], NoReturn]) -> None:
    try:
        require_gl()
    except NoGl as error:
        lacking(str(error))


# --- Textures ---------------------------------------------------------------------------------------------------------


def test_a_network_of_colours_gets_a_texture_of_its_colour() -> None:
    """For red the best texture is (1, 0, 0) wherever a facet shows it; backgrounds are none of its class."""
    ascent = SharedAscent(norm="linf", step_size=0.1, num_steps=12, batch_size=8, precision="fp32")
    work = texture_design(context(TextureSettings(scenery=SCENERY, label=0, ascent=ascent, num_views=4)))
    assert isinstance(work, SharedParameter)
    assert not np.isin(images().labels[list(work.indices)], 0).any()
    losses = [-row["objective"] for row in work.steps()]
    texture = work.result()["texture"]
    assert losses[-1] < 0.7 * losses[0]
    assert texture[0, 0].mean() > 0.9 and texture[0, 1:].mean() < 0.1


def test_textures_that_nobody_designed() -> None:
    grey, noise, image = texture_block([GREY, NOISE, 3], context(8))["texture"]
    assert (grey == 0.5).all() and abs(noise.mean() - 0.5) < 0.05 and 0.07 < noise.std() < 0.13
    assert image.shape == (3, 8, 8) and abs(image.mean() - images().images[3].mean() / 255) < 0.03


def test_every_texture_is_seen_in_the_same_views() -> None:
    """Cameras and backgrounds follow from seed and number, whatever the texture and whatever is seen beside."""
    red, blue = (np.zeros((1, 3, 8, 8), np.float32) for _ in range(2))
    red[:, 0], blue[:, 2] = 1, 1
    seen = Seen(scenery=SCENERY, renderer="torch", conditions=(CLEAR, Condition("fog", 5), Condition("dusk", 5)))
    rows = seen_block(range(8), context(seen, texture={"texture": red}))
    other = seen_block(range(8), context(seen, texture={"texture": blue}))
    assert rows["predictions"].dtype == torch.int16, "as the column is declared"
    assert torch.equal(rows["covers"], other["covers"]) and (rows["background"] == other["background"]).all()
    assert (rows["predictions"][:, 0] == 0).all() and (other["predictions"][:, 0] == 2).all()
    assert not np.isin(images().labels[rows["background"]], 0).any()
    part = seen_block([6, 2], context(seen, texture={"texture": red}))
    assert torch.equal(part["predictions"], rows["predictions"][[6, 2]])
    assert torch.equal(part["covers"], rows["covers"][[6, 2]])
    again = seen_block(range(8), context(seen, seed=6, texture={"texture": red}))
    assert not torch.equal(again["covers"], rows["covers"])


@pytest.mark.usefixtures("gl")
def test_the_judge_sees_what_the_design_saw_and_weather_besides() -> None:
    grey = {"texture": np.full((1, 3, 8, 8), 0.5, np.float32)}
    conditions = (CLEAR, Condition("fog", 1), Condition("fog", 5), Condition("dusk", 5))
    ours, covers, _ = shown(
        range(3), context(Seen(scenery=SCENERY, renderer="torch", conditions=conditions), texture=grey)
    )
    theirs, same, _ = shown(
        range(3), context(Seen(scenery=SCENERY, renderer="mujoco", conditions=conditions), texture=grey)
    )
    assert torch.allclose(covers, same, atol=0.01)
    for condition in conditions:
        assert (ours[condition] - theirs[condition]).abs().mean() < 0.01, condition
    haze = [(theirs[condition] - 0.8).abs().mean() for condition in conditions[:3]]
    assert haze[0] > haze[1] > haze[2] and theirs[conditions[3]].mean() < 0.5 * theirs[CLEAR].mean()


def test_meshes_are_known_by_their_content(tmp_path: Any) -> None:
    file = tmp_path / "mine.obj"
    file.write_text(obj_text(solid("ship")))
    mine, ship = mesh_reference(str(file)), mesh_reference("ship")
    built = ship.build(ship.fetch(), "cpu")
    assert np.array_equal(built.corners, solid("ship").corners) and built.content_hash == ship.content_hash
    file.write_text(obj_text(solid("car")))
    assert mesh_reference(str(file)).content_hash != mine.content_hash
    with pytest.raises(InputError, match=r"mine.obj was changed"):
        mine.fetch()
    with pytest.raises(InputError, match="'shp': did you mean 'ship'"):
        mesh_reference("shp")


# --- What is read off the rows ----------------------------------------------------------------------------------------

CHAINS = (Chain("a", 0), Chain("b", 0))


def object_results() -> ObjectResults:
    """Two solids, four views: the designed texture is always answered with its class, grey for the first half; in
    weather, half of each."""
    mine = {"car": 0, "ship": 2}
    ours: dict[Any, Any] = {}
    judged: dict[Any, Any] = {}
    for chain in CHAINS:
        for name, label in mine.items():
            wrong = 1
            for texture in TEXTURES:
                right = 4 if texture == "designed" else 2
                answers = np.array([[label]] * right + [[wrong]] * (4 - right), np.int16)
                ours[chain, name, texture] = answers
                judged[chain, name, texture] = np.repeat(answers, len(CONDITIONS), axis=1)
                judged[chain, name, texture][:, 1 : 1 + len(CONDITIONS) // 2 + 1 : 2] = wrong
            ours[chain, name, SWAPPED] = np.array([[2 - label]] * 3 + [[label]], np.int16)
    return ObjectResults(
        settings=QUICK,
        classes=("red", "green", "blue"),
        mine=mine,
        chains=CHAINS,
        conditions=CONDITIONS,
        ours=ours,
        judged=judged,
        covers={"car": 0.2, "ship": 0.1},
        curves={},
        textures={},
        pictures={},
    )


def test_textures_are_compared_view_by_view() -> None:
    found = object_results()
    assert found.overall("designed", None).value == 1 and found.accuracy("car", "grey", (CLEAR,)).value == 0.5
    assert found.gain("grey", None).value == pytest.approx(0.5)
    share = 1 - len(range(1, 1 + len(CONDITIONS) // 2 + 1, 2)) / len(found.weathers)
    assert found.gain("random", found.weathers).value == pytest.approx(0.5 * share)
    table = texture_table(found)
    assert len(table) == 8 and set(table.n) == {4}
    assert table[table.texture == "designed"].weather.tolist() == pytest.approx([share, share])
    weather = weather_table(found).set_index(["texture", "weather", "severity"]).accuracy
    assert weather["designed", "clear", 0] == 1 and weather["designed", "fog", 1] == 0


def test_swapped_textures_are_counted_both_ways() -> None:
    table = swap_table(object_results()).set_index("solid")
    assert table.other.tolist() == [0.75, 0.75] and table.own.tolist() == [0.25, 0.25]
    assert table.designed_for.tolist() == ["blue", "red"]


def flights(landed: list[int]) -> pd.DataFrame:
    count = len(landed)
    return pd.DataFrame({"episode": range(count), "success": np.array(landed, bool), "first_error": 0.1, "offset": 1.0})


def test_pads_are_compared_episode_by_episode() -> None:
    foggy = Condition("fog", 3)
    shares = {
        Pad("plain", 0): [1, 1, 0, 0],
        Pad("random", 0): [1, 0, 0, 0],
        Pad("random", 1): [1, 1, 0, 0],
        Pad("designed", 0): [1, 1, 1, 1],
        Pad("designed", 1): [1, 1, 1, 0],
    }
    found = LandingResults(
        settings=QUICK,
        flight=Flight(),
        conditions=(CLEAR, foggy),
        flown={(pad, where): flights(landed) for pad, landed in shares.items() for where in (CLEAR, foggy)},
        anchors={},
        pilot=pilot([0] * 10, [1, 0]),
        training=pd.DataFrame(),
        designs={},
        pads=dict.fromkeys(shares, np.zeros((3, 2, 2), np.float32)),
        strips={},
        steps=(),
    )
    assert found.success("plain", (CLEAR,)).value == 0.5 and found.success("designed", (foggy,)).value == 0.875
    assert found.gain("plain", found.weathers).value == pytest.approx(0.375)
    assert found.gain("random", found.weathers).value == pytest.approx(0.5)
    wide, narrow = found.gain("random", (CLEAR,)), found.gain("plain", (CLEAR,))
    assert wide.lo < 0.5 < wide.hi and narrow.lo < 0.375 < narrow.hi
    assert found.success("plain", (CLEAR, foggy)).hi < 1 and share(np.zeros((5, 3), bool)).hi > 0.3, "few say little"
    table = landing_table(found)
    assert len(table) == 6 and table.first_error.tolist() == pytest.approx([0.1] * 6)


def pilot(idle: list[int], plain: list[int]) -> Pilot:
    return Pilot(idle=flights(idle), plain={Condition(weather, 3): flights(plain) for weather in ("fog", "rain")})


@pytest.mark.parametrize(
    ("idle", "plain", "holds"),
    [
        ([0] * 20, [1, 0], True),
        ([0] * 19 + [1], [1] * 4 + [0], True),
        ([0] * 9 + [1], [1, 0], False),
        ([0] * 20, [1, 1], False),
        ([0] * 20, [1, 0, 0, 0], False),
    ],
)
def test_the_pilot_decides_whether_anything_is_decided(idle: list[int], plain: list[int], holds: bool) -> None:
    """Fewer than a tenth land by themselves, 30 to 80 % on the plain pad; else all claims of pads stay undecided."""
    tried = pilot(idle, plain)
    assert tried.holds is holds
    table = pilot_table(tried)
    assert ("no" in set(table.holds)) is not holds and table.landed.tolist() == pytest.approx(
        [np.mean(idle), *[np.mean(plain)] * 3]
    )
    better = {"plain": [0] * 40, "random": [0] * 40, "designed": [1] * 40}
    conditions = (CLEAR, Condition("fog", 3))
    pads = [Pad(kind, number) for kind in KINDS for number in range(1 if kind == "plain" else 2)]
    found = LandingResults(
        settings=QUICK,
        flight=Flight(),
        conditions=conditions,
        pilot=tried,
        flown={(pad, where): flights(better[pad.kind]) for pad in pads for where in conditions},
        anchors={"nothing": flights([0] * 40), "truth": flights([1] * 40)},
        training=pd.DataFrame(),
        designs={},
        pads=dict.fromkeys(pads, np.zeros((3, 2, 2), np.float32)),
        strips={},
        steps=(),
    )
    verdicts = {each.verdict for each in claims(found) if each.kind == "paper"}
    assert verdicts == {"supported" if holds else "undecided"}
    assert [text for text in warnings(found) if "regime fails" in text] != [] or holds


def test_pads_that_nobody_designed_are_plain_or_random() -> None:
    plain, first, second = pad_block([-1, 0, 1], context(None))["pad"]
    assert len(plain.unique()) == 1 and not torch.equal(first, second) and first.std() > 0.05


# --- Settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"task": "object"}, "task"),
        ({"mesh": "my.obj"}, "mesh and mesh_class go together"),
        ({"mesh_class": "disc"}, "go together"),
        ({"mesh": "my.stl", "mesh_class": "disc"}, r"only .obj files"),
        ({"mesh": "my.obj", "mesh_class": "disc", "task": "landing"}, "has no mesh"),
        ({"num_weather_views": 100}, "num_weather_views 100"),
        ({"landing_severity": 6}, "1 to 5, got 6"),
        ({"texture_step": 0.0}, "texture_step"),
        ({"num_episodes": 0}, "num_episodes"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        replace(QUICK, **changed)


def test_a_mesh_alone_means_objects() -> None:
    mine = replace(QUICK, mesh="my.obj", mesh_class="star")
    assert mine.doing == "objects" and QUICK.doing == "patches"
    assert "solid_classes" in mine.idle() and "solid_classes" not in replace(QUICK, task="objects").idle()


@pytest.mark.parametrize(
    ("classes", "says"),
    [(("disc", "star", "bat"), "'bat'.*did you mean"), (("disc", "star", "disc"), "names one twice")],
)
def test_classes_of_solids_are_looked_up(classes: tuple[str, ...], says: str) -> None:
    data = replace(images(9), classes=("disc", "star", "bar"))
    with pytest.raises(InputError, match=says):
        solids(replace(QUICK, solid_classes=classes), data)
