"""What makes gradients lie: masks to be put on a trained network, beside the network itself."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

# -- layers ------------------------------------------------------------------------------------------------------------


class StraightThrough(torch.autograd.Function):
    """Rounded forward, identity backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, levels: float) -> Tensor:
        return (x * levels).round() / levels

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return grads[0], None


class NoBackward(torch.autograd.Function):
    """Identity forward, zeros backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return torch.zeros_like(grads[0])


class FlippedBackward(torch.autograd.Function):
    """Identity forward; backward the sign of every other entry is turned."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        signs = torch.ones_like(grads[0]).flatten()
        signs[::2] = -1
        return grads[0] * signs.view_as(grads[0])


class Applied(nn.Module):
    """A function as a layer of its own."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Jpeg(nn.Module):
    """JPEG of a quality, by Pillow."""

    def __init__(self, quality: int) -> None:
        super().__init__()
        self.quality = quality

    def forward(self, x: Tensor) -> Tensor:
        from PIL import Image

        pixels = (x.detach().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        found = []
        for each in pixels:
            with io.BytesIO() as held:
                Image.fromarray(each.squeeze()).save(held, "JPEG", quality=self.quality)
                found.append(np.asarray(Image.open(held), dtype=np.float32).reshape(each.shape) / 255)
        return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).to(x)


class RandomResize(nn.Module):
    """Shrunk by a random factor and padded at a random place (arXiv:1711.01991)."""

    def __init__(self, least: float) -> None:
        super().__init__()
        self.least = least

    def forward(self, x: Tensor) -> Tensor:
        side = x.shape[-1]
        small = int(torch.randint(round(self.least * side), side + 1, (1,)))
        left, top = (int(torch.randint(0, side - small + 1, (1,))) for _ in range(2))
        shrunk = functional.interpolate(x, size=small, mode="bilinear", align_corners=False)
        return functional.pad(shrunk, (left, side - small - left, top, side - small - top))


class WinnersTakeAll(nn.Module):
    """The largest share of an image's activations stays, the others are zero (arXiv:1905.10510)."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        least = flat.topk(max(1, int(self.share * flat.shape[1])), dim=1).values[:, -1:]
        return (flat * (flat >= least)).view_as(x)


class Island(nn.Module):
    """The identity with its gradient switched off."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return x.clone()


class Clipped(nn.Module):
    """A hook that clips the gradient on its way back."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, x: Tensor) -> Tensor:
        y = x.clone()
        if y.requires_grad:
            y.register_hook(lambda gradient: gradient.clamp(-self.limit, self.limit))
        return y


