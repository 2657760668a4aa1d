"""Latents of a network that may be the user's own, before anything is computed with them."""

from __future__ import annotations

from typing import Any

from robustray.tasks.data.own import describe
from robustray.tasks.errors import InputError
from robustray.tasks.latents.cache import look


def try_latents(model: Any, images: Any, *, fake_relu: bool = False) -> None:
    """Look at a few images (b > 0, channels, height, width) through a network; with fake_relu, also past the last ReLU.

    Raises: InputError for a network without latents, and for whatever goes wrong in its `forward_with_latent`.
    """
    try:
        look(model, images)
        if fake_relu:
            model.forward_with_latent(images, True)
    except InputError:
        raise
    except Exception as error:  # the model may be the user's own
        raise InputError(
            f"forward_with_latent(images, fake_relu=False) must return logits and latents: {describe(error)}"
        ) from error
