"""How float32 matrices are multiplied: as IEEE float32, or rounded to TF32 on the way where torch's flags allow it.

Durations are `ceil(exp(...))` of what the text encoder and the duration predictor compute, and TF32 would change them.
The ops that these call for nothing else (`relative_attention`, `depth_separable_layer`, `spline_coupling`,
`conv1d_layer_norm`, `conv1d_layer_norm_projection`) are always IEEE, and `conv1d` is so where it is asked to be. Triton
takes it as a compile-time constant. The references multiply by cuBLAS and cuDNN, which know process-wide flags only:
`ieee_products` holds these down meanwhile.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_lock = threading.Lock()
_holders = 0
_before: tuple[Any, ...] = ()


def _convolutions() -> Any:
    return torch.backends.cudnn.conv  # type: ignore[attr-defined]  # torch 2.9 and later


def tf32_allowed() -> bool:
    """Whether torch's flags allow TF32, for products of matrices and convolutions both."""
    return all(flag in (True, "tf32") for flag in _flags())


@contextmanager
def ieee_products() -> Iterator[None]:
    """Keep cuBLAS and cuDNN from TF32 inside the block, also where torch's flags allow it.

    The flags are the process's: what other threads multiply meanwhile may be IEEE too, and never the other way round.
    They return to what they were when the last thread leaves; what is set in between is lost.
    """
    global _holders, _before
    with _lock:
        if _holders == 0:
            _before = _flags()
            _set_flags(*((False, False) if isinstance(_before[0], bool) else ("ieee", "ieee")))
        _holders += 1
    try:
        yield
    finally:
        with _lock:
            _holders -= 1
            if _holders == 0:
                _set_flags(*_before)


def _flags() -> tuple[Any, Any]:
    """The flags for products and for convolutions: booleans, or names where the newer flags were set."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    try:
        return bool(matmul.allow_tf32), bool(cudnn.allow_tf32)
    except RuntimeError:  # torch refuses to read these flags where they were set by the newer ones
        return matmul.fp32_precision, _convolutions().fp32_precision


def _set_flags(products: Any, convolutions: Any) -> None:
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    if isinstance(products, bool):
        matmul.allow_tf32, cudnn.allow_tf32 = products, convolutions
    else:
        matmul.fp32_precision, _convolutions().fp32_precision = products, convolutions
