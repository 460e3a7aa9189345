"""Kernels compiled ahead, first calls of fresh processes, a profile, the decoder in pieces, ops timed, tiles chosen."""

import json
import math
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from bench import harness
from bench.gpu.context import STARTED, Context, free, is_lost, last_line, peak, peaks_found, profiling, status_of
from bench.gpu.models import Candidate, settings_of, speakers_for, spoken_for, waveform_tolerance
from bench.ops import roofline
from bench.ops.costs import cost_of
from bench.ops.run import measure as measure_op
from fastvits import VitsConfig, VitsModel, use_backend
from fastvits.models import hifigan
from fastvits.planning import tuning
from fastvits.planning.explain import planned_calls
from fastvits.runtime.recorder import CudaRecorder
from fastvits_kernels.dispatch import devices, registry
from fastvits_kernels.launch import tiles
from fastvits_kernels.launch.ahead import compile_ahead
from tests.support.numerics import relative_error
from tests.support.op_cases import CASES, MODEL_CASES, Case

# --- Compiling ahead


PARTS = 4


def compiling_items(quick: bool) -> list[str]:
    return [] if quick else [f"{mode} {part}" for mode in tuning.MODES for part in range(PARTS)]


@torch.no_grad()
def compiling(context: Context, item: str) -> None:
    """A part of the kernels that the model launches, run once: they are then in Triton's cache for all that follows."""
    mode, part = item.split()
    dtype, tf32 = tuning.MODES[mode]
    with torch.device("meta"):
        twin = VitsModel(VitsConfig(), inference_only=True).eval().to(dtype)
    distinct: dict[str, registry.Call] = {}
    sizes = ((88, 188, 1, False), (87, 187, 4, True), (291, 626, 32, False))
    # As "auto" plans: the decoder then works on the pieces that real calls are cut into.
    with devices.assume(context.device):
        for tokens, frames, batch, ragged in sizes:
            size = {"tokens": tokens, "frames": frames, "batch": batch}
            for call in planned_calls(twin, **size, masked=ragged, ragged=ragged):
                distinct.setdefault(f"{call.op.name} {_shapes(call.args)}", call)
    failed = left_out = 0
    with tuning.allowing_tf32(tf32):
        for call in list(distinct.values())[int(part) :: PARTS]:
            implementation = call.op.implementations.get(context.fast_backend)
            if implementation is None:
                continue
            if context.left <= 0:
                left_out += 1
                continue
            arguments = [_on(argument, context.device) for argument in call.args]
            if implementation.supports(*arguments) is None:
                try:
                    implementation.run(*arguments)
                    context.synchronize()
                except Exception as error:
                    if is_lost(error, context.device):
                        raise
                    failed += not isinstance(error, torch.OutOfMemoryError)
                    context.note(
                        "compiling", op=call.op.name, dtype=mode, status=status_of(error), reason=last_line(error)
                    )
            del arguments
            if context.device.type == "cuda":
                torch.cuda.empty_cache()
    row = {"dtype": mode, "part": int(part), "failed": failed, "left_out": left_out}
    if failed:
        context.note("compiling", **row, status="failed", reason=f"{failed} calls")
    elif left_out:
        context.note("compiling", **row, status="skipped", reason="no time was left for all calls")
    else:
        context.note("compiling", **row, status="ok")


def _shapes(argument: Any) -> Any:
    """What tells one call from another."""
    if isinstance(argument, Tensor):
        return tuple(argument.shape), argument.stride(), argument.dtype
    return [_shapes(one) for one in argument] if isinstance(argument, (list, tuple)) else argument


def _on(argument: Any, device: torch.device) -> Any:
    """A tensor without memory as one with memory, of zeros and, for durations and lengths, ones."""
    if isinstance(argument, (list, tuple)):
        return [_on(one, device) for one in argument]
    if not isinstance(argument, Tensor):
        return argument
    out = torch.empty_strided(argument.shape, argument.stride(), dtype=argument.dtype, device=device)
    return out.fill_(0 if out.is_floating_point() else 1)


# --- The first call of a fresh process


