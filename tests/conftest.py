"""Set-up that must happen before anything else is imported."""

import os

# Kernels run in Triton's interpreter where there is no GPU; Triton reads this when it is imported.
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
