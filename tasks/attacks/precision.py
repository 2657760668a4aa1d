"""Which arithmetic an attack's gradients use. Imports torch only when asked."""

from __future__ import annotations

from typing import Literal

Precision = Literal["auto", "fp32", "bf16"]
Arithmetic = Literal["fp32", "bf16"]

PRECISIONS: tuple[Precision, ...] = ("auto", "fp32", "bf16")


def resolve_precision(device: str) -> Arithmetic:
    """What "auto" means on `device` ("cpu", "cuda:0") of this machine: "bf16" where its hardware multiplies bf16.

    That is a CPU with AVX512-BF16 (every CPU with AMX-BF16 has it) or a GPU that needs no emulation; "fp32" anywhere
    else. Whoever spreads work over machines calls this once and gives the attacks the answer: left to each machine,
    equal settings could have unequal results.
    """
    import torch

    kind = torch.device(device).type
    if kind == "cuda":
        return (
            "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
        )
    if kind != "cpu" or not torch.backends.mkldnn.is_available():
        return "fp32"
    # Not public: where a release of torch lacks it, the answer is the careful one.
    known = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return "bf16" if known is not None and known() else "fp32"
