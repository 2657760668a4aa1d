"""What runs that render will do, as far as it follows from the settings. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustray.tasks.cost import NetworkPass, NumpySecond, Part, Work
from robustray.tasks.kit.estimates import LOOK, num_images, side_of, training_part

if TYPE_CHECKING:
    from robustray.tasks.studies.unadversarial.settings import Settings

VIEW = 6.0
"""A view by our renderer at 64 pixels, 2 ms of CPU time (measured), in passes of network S, which take 0.3 ms in bf16
where the hardware multiplies it."""
JUDGED_VIEW = 100.0
"""A view by MuJoCo in six lights, with 20 weathers laid over it, and its 26 looks: 30 to 40 ms."""
TEXTURED = 2.0
"""An image in a design step: looking up the texture costs as much as the pass."""
CONDITIONS = 26
FIT, DESIGN, FLIGHT = 0.03, 0.04, 0.12
"""Seconds of CPU time: a step of the network's training, one of a pad's design, a flight of 30 steps."""
KINDS_OF_WEATHER = 6
MOST_PILOT = 100
"""Flights of the pilot in each weather, and without control; at most `num_episodes`."""


def object_estimate(settings: Settings) -> Work:
    """Textures of solids."""
    classifiers, solids = len(settings.names), 1 if settings.mesh else 3
    designs = classifiers * solids * (1 if solids == 1 else 2)
    judged = classifiers * solids * 4 * settings.num_weather_views
    seen = classifiers * solids * (4 if solids == 1 else 5) * settings.num_views
    (num_train,) = num_images([settings.data or settings.train_data], otherwise=10_000)[0].values()
    num_train //= 2 if settings.data else 1
    pixels = settings.texture_steps * settings.texture_batch
    looks = (seen * (VIEW + LOOK) + judged * JUDGED_VIEW) / max(1, seen + judged)
    parts = [
        Part(step="training-images", items=classifiers * num_train, cost=LOOK),
        Part(step="texture-design", items=designs, cost=TEXTURED * pixels + settings.num_design_views * VIEW),
        Part(step="textures", items=classifiers * (2 + solids), cost=1),
        Part(step="views", items=seen + judged, cost=looks),
        Part(step="pictures", items=4 * solids * min(6, settings.num_views), cost=VIEW),
    ]
    if not settings.models:
        trainings = [(settings.training(number), num_train) for number in range(classifiers)]
        parts = [training_part(trainings), *parts]
    return Work(
        counts={
            "images in design steps": designs * pixels,
            "looks by MuJoCo": judged * CONDITIONS,
            "looks by our renderer": seen,
        },
        note="Designs and the judge in weather take most of it.",
        parts=tuple(parts),
        unit=NetworkPass(
            models=settings.models or (settings.arch,), side=side_of(settings.data or settings.train_data)
        ),
    )


def landing_estimate(settings: Settings) -> Work:
    """Flights to a pad."""
    pads = 1 + settings.num_random_pads + settings.num_pads
    pilot = KINDS_OF_WEATHER * min(MOST_PILOT, settings.num_episodes)
    flights = (pads * KINDS_OF_WEATHER + 2) * settings.num_episodes + pilot
    return Work(
        counts={
            "pictures by MuJoCo": 31 * flights,
            "steps of the network's training": settings.regressor_steps,
            "steps of designs": settings.num_pads * settings.pad_steps,
        },
        note="Flights take most of it: about 4 ms of CPU time for each picture.",
        parts=(
            Part(step="regressor", items=1, cost=settings.regressor_steps * FIT),
            Part(step="pads", items=1 + settings.num_random_pads, cost=0.05),
            Part(step="pad-design", items=settings.num_pads, cost=settings.pad_steps * DESIGN),
            Part(step="flights", items=flights, cost=FLIGHT),
            Part(step="strips", items=3, cost=FLIGHT),
        ),
        unit=NumpySecond(),
    )
