"""One seed for every generator of random numbers that synthesis may draw from."""

import operator
import os
import random
from typing import SupportsIndex

import numpy as np
import torch

__all__ = ["set_seed"]

# numpy's global generator takes no more than 32 bits, and one number has to serve all three.
_LARGEST_SEED = 2**32 - 1


def set_seed(seed: SupportsIndex, deterministic: bool = False) -> None:
    """Seed Python's, numpy's and torch's global generators, torch's on every device.

    The same seed gives the same audio on the same device: a model draws its duration noise on the CPU first and its
    prior noise on its own device second. Generators of CUDA devices are seeded without starting CUDA.

    Args:
        seed: a whole number from 0 to 2**32 - 1.
        deterministic: also have torch, cuDNN and cuBLAS take deterministic algorithms alone
            (`torch.use_deterministic_algorithms`); False leaves torch's setting as it is.

    Raises:
        TypeError: `seed` is no whole number, or `deterministic` no bool.
        ValueError: `seed` is out of range.
    """
    if isinstance(seed, bool):
        raise TypeError("seed must be a whole number, not a bool")
    try:
        number = operator.index(seed)
    except TypeError:
        raise TypeError(f"seed must be a whole number, got {type(seed).__name__}") from None
    if not 0 <= number <= _LARGEST_SEED:
        raise ValueError(f"seed must be from 0 to {_LARGEST_SEED}, got {number}")
    if not isinstance(deterministic, bool):
        raise TypeError(f"deterministic must be True or False, got {deterministic!r}")
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":16:8")  # read when CUDA starts
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