def startup_items(quick: bool) -> list[str]:
    if quick:
        return ["fastvits float32 cold", "fastvits float32 warmed"]
    half, single = ([f"fastvits {mode} {state}" for state in ("cold", "warm")] for mode in ("float16", "float32"))
    return [*half, "transformers float32 warm", *single, "fastvits float16 warmed"]


@torch.no_grad()
def startup(context: Context, item: str) -> None:
    """The first call ever in a process: `cold` with an empty cache of Triton's binaries, `warm` with a filled one,
    `warmed` with a filled one and behind `VitsModel.warmup()` for the call's size. All speak for equally long: each
    duration predictor runs, then every token lasts for two frames whatever it said."""
    name, mode, state = item.split()
    started = float(os.environ[STARTED])
    dtype, tf32 = tuning.MODES[mode]
    if name == "transformers":
        import transformers
    begin = time.time()
    torch.manual_seed(0)
    if name == "transformers":
        speaker: Any = transformers.VitsModel(transformers.VitsConfig())
    else:
        speaker = VitsModel(VitsConfig(**settings_of(context.quick)), inference_only=True)
    speaker = speaker.eval().to(context.device, dtype)
    predict = speaker.duration_predictor.forward
    # Rounded up to two frames.
    speaker.duration_predictor.forward = lambda *args, **kwargs: torch.full_like(
        predict(*args, **kwargs), math.log(1.5)
    )
    ids = torch.randint(1, 38, (1, 24 if context.quick else 88), device=context.device)
    context.synchronize()
    made = time.time()
    row: dict[str, Any] = {"import_seconds": begin - started, "model_seconds": made - begin}
    times = []
    with tuning.allowing_tf32(tf32):
        if state == "warmed":
            report = speaker.warmup(tokens=ids.shape[1], frames=2 * ids.shape[1], progress=False)
            context.synchronize()
            row |= {"warmup_seconds": time.time() - made, "graphs": report.graphs}
        for _ in range(3):
            start = time.time()
            waveform = speaker(input_ids=ids).waveform
            context.synchronize()
            times.append(time.time() - start)
    row |= {"samples": waveform.shape[1], "first_call_seconds": times[0], "later_calls_seconds": times[1:]}
    context.note("startup", candidate=f"{name} {mode}", state=state, **row, status="ok")


# --- A profile


def profile_items(quick: bool) -> list[str]:
    if quick:
        return ["1 0.2 float32"]
    return [f"{size} {mode}" for size in ("1 3", "32 10") for mode in ("float16", "float32", "tf32")]


@torch.no_grad()
def profile(context: Context, item: str) -> None:
    """Time by part of the model and by kernel."""
    batch, seconds, mode = item.split()
    speakers = speakers_for(context.device, context.quick)
    spoken, _ = spoken_for(context.device, context.quick, speakers.name, int(batch), float(seconds))
    frames = spoken.samples // speakers.frame or 1
    speaker = speakers.own[tuning.MODES[mode][0]]
    bounds = peaks_found(context)
    size = {"batch": int(batch), "seconds": float(seconds), "dtype": mode}
    launched = Candidate("without graphs", mode, speaker, graphs="off")
    replayed = Candidate("auto", mode, speaker, graphs="auto")
    launched(spoken.ids)
    for name, times in _part_times(context, launched, spoken.ids).items():
        row: dict[str, Any] = {"part": name, "p50": statistics.median(times)}
        if name == "decoder" and mode in bounds:
            least = _decoder_least(context, speaker, int(batch), frames, bounds[mode])
            row |= {"least_seconds": least, "roofline": least / row["p50"]}
        context.note("part", **size, **row, status="ok")
    replayed.warm_up(spoken.ids.shape[1], frames, int(batch))
    replayed(spoken.ids)
    with profiling(context) as found:
        replayed(spoken.ids)
    averages = found.key_averages()
    on_gpu = context.device.type == "cuda"

    def spent(event: Any) -> float:
        return float(event.self_device_time_total if on_gpu else event.self_cpu_time_total)

    order = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    table = averages.table(sort_by=order, row_limit=40, max_name_column_width=90)
    with (context.output / "profile.txt").open("a", encoding="utf-8") as file:
        file.write(f"batch {batch}, {seconds} s of audio, {mode}\n{table}\n\n")
    for event in sorted(averages, key=spent, reverse=True)[:20]:
        context.note("profile", **size, name=event.key[:120], calls=event.count, microseconds=spent(event), status="ok")


