"""Whole flights with one pad, by episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from robustray.tasks.lab.protocol import Context, Tensor, block_function
from robustray.tasks.pad.settings import Flight
from robustray.tasks.render.weather import Weather

Policy = Literal["regressor", "truth", "nothing"]
"""Who says where the pad is: the network; the simulator itself; nobody, so that the camera only descends."""


@dataclass(frozen=True, kw_only=True)
class FlightSettings:
    """In what weather, and led by whom."""

    flight: Flight
    weather: Weather = "clear"
    severity: int = 0
    policy: Policy = "regressor"


@block_function(
    version=1,
    columns={
        "episode": pa.int64(),
        "success": pa.bool_(),
        "start": pa.float32(),
        "offset": pa.float32(),
        "first_error": pa.float32(),
        "error": pa.float32(),
    },
)
def fly_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Episodes `items`; settings: `FlightSettings`; "regressor": the net's arrays, "pad": a texture as array "pad".

    start, offset: metres to the middle of the pad at the start and at the end. first_error, error: distance between
    what was said and where the pad was, in shares of the height, in the first picture and as a mean over the flight.
    Start, ground, light and weather follow from the seed and the episode alone: every pad flies the same episodes.
    """
    rows = _flown(items, context, keep=False)
    return {name: rows[name] for name in ("episode", "success", "start", "offset", "first_error", "error")}


@block_function(version=1, columns={"episode": pa.int64(), "frames": Tensor("uint8")})
def strip_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """The pictures of the same flights: (num_steps + 1, 3, side, side)."""
    rows = _flown(items, context, keep=True)
    return {"episode": rows["episode"], "frames": rows["frames"]}


def _flown(items: Sequence[int], context: Context, *, keep: bool) -> dict[str, list[Any]]:
    import contextlib

    import torch

    from robustray.tasks.attacks.gradient.verdicts import predict_logits
    from robustray.tasks.pad.environment import LandingPad, Site
    from robustray.tasks.pad.regressor import frozen
    from robustray.tasks.pad.scenes import PAD_TEXELS

    settings: FlightSettings = context.settings
    flight = settings.flight
    net = frozen(flight, context.load("regressor"), context.device) if settings.policy == "regressor" else None
    pad = torch.from_numpy(np.array(context.load("pad")["pad"], dtype=np.float32)).reshape(3, PAD_TEXELS, PAD_TEXELS)
    how: dict[str, Any] = {"weather": settings.weather, "severity": settings.severity, "seed": context.seed}
    with contextlib.closing(Site(flight, pad)) as site:
        envs = [LandingPad(site=site, **how) for _ in items]
        begun = [env.reset(options={"episode": item}) for env, item in zip(envs, items, strict=True)]
        seen, info = [pixels for pixels, _ in begun], [each for _, each in begun]
        starts, frames, errors = [each["offset"] for each in info], [seen], []
        for _ in range(flight.num_steps):
            target = np.stack([each["target"] for each in info])
            if net is not None:
                images = torch.from_numpy(np.stack(seen)).permute(0, 3, 1, 2).float().div(255)
                said = predict_logits(net, images.to(context.device)).cpu().numpy()
            else:
                said = target if settings.policy == "truth" else np.zeros_like(target)
            errors.append(np.linalg.norm(said - target, axis=1))
            stepped = [env.step(action) for env, action in zip(envs, said, strict=True)]
            seen, info = [step[0] for step in stepped], [step[4] for step in stepped]
            if keep:
                frames.append(seen)
    rows: dict[str, list[Any]] = {
        "episode": list(items),
        "success": [each["success"] for each in info],
        "start": starts,
        "offset": [each["offset"] for each in info],
        "first_error": list(errors[0]),
        "error": list(np.mean(errors, axis=0)),
    }
    if keep:
        rows["frames"] = [np.stack([frame[i] for frame in frames]).transpose(0, 3, 1, 2) for i in range(len(items))]
    return rows
