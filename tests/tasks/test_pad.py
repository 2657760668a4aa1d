"""The landing pad: both renderers, closed forms of a flight, Gymnasium's checker, training and design in the small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from torch import Tensor

from robustray.tasks.errors import InputError
from robustray.tasks.inputs.settings import SharedAscent
from robustray.tasks.inputs.shared import SharedParameter
from robustray.tasks.lab.protocol import Context
from robustray.tasks.lab.resumable import complete
from robustray.tasks.pad.environment import LandingPad, Site
from robustray.tasks.pad.flights import FlightSettings, Policy, fly_block, strip_block
from robustray.tasks.pad.regressor import (
    PadDesignSettings,
    RegressorSettings,
    SquaredError,
    frozen,
    pad_design,
    regressor,
)
from robustray.tasks.pad.scenes import (
    PAD_TEXELS,
    TEXELS,
    Scenes,
    anywhere,
    drawn,
    grounds,
    plain_pad,
    random_pads,
    starts,
    turned,
)
from robustray.tasks.pad.settings import Flight
from robustray.tasks.render.simulator import NoGl, require_gl

FLIGHT = Flight(side=16, num_steps=8)


@pytest.fixture(name="gl", scope="module")
def gl_fixture(lacking: Callable[[str], NoReturn]) -> None:
    try:
        require_gl()
    except NoGl as error:
        lacking(str(error))


def context(settings: Any, seed: int = 1, **objects: Any) -> Context:
    return Context(settings=settings, seed=seed, device="cpu", load=objects.__getitem__)


def weights(num_steps: int = 2) -> dict[str, np.ndarray]:
    fit = regressor(context(RegressorSettings(flight=FLIGHT, num_steps=num_steps, batch_size=4, num_grounds=4)))
    return {name: tensor.numpy() for name, tensor in complete(fit).items()}


def test_a_regressor_on_a_cpu_asks_for_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """`fork_rng` without devices would open every GPU of a machine with several."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    assert regressor(context(RegressorSettings(flight=FLIGHT, num_steps=1, batch_size=4, num_grounds=4))).step == 0


# --- What is seen -----------------------------------------------------------------------------------------------------


def test_the_pad_is_where_it_is_said_to_be() -> None:
    """The mean place of the pad's pixels, in the picture, is the target over the tangent of the view."""
    flight = Flight(side=96)
    scenes = starts(flight, 0, torch.arange(12))
    black, white = torch.zeros(12, 3, TEXELS, TEXELS), torch.ones(1, 3, PAD_TEXELS, PAD_TEXELS)
    there = drawn(flight, scenes, black, white).sum(1)
    place = (torch.arange(96) + 0.5) / 96 * 2 - 1
    found = (
        torch.stack([(there.sum(1) * place).sum(1), (there.sum(2) * -place).sum(1)], dim=1) / there.sum((1, 2))[:, None]
    )
    assert torch.allclose(found * flight.tangent, scenes.target(), atol=0.01)
    area = (there / there.amax((1, 2), keepdim=True)).sum((1, 2)) / 96**2
    assert torch.allclose(area, (1 / (2 * scenes.height * flight.tangent)) ** 2, rtol=0.1)


def test_situations_are_of_their_index() -> None:
    for draw in (starts, anywhere):
        whole, part = draw(FLIGHT, 3, torch.arange(9)), draw(FLIGHT, 3, torch.tensor([8, 2]))
        for all_of_them, two in zip(whole, part, strict=True):
            assert torch.equal(all_of_them[[8, 2]], two)
    begun = starts(FLIGHT, 0, torch.arange(2_000))
    assert begun.height.min() >= FLIGHT.lowest and begun.height.max() <= FLIGHT.highest
    assert begun.target().norm(dim=1).max() <= FLIGHT.reach + 1e-6
    assert (begun.place.norm(dim=1) < FLIGHT.landed).float().mean() < 0.05, "doing nothing must not land"
    assert torch.equal(grounds(FLIGHT, 0, torch.tensor([5, 1]))[1], grounds(FLIGHT, 0, torch.tensor([1]))[0])
    pads = random_pads(0, torch.arange(5))
    assert torch.equal(pads[[3]], random_pads(0, torch.tensor([3]))) and pads.min() >= 0 and pads.max() <= 1