def _part_times(context: Context, candidate: Candidate, ids: Tensor) -> dict[str, list[float]]:
    """Seconds in each part of the model over some calls; a part's launches on the host are in it."""
    marks: list[tuple[str, Any]] = []
    on_gpu = context.device.type == "cuda"

    def mark(name: str) -> None:
        if on_gpu:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            marks.append((name, event))
        else:
            marks.append((name, time.perf_counter()))

    hooks = []
    names = ("text_encoder", "duration_predictor", "flow", "decoder")
    for name in names:
        part = getattr(candidate.model, name)
        hooks.append(part.register_forward_pre_hook(lambda *_, name=name: mark(name)))
        hooks.append(part.register_forward_hook(lambda *_, name=name: mark(name)))
    try:
        for _ in range(2 if context.quick else 5):
            candidate(ids)
        context.synchronize()
    finally:
        for hook in hooks:
            hook.remove()
    found: dict[str, list[float]] = {}
    # Parts do not nest: every mark before one is followed by that behind it.
    for (name, first), (_, last) in zip(marks[::2], marks[1::2], strict=True):
        found.setdefault(name, []).append(first.elapsed_time(last) / 1e3 if on_gpu else last - first)
    return found


def _decoder_least(context: Context, speaker: VitsModel, batch: int, frames: int, peaks: roofline.Peaks) -> float:
    with torch.device("meta"):
        twin = VitsModel(speaker.config, inference_only=True).eval().to(speaker.dtype)
    latents = torch.empty(batch, frames, speaker.config.flow_size, dtype=speaker.dtype, device="meta")
    with devices.assume(context.device), use_backend("eager"), registry.dry_run() as calls:
        twin.decoder.decode(latents, None, None)
    return sum(peaks.least_seconds(cost_of(call.op, *call.args)) for call in calls)


# --- The decoder in pieces


PIECES = (hifigan._PIECE_BYTES["cuda"], *(mebibytes << 20 for mebibytes in (64, 32, 16, 8, 4)))
"""Bytes of a tensor of a piece; the first is what calls have. Some ten such tensors live at a time, in an L2 cache of
perhaps 50 MB."""


def piece_items(quick: bool) -> list[str]:
    return ["2 0.2 float32"] if quick else ["32 10 float16", "32 4 float16", "1 30 float16", "32 10 float32"]


@torch.no_grad()
def pieces(context: Context, item: str) -> None:
    """The decoder's time by how much it works on at once, launched and, on a GPU, replayed from a graph."""
    batch, seconds, mode = item.split()
    speakers = speakers_for(context.device, context.quick)
    model = speakers.own[tuning.MODES[mode][0]]
    frames = round(float(seconds) * speakers.sampling_rate / speakers.frame)
    shape = (int(batch), frames, model.config.flow_size)
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(context.device, model.dtype)
    lengths = torch.full((int(batch),), frames, device=context.device)

    def decode(size: int) -> Tensor:
        with patch.dict(hifigan._PIECE_BYTES, {context.device.type: size}):
            return model.decoder.decode(latents, lengths)

    sizes = [size >> 10 for size in PIECES] if context.quick else list(PIECES)
    for size in sizes:
        compile_ahead(partial(decode, size), context.device)
    expected = decode(sizes[0])
    errors = {size: relative_error(decode(size), expected) for size in sizes}
    del expected
    ways: dict[tuple[int, str], Callable[[], Any]] = {(size, "launched"): partial(decode, size) for size in sizes}
    if context.device.type == "cuda":
        recorder = CudaRecorder(context.device)
        ways |= {(size, "replayed"): recorder.record(partial(decode, size)).replay for size in sizes}
    named = {f"{size} {how}": run for (size, how), run in ways.items()}
    times = harness.time_in_turn(
        named, device=context.device, rounds=3 if context.quick else 15, flush=False, budget=context.left / 2
    )
    for (size, how), taken in zip(ways, times.values(), strict=True):
        passed = errors[size] <= waveform_tolerance(mode)
        row = {"batch": int(batch), "seconds": float(seconds), "dtype": mode, "piece_bytes": size, "how": how}
        row |= {"p50": statistics.median(taken), "error": errors[size]}
        context.note("pieces", **row, status="ok" if passed else "failed")
    free(context.device)


