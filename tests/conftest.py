"""Set-up that must happen before anything else is imported."""

import os

# Kernels run in Triton's interpreter where there is no GPU; Triton reads this when it is imported.
import torch
from hypothesis import HealthCheck, settings

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# How long it takes to draw examples, or to try one, is a matter of what else the machine does.
settings.register_profile("fastvits", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fastvits")
