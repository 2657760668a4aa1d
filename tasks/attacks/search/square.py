"""Square: random search on the margin, no gradients (Andriushchenko et al., arXiv:1912.00049).

Each query changes one square (linf) or moves the mass of one square into another (l2), and is kept where the margin
rises. Numbers of a query are noise of (seed, restart, query, image), so rows of different age share a batch.

Few queries are kept (one in thirty, later one in a hundred), so where few images are left the next queries of each are
looked at together, as rows of one batch, all made from its point of the moment. Those behind the first that is kept
were made from a point that is left and are dropped: what is found is what one query after the other finds, to the bit.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from robustray.tasks.attacks.objective import Margin
from robustray.tasks.attacks.search import noise
from robustray.tasks.attacks.search.rows import Search, State
from robustray.tasks.errors import InputError

FIRST_SHARE = 0.8
"""Share of the image's area that the first square covers."""
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries after which the share is halved."""
AHEAD = 64
"""Queries of an image whose numbers are drawn at once: a handful at a time costs as much as all of these."""
TOGETHER = 16
"""Queries of an image that are looked at together, at most."""
TILES = 5
"""Tiles along a side of the first l2 perturbation."""


def share(query: int) -> float:
    """Share of the area that query 1, 2, ... changes; query 0 is the start."""
    return FIRST_SHARE / 2 ** sum(query > halving for halving in HALVINGS)


def side(query: int, height: int, width: int, *, odd: bool = False) -> int:
    """Side of the square in pixels, at least 1, for l2 odd and at least 3, and never larger than the image."""
    length = max(round(math.sqrt(share(query) * height * width)), 1)
    if odd:
        length = max(length, 3) | 1
    limit = min(height, width)
    return min(length, limit if not odd or limit % 2 else limit - 1)


class SquareSearch(Search):
    """State: `x` (n, channels, height, width), the best point so far, its `margin` (n,), the next query `k` (n,); for
    linf also the `low` and `high` ends of each pixel. `drawn` (n, AHEAD, numbers of a query): those of query
    `drawn_from` (n,) and the ones behind it. m: queries of an image that are looked at together."""

    def __init__(self, *args: Any) -> None:
        """Raises: InputError unless images are (batch, channels, height, width)."""
        super().__init__(*args)
        images = self.problem.images
        if images.ndim != 4:
            raise InputError(
                f"square needs images (batch, channels, height, width), got {tuple(images.shape)}: it draws squares"
            )
        self.channels, self.height, self.width = images.shape[1:]
        odd = self.plan.norm == "l2"
        sides = [side(k, self.height, self.width, odd=odd) for k in range(self.plan.num_steps)]
        self.sides = torch.tensor(sides, device=images.device)
        self.y = torch.arange(self.height, device=images.device).view(1, 1, -1, 1)
        self.x = torch.arange(self.width, device=images.device).view(1, 1, 1, -1)
        inverse_squares = 1 / torch.arange(1.0, max(self.height, self.width) + 2, dtype=torch.float64) ** 2
        sums = torch.cat((torch.zeros(1, dtype=torch.float64), inverse_squares.cumsum(0)))
        self.sums = sums.float().to(images.device)
        """sums[m] = 1 + 1/4 + ... + 1/m^2"""
        self.kept_share = 1.0
        """Of the last queries that were kept or seemed wrong, roughly. Decides about speed alone."""
        if odd:
            self.bumps, self.shapes = self._all_bumps()

    def start(self, items: Tensor, restart: Tensor) -> State:
        centre = self.problem.images[items]
        first = self._stripes(items, restart) if self.plan.norm == "linf" else self._tiles(items, restart)
        state = {"margin": torch.full_like(centre[:, 0, 0, 0], -torch.inf), "k": torch.zeros_like(items)}
        state["drawn"] = centre.new_zeros(len(items), AHEAD, (2 if self.plan.norm == "linf" else 5) + self.channels)
        state["drawn_from"] = torch.full_like(items, -AHEAD)
        state["x"] = self.geometry.project(centre + self.masked(first, items), centre, self.plan.eps)
        if self.plan.norm == "linf":  # every painted pixel takes one of these
            state["low"], state["high"] = (centre - self.plan.eps).clamp_(min=0), (centre + self.plan.eps).clamp_(max=1)
        return state

    def step(self, items: Tensor, restart: Tensor, state: State) -> tuple[State, Tensor]:
        x, k, labels = state["x"], state["k"], self.problem.labels[items]
        queries = k[:, None] + torch.arange(self._num_together(len(items)), device=k.device)
        there = queries < self.plan.num_steps
        change = self._square if self.plan.norm == "linf" else self._mass
        drawn = self._drawn(items, restart, state, queries.shape[1])
        proposed = change(items, queries.clamp_max(self.plan.num_steps - 1), drawn, state)
        new = k == 0
        if new.any():  # query 0 looks at the start
            proposed[new, 0] = x[new]
        margins, output = self.view.estimate(
            proposed.flatten(0, 1), labels.repeat_interleave(queries.shape[1]), Margin()
        )
        margins, wrongs = margins.view_as(queries), output.logits.argmax(1).view_as(queries) != labels[:, None]

        stops = ((margins > state["margin"][:, None]) | wrongs) & there
        found = stops.any(1)
        asked = torch.where(found, stops.int().argmax(1) + 1, there.sum(1))
        at = torch.arange(len(k), device=k.device), asked - 1
        candidate, margin = proposed[at], margins[at]
        wrong = wrongs[at] & found
        gone = self.confirm(items, candidate[:, None], wrong[:, None])[:, 0]
        # a point that seemed wrong and is not would be a margin that nothing beats
        better = found & (margin > state["margin"]) & ~(wrong & ~gone)
        x[better] = candidate[better]  # few rows: in place, in this search's own tensor
        self.record.num_evaluations[items] += asked
        self.kept_share += 0.1 * (float(found.sum() / asked.sum()) - self.kept_share)
        moved = dict(state, margin=torch.where(better, margin, state["margin"]), k=k + asked)
        return moved, gone

    def _num_together(self, num_images: int) -> int:
        """As many as fill the batch, and few enough that most come before the first that is kept."""
        few = int(0.5 / self.kept_share) if self.kept_share > 0 else TOGETHER
        return max(1, min(self.plan.batch_size // num_images, few, TOGETHER))

    def finish(self, items: Tensor, state: State) -> None:
        self.record.offer(items, state["x"])

    # linf: paint a square with +eps or -eps.

    def _stripes(self, items: Tensor, restart: Tensor) -> Tensor:
        """A start of vertical stripes of +eps or -eps."""
        drawn = self._draw(items, restart, torch.zeros_like(items), self.channels * self.width)
        return self.plan.eps * _sign(drawn).view(-1, self.channels, 1, self.width)

    def _square(self, items: Tensor, queries: Tensor, drawn: Tensor, state: State) -> Tensor:
        """(n, m, channels, height, width): the points that `queries` (n, m) propose, by their numbers (n, m, count)."""
        _, _, inside = self._window(drawn[..., :2], self.sides[queries])
        up = (drawn[..., 2:, None, None] >= 0.5).to(drawn.dtype)
        # At weights 0 and 1 `lerp` is exact, and many times faster than `where` on a CPU.
        painted = torch.lerp(state["low"][:, None], state["high"][:, None], up)
        return torch.lerp(state["x"][:, None], painted, self._masked(inside.to(drawn.dtype), items))

    # l2: move the mass of a second window into a first one, shaped as two opposite bumps.

    def _tiles(self, items: Tensor, restart: Tensor) -> Tensor:
        """A start of 5 x 5 tiles, each with bumps of random sign in each channel; length eps."""
        drawn = self._draw(items, restart, torch.zeros_like(items), self.channels * TILES**2)
        size = max(min(self.height, self.width) // TILES, 1)
        y = self.y - max(self.height - TILES * size, 0) // 2
        x = self.x - max(self.width - TILES * size, 0) // 2
        inside = (y >= 0) & (y < TILES * size) & (x >= 0) & (x < TILES * size)
        tile = ((y // size).clamp(0, TILES - 1) * TILES + (x // size).clamp(0, TILES - 1)).expand(1, 1, -1, -1)
        sign = _sign(drawn).view(len(items), self.channels, -1)[:, :, tile.flatten()]
        bumps = self._bumps(y % size, x % size, torch.tensor(size, device=y.device)) * inside
        shape = sign.view(len(items), self.channels, self.height, self.width) * bumps
        return self.plan.eps * self.geometry.direction(self.masked(shape, items))

    def _mass(self, items: Tensor, queries: Tensor, drawn: Tensor, state: State) -> Tensor:
        """As `_square`."""
        x, centre = state["x"][:, None], self.problem.images[items][:, None]
        y, left, first = self._window(drawn[..., :2], self.sides[queries])
        _, _, second = self._window(drawn[..., 2:4], self.sides[queries])
        bumps = self._looked_up(y, left, self.shapes[queries] + (drawn[..., 4] < 0.5))
        # as numbers: products with booleans take three times as long
        either, first = (first | second).to(x.dtype), first.to(x.dtype)
        shape = (*queries.shape, *x.shape[2:])
        bumps = self._per_channel(self._masked(bumps * first, items).expand(shape))

        moved = x - centre
        squares = moved.square()
        spare = (self.plan.eps**2 - squares.sum((2, 3, 4), keepdim=True)).clamp_min(0)
        mass = (squares * either).sum((3, 4), keepdim=True)
        wanted = bumps.mul_(_sign(drawn[..., 5:, None, None])).add_(self._per_channel(moved * first))
        wanted = self._per_channel(wanted).mul_((mass + spare / self.channels).sqrt())
        moved = (moved * (1 - either)).add_(centre).add_(wanted)
        inside = self.geometry.project(moved.flatten(0, 1), centre.expand(shape).flatten(0, 1), self.plan.eps)
        return inside.view(shape)

    def _per_channel(self, values: Tensor) -> Tensor:
        """values (n, m, channels, height, width), each channel at length 1."""
        return self.geometry.direction(values.flatten(0, 2)).view(values.shape)

    def _looked_up(self, y: Tensor, x: Tensor, shape: Tensor) -> Tensor:
        """(n, m, 1, height, width): `self.bumps[shape]` at places y, x; outside of it: anything."""
        place = (y * self.width + x).clamp_(0, self.height * self.width - 1)
        return self.bumps.take(place.add_(_wide(shape * (self.height * self.width))))

    def _all_bumps(self) -> tuple[Tensor, Tensor]:
        """The bumps of every side, upright and lying, each (height, width) with the window in its corner; for each
        query, the position of the upright one."""
        device = self.sides.device
        sides, shapes = self.sides.unique(return_inverse=True)
        y, x = (places.expand(1, 1, self.height, self.width) for places in (self.y, self.x))
        size = _wide(sides).to(device)
        upright, lying = self._bumps(y, x, size), self._bumps(x, y, size)
        return torch.stack((upright, lying), 1).contiguous(), 2 * shapes

    def _bumps(self, y: Tensor, x: Tensor, size: Tensor) -> Tensor:
        """Formula 2 of the paper at places y, x of a window of `size`: a bump upwards in its left half, one downwards
        in its right half, each falling with the larger of the distances to its middle. Outside: anything."""
        half, middle = size // 2, size // 2
        left = x < half
        across = torch.where(left, x - half // 2, x - half - (size - half) // 2)
        away = torch.maximum((y - middle).abs(), across.abs()).clamp(max=len(self.sums) - 1)
        height = (self.sums[middle + 1] - self.sums[away]).clamp_min(0)
        return torch.where(left, height, -height)

    # Both

    def _draw(self, items: Tensor, restart: Tensor, k: Tensor, count: int) -> Tensor:
        """(n, count): uniform numbers of query k."""
        indices = self.problem.indices[items]
        return noise.uniform(self.seed, self.plan.stream, restart * 2**32 + k, indices, (count,), items.device)

    def _drawn(self, items: Tensor, restart: Tensor, state: State, m: int) -> Tensor:
        """(n, m, count): the numbers of query k and the ones behind it; drawn ahead when they run out."""
        k, drawn, drawn_from = state["k"], state["drawn"], state["drawn_from"]
        empty = k + m > drawn_from + AHEAD
        if empty.any():
            queries = k[empty, None] + torch.arange(AHEAD, device=k.device)
            of = (items[empty].repeat_interleave(AHEAD), restart[empty].repeat_interleave(AHEAD), queries.flatten())
            drawn[empty] = self._draw(*of, drawn.shape[2]).unflatten(0, (-1, AHEAD))
            drawn_from[empty] = k[empty]
        places = (k - drawn_from)[:, None] + torch.arange(m, device=k.device)
        return drawn[torch.arange(len(k), device=k.device)[:, None], places]

    def _masked(self, values: Tensor, items: Tensor) -> Tensor:
        """values (n, m, ...) within the mask."""
        return values if self.problem.mask is None else values * self.problem.mask[items][:, None]

    def _window(self, drawn: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rows and columns counted from a window's corner, and what is inside; (n, m, 1, height, width) broadcast.

        drawn: (n, m, 2). size: (n, m)."""
        top = (drawn[..., 0] * (self.height - size + 1)).long()
        left = (drawn[..., 1] * (self.width - size + 1)).long()
        y, x = self.y - _wide(top), self.x - _wide(left)
        return y, x, (y >= 0) & (y < _wide(size)) & (x >= 0) & (x < _wide(size))


def _sign(drawn: Tensor) -> Tensor:
    return torch.where(drawn < 0.5, -1.0, 1.0)


def _wide(values: Tensor) -> Tensor:
    """Three more dimensions: (n,) -> (n, 1, 1, 1)"""
    return values[..., None, None, None]