class BatchNormed(nn.Module):
    """Normalised by the batch that happens to be there."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.batch_norm(x, None, None, training=True)


class Depth(nn.Module):
    """Stochastic depth at test time: an image's residual branch, half of its activations moved by one place, comes and
    goes."""

    def __init__(self, drop: float) -> None:
        super().__init__()
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        kept = (torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device) >= self.drop).to(x)
        return x + kept * 0.5 * x.roll(1, dims=-1)


# -- where they go -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Defect:
    """A mask, where it is put, and which kind it is."""

    name: str
    kind: str
    make: Callable[[], nn.Module]
    place: str
    """"input", "middle" or "logits"."""


class Masked(nn.Module):
    """A network with a mask at one place. middle: name of the submodule behind which it is put."""

    def __init__(self, net: nn.Module, mask: nn.Module, place: str, middle: str) -> None:
        super().__init__()
        self.net, self.mask, self.place = net, mask, place
        if place == "middle":
            parent, _, name = middle.rpartition(".")
            setattr(net.get_submodule(parent), name, nn.Sequential(net.get_submodule(middle), mask))

    def forward(self, x: Tensor) -> Tensor:
        if self.place == "input":
            return self.net(self.mask(x))
        return self.mask(self.net(x)) if self.place == "logits" else self.net(x)


def rounded(levels: float) -> Callable[[Tensor], Tensor]:
    return lambda x: (x * levels).round() / levels


def straight(levels: float) -> Callable[[Tensor], Tensor]:
    return lambda x: StraightThrough.apply(x, levels)


def sparse(least: float) -> Callable[[Tensor], Tensor]:
    return lambda x: x * (x > least)


def scaled(factor: float) -> Callable[[Tensor], Tensor]:
    return lambda z: factor * z


def noisy(size: float) -> Callable[[Tensor], Tensor]:
    return lambda x: x + size * torch.randn_like(x)


def half_detached(x: Tensor) -> Tensor:
    mask = torch.zeros_like(x)
    mask[..., ::2] = 1
    return x * mask + x.detach() * (1 - mask)


def fake_quantised(x: Tensor) -> Tensor:
    return torch.fake_quantize_per_tensor_affine(x, 0.25, 0, -8, 7)


def _defects() -> Iterator[Defect]:
    def plain(kind: str, place: str, **functions: Callable[[Tensor], Tensor]) -> Iterator[Defect]:
        for name, function in functions.items():
            yield Defect(name.replace("_", " "), kind, partial(Applied, function), place)

    def layer(kind: str, place: str, **layers: Callable[[], nn.Module]) -> Iterator[Defect]:
        for name, make in layers.items():
            yield Defect(name.replace("_", " "), kind, make, place)

    yield from plain("rounding", "input", rounding_to_4_levels=rounded(4), rounding_to_16_levels=rounded(16))
    yield from plain("rounding", "middle", rounding_in_the_middle=rounded(4))
    yield from plain("straight-through", "input", straight_through_rounding=straight(8))
    yield from plain("straight-through", "middle", straight_through_rounding_in_the_middle=straight(4))
    yield from plain(
        "bit depth",
        "input",
        bits_8_through_integers=lambda x: (x * 255).round().to(torch.uint8).float() / 255,
        bits_3_by_floor=lambda x: (x * 8).floor().clamp(0, 7) / 7,
    )
    yield from layer(
        "winners take all",
        "middle",
        winners_take_all_10_percent=partial(WinnersTakeAll, 0.1),
        winners_take_all_30_percent=partial(WinnersTakeAll, 0.3),
    )
    yield from plain("sparsified", "middle", activations_above_a_half=sparse(0.5), activations_above_one=sparse(1.0))
    yield from plain(
        "temperature",
        "logits",
        logits_times_30=scaled(30.0),
        logits_times_1000=scaled(1e3),
        logits_times_100000=scaled(1e5),
        log_softmax_of_logits_times_1000=lambda z: (1e3 * z).log_softmax(1),
        log_of_softmax_with_a_floor=lambda z: ((50 * z).softmax(1) + 1e-12).log(),
    )
    yield from plain(
        "quantised",
        "middle",
        fake_quantised_activations=fake_quantised,
        signs_added_to_activations=lambda x: x + 0.5 * torch.sign(x).detach(),
    )
    yield from plain("quantised", "logits", rounded_logits=rounded(2))
    yield from layer("jpeg", "input", jpeg_of_quality_75=partial(Jpeg, 75), jpeg_of_quality_30=partial(Jpeg, 30))
    yield from layer("random", "input", random_resize=partial(RandomResize, 0.75))
    yield from plain("random", "input", noise_of_0_05=noisy(0.05), noise_of_0_2=noisy(0.2))
    yield from plain(
        "random",
        "middle",
        dropout_at_test_time=lambda x: functional.dropout(x, 0.3, training=True),
        noise_in_the_middle=noisy(0.3),
    )
    yield from layer("random", "middle", stochastic_depth=partial(Depth, 0.5))
    yield from layer("batch", "middle", normalised_by_the_batch=BatchNormed)
    yield from plain("batch", "middle", mean_of_the_batch_subtracted=lambda x: x - 0.5 * x.mean(0, keepdim=True))
    yield from plain(
        "clamps",
        "logits",
        logits_clamped=lambda z: (z - z.mean(1, keepdim=True)).clamp(-1, 1),
        logits_through_tanh=lambda z: torch.tanh(5 * z),
    )
    yield from plain("islands", "logits", logits_detached_but_for_a_hundredth=lambda z: 0.01 * z + 0.99 * z.detach())
    yield from layer("islands", "input", no_grad_at_the_input=Island)
    yield from plain("islands", "input", half_of_the_pixels_detached=half_detached)
    yield from plain("hooks", "middle", zeros_on_the_way_back=NoBackward.apply, signs_turned=FlippedBackward.apply)
    yield from layer(
        "hooks",
        "middle",
        gradient_clipped_at_1e_3=partial(Clipped, 1e-3),
        gradient_clipped_at_1e_6=partial(Clipped, 1e-6),
    )


DEFECTS: Sequence[Defect] = tuple(_defects())
"""Masks of every kind."""

MIDDLE: Mapping[str, str] = {"digits:mlp": "hidden1", "digits:cnn": "conv2", "small:s": "stem"}
"""Submodule of the backbone behind which a mask in the middle is put."""
