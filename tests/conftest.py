"""Set-up that must happen before anything else is imported."""

import gc
import os
from collections.abc import Iterator

# Kernels run in Triton's interpreter where there is no GPU; Triton reads this when it is imported.
import pytest
import torch
from hypothesis import HealthCheck, settings

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# How long it takes to draw examples, or to try one, is a matter of what else the machine does.
settings.register_profile("fastvits", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fastvits")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect tests without looking for garbage, of which imports leave none, and never look through them again.

    Half a million objects are looked through many times otherwise: a third of the time that collecting takes.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_unconfigure() -> None:
    """Let what was set aside go in its order: Triton complains of what is left when Python ends."""
    gc.unfreeze()
