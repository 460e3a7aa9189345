"""What `python -m bench.gpu_evidence` does: steps, each a list of small items that leave their rows behind at once."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from bench.gpu.checks import model, model_items, op, op_items
from bench.gpu.context import Context, peak, peak_items
from bench.gpu.timing import (
    compile_tiles,
    compiling,
    compiling_items,
    piece_items,
    pieces,
    profile,
    profile_items,
    startup,
    startup_items,
    timing,
    timing_items,
    tune,
    tune_items,
)
from bench.gpu.utterances import compiled, compiled_items, peer_items, peers, voice, voice_items


@dataclass(frozen=True)
class Step:
    """A part of the evidence: its items, what one does, and its share of the time."""

    items: Callable[[bool], list[str]]
    run: Callable[[Context, str], None]
    weight: float
    processes: int = 1
    """How many share the items on a GPU: most of a check is compiling, on the host."""
    fresh: bool = False
    """Whether every item is the first thing that its process does."""
    stall: float = 90.0
    """Seconds after which an item that is not done counts as hung."""


STEPS: dict[str, Step] = {
    "peaks": Step(peak_items, peak, 30),
    # 13 has no factor in common with the number of modes: each process has some of all.
    "op checks": Step(op_items, op, 85, processes=13, stall=60.0),
    "compiling": Step(compiling_items, compiling, 40, processes=13),
    "model checks": Step(model_items, model, 60, processes=4, stall=60.0),
    "peers": Step(peer_items, peers, 130, stall=150.0),
    "startup": Step(startup_items, startup, 60, fresh=True, stall=150.0),
    "profile": Step(profile_items, profile, 25),
    "pieces": Step(piece_items, pieces, 25),
    "op timing": Step(timing_items, timing, 70),
    "voice": Step(voice_items, voice, 25),
    "compiled peers": Step(compiled_items, compiled, 60, stall=250.0),
    # What hangs here ends with the time: no check has failed. Each process compiles on all processors.
    "compiling tiles": Step(tune_items, compile_tiles, 30, processes=3, stall=math.inf),
    "tuning": Step(tune_items, tune, 40, stall=math.inf),
}
"""In the order in which they run: what would be missed most comes first."""