def test_ground_has_no_seams() -> None:
    """Neighbours across the edge of a tile differ no more than within it."""
    texture = grounds(Flight(clutter=0), 0, torch.arange(8))
    within = (texture[..., 1:] - texture[..., :-1]).abs().mean()
    across = (texture[..., 0] - texture[..., -1]).abs().mean()
    assert across < 1.5 * within


def test_the_gradient_by_the_pad_is_that_of_finite_differences() -> None:
    scenes = Scenes(*(value.double() for value in anywhere(FLIGHT, 0, torch.arange(2))))
    scenes = scenes._replace(height=scenes.height / 3, place=scenes.place / 3)
    below = grounds(FLIGHT, 0, torch.arange(2)).double()
    pad = torch.full((1, 3, 2, 2), 0.5, dtype=torch.float64, requires_grad=True)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.autograd.gradcheck(lambda texture: drawn(FLIGHT, scenes, below, texture), (pad,))
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("gl")
def test_both_renderers_see_the_same() -> None:
    flight, indices = Flight(), torch.arange(5)
    scenes, below, pad = starts(flight, 7, indices), grounds(flight, 7, indices), random_pads(0, torch.tensor([2]))
    ours = drawn(flight, scenes, below, pad)
    site = Site(flight, pad[0])
    theirs = [site.image(Scenes(*(v[[i]] for v in scenes)), below[i], "clear", 0) for i in range(5)]
    site.close()
    error = (ours - torch.cat([image for image, _ in theirs])).square().mean((1, 2, 3))
    assert (-10 * error.log10() > 38).all(), "measured: 43 to 48 dB"
    depth = torch.cat([depth for _, depth in theirs])
    assert torch.allclose(depth.amax((1, 2)), scenes.height, atol=1e-2)


# --- The environment --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("gl")
def test_gymnasium_finds_nothing_wrong() -> None:
    env = LandingPad(FLIGHT)
    check_env(env, skip_render_check=False)
    env.close()


@pytest.mark.usefixtures("gl")
def test_a_step_is_its_two_lines() -> None:
    env = LandingPad(FLIGHT, seed=2)
    seen, info = env.reset(options={"episode": 5})
    begun = starts(FLIGHT, 2, torch.tensor([5]))
    assert info["offset"] == pytest.approx(float(begun.place.norm())) and np.array_equal(env.render(), seen)
    _, reward, over, cut, after = env.step(info["target"])
    assert after["offset"] == pytest.approx(0.5 * info["offset"], rel=1e-4) and reward == pytest.approx(
        0.5 * info["offset"], rel=1e-4
    )
    assert after["height"] == pytest.approx(0.95 * info["height"]) and not over and not cut
    _, _, _, _, still = env.step(np.zeros(2, np.float32))
    assert still["offset"] == pytest.approx(after["offset"])
    env.close()


@pytest.mark.usefixtures("gl")
@pytest.mark.parametrize("policy", ["truth", "nothing"])
def test_anchors(policy: Policy) -> None:
    """Who knows the offset lands always; who does nothing ends where it began."""
    settings = FlightSettings(flight=FLIGHT, policy=policy, weather="fog", severity=3)
    rows = fly_block(range(3), context(settings, pad={"pad": plain_pad().numpy()}))
    starts_at = np.array(rows["start"])
    if policy == "nothing":
        assert np.allclose(rows["offset"], starts_at, rtol=1e-5)
        assert np.array_equal(rows["success"], starts_at < FLIGHT.landed)
    else:
        assert all(rows["success"]) and max(rows["offset"]) < 0.02
        assert np.allclose(rows["error"], 0, atol=1e-6)


