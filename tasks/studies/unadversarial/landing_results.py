"""From flights to estimates: how often each kind of pad is landed on, by weather."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustray.tasks.kit.frames import columns
from robustray.tasks.kit.rules import Rule, amount, below, within
from robustray.tasks.pad.flights import Policy
from robustray.tasks.pad.settings import Flight
from robustray.tasks.statistics import (
    Estimate,
    difference_of,
    mean_interval,
    mean_over_seeds,
)
from robustray.tasks.studies.unadversarial.settings import Settings
from robustray.tasks.studies.unadversarial.shares import difference, share
from robustray.tasks.studies.unadversarial.textures import CLEAR, Condition

Kind = Literal["plain", "random", "designed"]
KINDS: tuple[Kind, ...] = ("plain", "random", "designed")


IDLE_LANDS, PLAIN_LANDS = below(0.1), within(0.3, 0.8)
"""The regime in which flights must be: with no control hardly any lands, and on the plain pad in weather some do. Their
numbers were fixed with the study, before any flight that is reported."""


class Pad(NamedTuple):
    """A pad, by kind and number."""

    kind: Kind
    number: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Pilot:
    """Flights of episodes that nothing else flies, by which the regime is judged."""

    idle: pd.DataFrame
    """Rows of `fly_block` where nobody steers, in clear air: weather cannot change what nobody looks at."""
    plain: Mapping[Condition, pd.DataFrame]
    """The plain pad's, in each weather."""

    @property
    def idle_lands(self) -> Estimate:
        """Share of flights that land by themselves."""
        return lands([self.idle])

    @property
    def plain_lands(self) -> Estimate:
        """On the plain pad, mean over weathers; the interval is over episodes."""
        return lands(list(self.plain.values()))

    @property
    def holds(self) -> bool:
        """Whether both shares, as they were found, lie in the regime."""
        return IDLE_LANDS.holds(self.idle_lands.value) and PLAIN_LANDS.holds(self.plain_lands.value)


def lands(flights: Sequence[pd.DataFrame]) -> Estimate:
    """Share of flights that land, mean over conditions; the interval is over episodes."""
    return mean_over_seeds([share(_landed(flights))], limits=(0.0, 1.0))


def _landed(flights: Sequence[pd.DataFrame]) -> NDArray[np.bool_]:
    """(episodes, conditions)"""
    return np.stack([rows.success.to_numpy(dtype=bool) for rows in flights], axis=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class LandingResults:
    """The flights of all pads."""

    settings: Settings
    flight: Flight
    conditions: tuple[Condition, ...]
    pilot: Pilot
    flown: Mapping[tuple[Pad, Condition], pd.DataFrame]
    """Rows of `fly_block`."""
    anchors: Mapping[Policy, pd.DataFrame]
    training: pd.DataFrame
    designs: Mapping[int, pd.DataFrame]
    pads: Mapping[Pad, NDArray[np.float32]]
    strips: Mapping[Kind, NDArray[np.uint8]]
    """Kind -> pictures of one flight in fog, (frames, 3, side, side)."""
    steps: tuple[int, ...]
    """After how many steps these were taken."""

    @property
    def weathers(self) -> tuple[Condition, ...]:
        """All conditions but clear air."""
        return tuple(condition for condition in self.conditions if condition != CLEAR)

    def numbered(self, kind: Kind) -> list[Pad]:
        return [pad for pad in self.pads if pad.kind == kind]

    def landed(self, pad: Pad, where: Sequence[Condition]) -> NDArray[np.bool_]:
        """(episodes, conditions): which flights ended on the pad."""
        return _landed([self.flown[pad, condition] for condition in where])

    def success(self, kind: Kind, where: Sequence[Condition]) -> Estimate:
        """Mean over the pads of a kind, with an interval over other pads and other episodes; over episodes only where
        there is one pad."""
        return mean_over_seeds([share(self.landed(pad, where)) for pad in self.numbered(kind)], limits=(0.0, 1.0))

    def gain(self, over: Kind, where: Sequence[Condition]) -> Estimate:
        """Designed minus another kind. Over the plain pad: paired by episode, one difference for each designed pad.
        Over random ones: the difference of both means, since both kinds come in several pads; that episodes are shared
        is not used, which makes the interval wider."""
        if over == "plain":
            plain = self.landed(Pad("plain", 0), where)
            return mean_over_seeds([difference(self.landed(pad, where), plain) for pad in self.numbered("designed")])
        return difference_of(self.success("designed", where), self.success(over, where))

    def errors(self, kind: Kind, where: Condition) -> NDArray[np.float64]:
        """(pads, episodes): by how much the first picture was misread, in shares of the height."""
        return np.stack([self.flown[pad, where].first_error.to_numpy(dtype=float) for pad in self.numbered(kind)])


def landing_table(results: LandingResults) -> pd.DataFrame:
    """One row for each weather and kind of pad."""
    rows = []
    for condition in results.conditions:
        for kind in KINDS:
            found = results.success(kind, (condition,))
            errors = results.errors(kind, condition)
            error = mean_over_seeds([mean_interval(row) for row in errors], limits=(0.0, np.inf))
            rows.append(
                {"weather": condition.weather, "severity": condition.severity, "pad": kind}
                | {"pads": len(results.numbered(kind))}
                | columns("landed", found)
                | columns("first_error", error, "error_lo", "error_hi")
                | {"error_95": float(np.quantile(errors, 0.95)), "n": found.n}
            )
    return pd.DataFrame(rows)


def pilot_table(pilot: Pilot) -> pd.DataFrame:
    """One row for each of the two numbers that the regime is about, and the plain pad's in each weather."""
    idle, low, high = (amount(end, "percent") for end in (IDLE_LANDS.high, PLAIN_LANDS.low, PLAIN_LANDS.high))
    asked: list[tuple[str, str, Estimate, str, Rule | None]] = [
        ("nobody steers", "clear", pilot.idle_lands, f"below {idle}", IDLE_LANDS),
        ("the plain pad", "mean of all", pilot.plain_lands, f"{low} to {high}", PLAIN_LANDS),
    ]
    asked += [("the plain pad", where.weather, lands([flown]), "", None) for where, flown in pilot.plain.items()]
    return pd.DataFrame(
        [
            {
                "flights": flights,
                "weather": weather,
                **columns("landed", found),
                "n": found.n,
                "asked for": words,
                "holds": "" if rule is None else "yes" if rule.holds(found.value) else "no",
            }
            for flights, weather, found, words, rule in asked
        ]
    )


def flight_table(results: LandingResults) -> pd.DataFrame:
    """One row for each flight."""
    return pd.concat(
        [
            rows.assign(pad=pad.kind, number=pad.number, weather=condition.weather, severity=condition.severity)
            for (pad, condition), rows in results.flown.items()
        ],
        ignore_index=True,
    )


def curve_table(results: LandingResults) -> pd.DataFrame:
    """One row for each design and step: mean squared error of the batch, in shares of the height."""
    return pd.concat(
        [
            pd.DataFrame({"pad": number, "step": curve.step, "loss": -curve.objective.astype("float32")})
            for number, curve in results.designs.items()
        ],
        ignore_index=True,
    )
