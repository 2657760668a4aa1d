"""A clip of an agent at work, as an animated GIF or PNG. The environment draws, Pillow writes."""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from robustray.tasks.errors import InputError
from robustray.tasks.policy_gradients.environments import Environment

if TYPE_CHECKING:
    from robustray.tasks.policy_gradients.agent import Agent

FORMATS = {".gif": "GIF", ".png": "PNG"}
"""Both are in every build of Pillow; a PNG keeps all colours and is larger."""
FRAMES_PER_SECOND = 25.0
"""Most frames per second of a clip; of faster environments every second step is shown, or fewer."""
MAX_STEPS = 20_000
"""All frames are in memory at once: 480 x 480 are 0.2 MB in a GIF."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """What was written."""

    path: Path
    num_frames: int
    seconds: float
    """At the environment's own speed, as far as a GIF's hundredths of a second allow."""
    episodes: tuple[dict[str, Any], ...]
    """Rows of `Agent.evaluate`; the last one as far as it is shown."""


def render(agent: Agent, path: Path, environment: str | None, *, steps: int, seed: int, deterministic: bool) -> Clip:
    """See `Agent.render`. The file is whole or absent."""
    check_path(path)
    if not 1 <= steps <= MAX_STEPS or seed < 0:
        raise InputError(f"steps must be 1 to {MAX_STEPS:,} and seed not negative, got {steps} and {seed}")
    with contextlib.closing(agent.open(environment, drawn=True)) as opened:
        every = max(1, round(opened.frames_per_second / FRAMES_PER_SECOND))
        duration_ms = 10 * round(100 * every / opened.frames_per_second) or 10
        rows: dict[int, dict[str, Any]] = {}
        frames: list[Image.Image] = []
        for row in _play(agent, opened, steps=steps, seed=seed, deterministic=deterministic):
            rows[row["episode"]] = row
            if row["length"] % every == 0 or row["terminated"]:
                frames.append(_stored(Image.fromarray(opened.frame()), path))
    if len({frame.size for frame in frames}) > 1:
        raise InputError(f"environment {opened.name}: its frames are not all of one size")
    written = io.BytesIO()
    frames[0].save(
        written,
        format=FORMATS[path.suffix.lower()],
        save_all=True,
        append_images=frames[1:],
        duration=duration_ms,
        loop=0,
    )
    draft = path.with_name(f".{path.name}.part")
    draft.write_bytes(written.getvalue())
    draft.replace(path)
    return Clip(
        path=path, num_frames=len(frames), seconds=len(frames) * duration_ms / 1000, episodes=tuple(rows.values())
    )


def check_path(path: Path) -> None:
    """Raises: InputError where no clip can be written."""
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"clip {path}: its name ends in .gif or .png, which says what it is")
    if not path.parent.is_dir():
        raise InputError(f"clip {path}: there is no folder {path.parent}")


def _play(agent: Agent, opened: Environment, *, steps: int, seed: int, deterministic: bool) -> Iterator[dict[str, Any]]:
    """Rows of episodes after their resets and after each of `steps` steps, in all."""
    episodes = (agent.steps(opened, number, seed, deterministic) for number in itertools.count())
    for row in itertools.chain.from_iterable(episodes):
        yield row
        steps -= row["length"] > 0
        if not steps:
            return


def _stored(frame: Image.Image, path: Path) -> Image.Image:
    """A frame as it is stored until all are there; a GIF has 256 colours for each frame."""
    return frame.quantize(256, dither=Image.Dither.NONE) if path.suffix.lower() == ".gif" else frame
