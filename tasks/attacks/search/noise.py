"""Random numbers by position instead of by history: the same ones in any batch, order, shard and retry.

value = mix(key + counter), key = mix of (seed, name, restart, image index): integer arithmetic modulo 2^64 on tensors,
so CPU and GPU draw the same integers and uniforms (Gaussians agree to rounding). `mix` is the finaliser of SplitMix64
(Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014; constants of Stafford's variant 13).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor

_BITS = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_SHIFTS = (30, 27, 31)


def uniform(
    seed: int, name: str, restart: int | Tensor, indices: Tensor, shape: Sequence[int], device: torch.device | str
) -> Tensor:
    """Multiples of 2^-24 in [0, 1), float32 (batch, *shape).

    seed: any integer (taken modulo 2^64). name: what is drawn. restart: one number, or one per image, (batch,) int64.
    indices: (batch,) int64, the images' positions in their split.
    """
    bits = _bits24(seed, name, restart, indices, math.prod(shape), device)
    return (bits.to(torch.float32) * 2.0**-24).reshape(len(indices), *shape)


def normal(
    seed: int, name: str, restart: int | Tensor, indices: Tensor, shape: Sequence[int], device: torch.device | str
) -> Tensor:
    """Standard Gaussians (|value| < 5.8), float32 (batch, *shape); arguments as for `uniform`. Box-Muller."""
    count = math.prod(shape)
    bits = _bits24(seed, name, restart, indices, count + count % 2, device)
    pairs = bits.to(torch.float32).reshape(len(indices), -1, 2)
    radius = ((pairs[..., 0] + 1) * 2.0**-24).log().mul(-2).sqrt()  # + 1: in (0, 1], log is finite
    angle = pairs[..., 1] * (2 * math.pi * 2.0**-24)
    values = torch.stack((radius * angle.cos(), radius * angle.sin()), dim=-1)
    return values.reshape(len(indices), -1)[:, :count].reshape(len(indices), *shape)


def _bits24(
    seed: int, name: str, restart: int | Tensor, indices: Tensor, count: int, device: torch.device | str
) -> Tensor:
    """(batch, count) int32 in [0, 2^24): the upper 24 bits of each half of a 64-bit hash."""
    stream = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    base = _mix_number(_mix_number(seed + _GOLDEN) ^ stream)
    indices = indices.to(device=device, dtype=torch.int64)
    restarts = torch.as_tensor(restart, dtype=torch.int64, device=device).expand(indices.shape)
    key = _mix_((restarts + 1) * _signed(_GOLDEN) + _signed(base))
    key = _mix_((indices + 1) * _signed(_GOLDEN) + key)
    counter = torch.arange(1, (count + 1) // 2 + 1, device=device) * _signed(_GOLDEN)
    words = _mix_(key[:, None] + counter[None, :])
    halves = words.view(torch.int32)  # (batch, 2 * words): both halves of each word side by side
    return ((halves >> 8) & 0xFFFFFF)[:, :count]


def _mix_(x: Tensor) -> Tensor:
    """The finaliser, in place on int64, whose products wrap around; `>>` keeps the sign, so the mask removes it."""
    for shift, multiplier in zip(_SHIFTS, (*_MULTIPLIERS, None), strict=True):
        x ^= (x >> shift).bitwise_and_(2 ** (64 - shift) - 1)
        if multiplier is not None:
            x *= _signed(multiplier)
    return x


def _mix_number(x: int) -> int:
    """The same on one Python integer modulo 2^64."""
    x &= _BITS
    for shift, multiplier in zip(_SHIFTS, (*_MULTIPLIERS, None), strict=True):
        x ^= x >> shift
        if multiplier is not None:
            x = x * multiplier & _BITS
    return x


def _signed(x: int) -> int:
    """The int64 with the same 64 bits."""
    return x - 2**64 if x >= 2**63 else x
