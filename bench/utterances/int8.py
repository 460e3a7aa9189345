"""A voice in int8 for the benchmarks, calibrated as `fastvits calibrate` does it."""

import os

from fastvits import VitsModel
from fastvits.speech.calibration import calibrate
from fastvits.speech.speaker import Speaker
from fastvits_kernels.onednn import int8


def calibrated(folder: str | os.PathLike[str]) -> VitsModel | None:
    """The voice of a folder in int8; None where this processor has no instructions for it, which is told."""
    reason = int8.unsupported()
    if reason is not None:
        print(f"int8 is left out: {reason}")
        return None
    exact = Speaker(folder, dtype="float32", device="cpu")
    found = calibrate(exact)
    told = ", ".join(f"{part} {decibels:.2f} dB" for part, decibels in found.decibels.items())
    print(f"int8: {told}; in higher precision: {', '.join(found.kept) or 'none'}")
    model: VitsModel = VitsModel.from_pretrained(folder, dtype="int8", config=exact.model.config, inference_only=True)
    return model