# --- Ops timed, and tiles chosen


def timing_items(quick: bool) -> list[str]:
    if quick:
        small = list({case.op: case for case in reversed(CASES) if case.name != "empty-batch"}.values())
        return [f"{case.id} float32 all" for case in small[:3]]
    short = [case for case in MODEL_CASES if "-32x" not in case.name]
    long = [case for case in MODEL_CASES if "-32x" in case.name]
    items = [f"{case.id} {dtype} all" for dtype in ("float16", "float32", "bfloat16") for case in short]
    items += [f"{case.id} float16 all" for case in sorted(long, key=lambda case: case.op != "mrf_stage")]
    return items + [f"{case.id} {dtype} compile" for dtype in ("float16", "float32") for case in short]


def _case(name: str) -> Case:
    return next(case for case in (*CASES, *MODEL_CASES) if case.id == name)


def timing(context: Context, item: str) -> None:
    """One case of an op by several providers, as `bench.run` does it."""
    name, dtype, what = item.split()
    providers = ["compile"] if what == "compile" else ["eager", "channels_last", context.fast_backend]
    if dtype not in peaks_found(context):
        peak(context, dtype)
    with tuning.allowing_tf32(False):
        rows = measure_op(
            _case(name),
            dtype,
            str(context.device),
            providers,
            peaks=peaks_found(context)[dtype],
            budget=0.3,
            rounds=5 if context.quick else 20,
        )
        for row in rows:
            context.write("ops", **{key: value for key, value in row.items() if key != "samples"})
    free(context.device)


def tune_items(quick: bool) -> list[str]:
    if quick:
        return []
    text = ("relative_attention", "conv1d_layer_norm_projection")
    heavy = (*text, "wavenet_layer", "resblock_pair", "conv1d", "conv_transpose1d")
    # The middle sizes first: short items leave their rows even where the time is over soon.
    sizes = (1, 4, 0, 2, 3)
    modes = ("float16", "float32", "tf32", "bfloat16")
    # The text encoder is in float32 whatever the mode: once is enough.
    ops_of = {mode: heavy if mode == modes[0] else heavy[len(text) :] for mode in modes}
    return [f"{mode} {name} {size}" for mode in modes for size in sizes for name in ops_of[mode]]


def tune(context: Context, item: str) -> None:
    """Tiles for one op in one mode at one size, each added at once to a table as `fastvits tune` writes it."""
    mode, name, _ = item.split()
    table = _tuned(context, item, partial(_keep, context))
    context.note("tuned", dtype=mode, op=name, rows=len(table["ops"].get(name, [])), status="ok")


def compile_tiles(context: Context, item: str) -> None:
    """Have what `tune` tries in Triton's cache: no time counts, so processes may share the GPU."""
    _tuned(context, item, timer=lambda functions: [0.0] * len(functions))
    free(context.device)


def _tuned(
    context: Context, item: str, finished: Callable[[dict[str, Any]], None] | None = None, **options: Any
) -> dict[str, Any]:
    mode, name, size = item.split()
    return tuning.tune(
        [VitsConfig()],
        context.device,
        ops=[name],
        modes=[mode],
        sizes=[tuning.SIZES[int(size)]],
        finished=finished,
        # Half of what is left, so that timing and the other shapes get some.
        patience=lambda: context.left / 2,
        **options,
    )


def _keep(context: Context, table: dict[str, Any]) -> None:
    """Add a table's rows to the one in the output."""
    path = context.output / f"{tiles.arch_of(context.device)}.json"
    if path.exists():
        known = json.loads(path.read_text())["ops"]
        for other, rows in known.items():
            kept = [row for row in rows if row["when"] not in [new["when"] for new in table["ops"].get(other, [])]]
            table["ops"][other] = sorted(
                kept + table["ops"].get(other, []),
                key=lambda row: [row["when"][key] for key in ("dtype", "channels", "kernel_size", "work")],
            )
    tuning.write_table(table, path)
