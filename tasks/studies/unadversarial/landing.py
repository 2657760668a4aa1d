"""The study's third task: a landing pad, in a simulator (after arXiv:2012.12235, whose drone is not released).

A small network learns to see where a pad is, on plain pads and on pads of random texture, and is frozen. Pads are then
designed for it. All pads fly the same episodes in MuJoCo, in clear air and in five weathers that no design has seen.
Two anchors: who knows where the pad is lands always, who does nothing hardly ever. A pilot on other episodes, with the
plain pad only, says whether these flights are of a difficulty at which pads can be told apart; if not, no claim is
decided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from robustray.tasks.kit.images import NEEDS
from robustray.tasks.lab.optimise import OptimiseSpec
from robustray.tasks.lab.protocol import Context, Tensor, block_function
from robustray.tasks.pad.flights import FlightSettings, Policy, fly_block, strip_block
from robustray.tasks.pad.regressor import PadDesignSettings, RegressorSettings, pad_design, regressor
from robustray.tasks.pad.settings import Flight
from robustray.tasks.render.simulator import require_gl
from robustray.tasks.render.weather import WEATHERS
from robustray.tasks.studies.unadversarial import landing_findings
from robustray.tasks.studies.unadversarial.landing_results import KINDS, Kind, LandingResults, Pad, Pilot
from robustray.tasks.studies.unadversarial.rendered_plan import MOST_PILOT
from robustray.tasks.studies.unadversarial.settings import Settings
from robustray.tasks.studies.unadversarial.textures import CLEAR, Condition
from robustray.tasks.study import Opened

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.lab.protocol import Handle, Lab, Reference
    from robustray.tasks.study import Findings

HELD_OUT = 1_000_000
"""Seeds of episodes are so far from those of training and design: no situation was seen there."""
PILOT_SEED = 2 * HELD_OUT
"""And those of the pilot from both."""
BLOCK = 25
"""Episodes per block, flown side by side."""
NUM_FRAMES = 7


@block_function(version=1, columns={"item": pa.int64(), "pad": Tensor("float32")})
def pad_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Pads that nobody designed; items: -1 for the plain one, else the number of a random one."""
    import torch

    from robustray.tasks.pad.scenes import plain_pad, random_pads

    pads = [plain_pad() if item < 0 else random_pads(context.seed, torch.tensor([item])) for item in items]
    return {"item": items, "pad": torch.cat(pads)}


def door(settings: Settings, lab: Lab) -> Opened:
    """See that MuJoCo can draw; everything else is made here. Raises: NoGl."""
    require_gl()
    return Opened(refs={})


def run(settings: Settings, lab: Lab) -> Findings:
    flight = Flight()

    # 1. The network, frozen from here on.
    training = RegressorSettings(flight=flight, num_steps=settings.regressor_steps)
    (net,) = lab.optimise(
        "regressor", [OptimiseSpec(function=regressor, settings=training, seed=settings.seed, needs=NEEDS)]
    ).result()

    # 2. Pads: plain, of random texture, and designed, each with a seed of its own.
    numbers = range(settings.num_pads)
    designing = lab.optimise("pad-design", [pad_spec(settings, flight, net.ref, number) for number in numbers])
    pads = {Pad("plain", 0): made_pad(settings, lab, -1)}
    pads |= {Pad("random", number): made_pad(settings, lab, number) for number in range(settings.num_random_pads)}
    designed = designing.result()
    pads |= {Pad("designed", number): found.ref for number, found in enumerate(designed)}

    # 3. The pilot, on episodes of its own; then the same episodes for all: every pad in every weather, two anchors.
    conditions = (CLEAR, *(Condition(weather, settings.landing_severity) for weather in WEATHERS))
    plain = Pad("plain", 0)

    def fly(
        pad: Pad, condition: Condition, policy: Policy = "regressor", *, pilot: bool = False
    ) -> Handle[pd.DataFrame]:
        return lab.map(
            "flights",
            fly_block,
            range(min(MOST_PILOT, settings.num_episodes) if pilot else settings.num_episodes),
            block=BLOCK,
            seed=settings.seed + (PILOT_SEED if pilot else HELD_OUT),
            settings=FlightSettings(
                flight=flight, weather=condition.weather, severity=condition.severity, policy=policy
            ),
            refs={"regressor": net.ref, "pad": pads[pad]},
            needs=NEEDS,
        )

    regime = {condition: fly(plain, condition, pilot=True) for condition in conditions if condition != CLEAR}
    idle = fly(plain, CLEAR, "nothing", pilot=True)
    flown = {(pad, condition): fly(pad, condition) for condition in conditions for pad in pads}
    anchors: dict[Policy, Handle[pd.DataFrame]] = {policy: fly(plain, CLEAR, policy) for policy in ("nothing", "truth")}
    foggy = Condition("fog", settings.landing_severity)
    strips: dict[Kind, Handle[pd.DataFrame]] = {
        kind: lab.map(
            "strips",
            strip_block,
            [0],
            block=1,
            seed=settings.seed + HELD_OUT,
            settings=FlightSettings(flight=flight, weather=foggy.weather, severity=foggy.severity),
            refs={"regressor": net.ref, "pad": pads[Pad(kind, 0)]},
        )
        for kind in KINDS
    }

    # 4. What it says.
    every = np.linspace(0, flight.num_steps, NUM_FRAMES).round().astype(int)
    return landing_findings.found(
        LandingResults(
            settings=settings,
            flight=flight,
            conditions=conditions,
            pilot=Pilot(idle=idle.result(), plain={condition: handle.result() for condition, handle in regime.items()}),
            flown={key: handle.result() for key, handle in flown.items()},
            anchors={policy: handle.result() for policy, handle in anchors.items()},
            training=net.curve,
            designs={number: found.curve for number, found in enumerate(designed)},
            pads={pad: np.array(lab.load(ref)["pad"], dtype=np.float32)[0] for pad, ref in pads.items()},
            strips={kind: np.asarray(handle.result().frames[0])[every] for kind, handle in strips.items()},
            steps=tuple(every.tolist()),
        )
    )


def pad_spec(settings: Settings, flight: Flight, net: Reference, number: int) -> OptimiseSpec:
    seed = settings.seed + number
    return OptimiseSpec(
        function=pad_design,
        settings=PadDesignSettings(flight=flight, ascent=settings.pad_ascent(seed)),
        seed=seed,
        refs={"regressor": net},
        needs=NEEDS,
    )


def made_pad(settings: Settings, lab: Lab, item: int) -> Reference:
    found = lab.map("pads", pad_block, [item], block=1, seed=settings.seed + HELD_OUT)
    return lab.rows(f"pad {item}", found, ["pad"])