@pytest.mark.usefixtures("gl")
def test_flights_are_of_their_episode() -> None:
    """Whatever flies beside them, and the same start, ground and weather for another pad."""
    net, flight = weights(), FlightSettings(flight=FLIGHT, weather="rain", severity=2)
    pads = {"plain": plain_pad().numpy(), "random": random_pads(0, torch.arange(1)).numpy()}
    whole = fly_block([3, 9, 4], context(flight, regressor=net, pad={"pad": pads["plain"]}))
    alone = fly_block([4], context(flight, regressor=net, pad={"pad": pads["plain"]}))
    assert all(np.allclose(whole[name][2:], alone[name], atol=1e-5) for name in whole)
    other = fly_block([3, 9, 4], context(flight, regressor=net, pad={"pad": pads["random"]}))
    assert other["start"] == whole["start"] and other["offset"] != whole["offset"]
    strip = strip_block([4], context(flight, regressor=net, pad={"pad": pads["plain"]}))["frames"][0]
    assert strip.shape == (9, 3, 16, 16)


# --- The network, and pads for it -------------------------------------------------------------------------------------


def test_the_network_learns_where_the_pad_is() -> None:
    """On a bare ground, a bright pad, in a few steps: better than always saying the middle."""
    flight = Flight(side=16, clutter=0, lowest=3.0, highest=4.0)
    fit = regressor(context(RegressorSettings(flight=flight, num_steps=80, batch_size=32, num_grounds=8)))
    losses = [row["loss"] for row in fit.steps()]
    assert np.mean(losses[-20:]) < 0.5 * flight.tangent**2 / 2


class Blue(torch.nn.Module):
    """Says how blue the picture is, twice."""

    def forward(self, images: Tensor) -> Tensor:
        return images[:, 2].mean((1, 2))[:, None].expand(-1, 2)


def test_a_pad_is_moved_where_the_error_falls() -> None:
    ascent = SharedAscent(norm="linf", step_size=0.05, num_steps=12, batch_size=16, precision="fp32")
    settings = PadDesignSettings(flight=FLIGHT, ascent=ascent, num_scenes=64, num_grounds=4)
    designed = pad_design(context(settings, regressor=weights()))
    assert isinstance(designed, SharedParameter)
    before = designed.parameter.clone()
    losses = [-row["objective"] for row in designed.steps()]
    pad = designed.result()["pad"]
    assert pad.shape == (1, 3, PAD_TEXELS, PAD_TEXELS) and pad.min() >= 0 and pad.max() <= 1
    assert not torch.equal(pad, before) and len(losses) == 12
    designed.model, designed.step = Blue(), 0
    assert isinstance(designed.design.objective, SquaredError)
    designed.targets = torch.ones(64, 2)  # as blue as can be
    list(designed.steps())
    assert designed.parameter[:, 2].mean() > pad[:, 2].mean() + 0.2
    assert torch.allclose(designed.parameter[:, :2], pad[:, :2])


def test_training_goes_on_after_a_kill() -> None:
    settings = RegressorSettings(flight=FLIGHT, num_steps=4, batch_size=4, num_grounds=4)
    whole = complete(regressor(context(settings)))
    begun = regressor(context(settings))
    steps = begun.steps()
    for _ in range(2):
        next(steps)
    resumed = regressor(context(settings))
    resumed.load(begun.tensors(), begun.record())
    for name, tensor in complete(resumed).items():
        assert torch.equal(tensor, whole[name]), name
    net = frozen(FLIGHT, {name: tensor.numpy() for name, tensor in whole.items()})
    assert not net.training and not any(each.requires_grad for each in net.parameters())


def test_turning_is_to_the_left() -> None:
    assert torch.allclose(
        turned(torch.tensor([[1.0, 0.0]]), torch.tensor([np.pi / 2])), torch.tensor([[0.0, 1.0]]), atol=1e-6
    )


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"side": 8}, "side"),
        ({"angle": 170.0}, "field of view"),
        ({"lowest": 9.0}, "in order"),
        ({"reach": 0.6}, "below 0.58"),
        ({"gain": 0.0}, "gain"),
        ({"descent": 1.5}, "descent"),
        ({"pad": 0.0}, "pad"),
        ({"num_steps": 0}, "num_steps"),
    ],
)
def test_flights_that_cannot_be_flown_are_refused(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Flight(**changed)
