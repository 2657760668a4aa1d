"""What environments need to draw themselves, and what is to be said where it is not there."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Any

import gymnasium


def came_from_mujoco(error: BaseException) -> bool:
    """Whether an error came from MuJoCo: where its renderer is missing, `import mujoco` fails without saying so."""
    return any("mujoco" in Path(frame.filename).parts for frame in traceback.extract_tb(error.__traceback__))


def clear_away(error: BaseException) -> None:
    """What gymnasium 1.2.2 half-made for drawing complains on stderr when it is destroyed; nobody needs that line."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        traceback.clear_frames(error.__traceback__)
    finally:
        sys.unraisablehook = hook


def draws_by_gl(env: gymnasium.Env[Any, Any]) -> bool:
    """Is it one of Gymnasium's MuJoCo environments, or made from one?"""
    return any(kind.__module__.startswith("gymnasium.envs.mujoco") for kind in type(env.unwrapped).__mro__)


def has_gl() -> bool:
    """Is anything named that MuJoCo could draw by? Asked first: with nothing, mujoco 4.0.0 raises the first time and
    ends the whole process the second time."""
    return sys.platform != "linux" or any(os.environ.get(name) for name in ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY"))


def drawing_needs(env: gymnasium.Env[Any, Any]) -> str:
    """What a person may lack, behind a library's own words."""
    if not draws_by_gl(env):
        return ""
    return (
        "; MuJoCo draws by OpenGL: without a display set MUJOCO_GL=egl (needs libEGL: apt-get install libegl1) or "
        f"MUJOCO_GL=osmesa (needs libosmesa6); it is {os.environ.get('MUJOCO_GL') or 'not set'}"
    )
