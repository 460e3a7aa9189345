"""Ops and the whole model against float64, and items of batches against themselves alone."""

import math
from typing import Any

import torch
from torch import Tensor

from bench.gpu.context import Context
from bench.gpu.models import unsettled_in, waveform_tolerance
from bench.ops.accuracy import WHOLE_MODEL
from bench.ops.accuracy import cases_for as accuracy_cases
from fastvits import use_backend
from fastvits.planning import tuning
from fastvits_kernels.dispatch import registry
from tests.support.gradients import assert_gradients_as_good_as_eager
from tests.support.numerics import assert_as_good_as_eager, relative_error
from tests.support.op_cases import CASES

# --- Ops against float64


def op_items(quick: bool) -> list[str]:
    cases = CASES
    if quick:
        cases = accuracy_cases(torch.device("cpu"), True, None)
    modes = ("float32", "bfloat16") if quick else tuning.MODES
    return [f"{case.id} {mode}" for case in cases for mode in modes]


def op(context: Context, item: str) -> None:
    """One case of an op in one mode, under the rule of the tests."""
    name, mode = item.split()
    case = next(case for case in CASES if case.id == name)
    dtype, tf32 = tuning.MODES[mode]
    implementation = registry.ops()[case.op].implementations.get(context.fast_backend)
    arguments = case.arguments(dtype, context.device)
    row = {"op": case.op, "case": case.name, "dtype": mode, "backend": context.fast_backend}
    reason = "no implementation" if implementation is None else implementation.supports(*arguments)
    if implementation is None or reason is not None:
        context.note("op check", **row, status="not available", reason=reason)
        return
    with torch.no_grad(), tuning.allowing_tf32(tf32):
        error, eager = assert_as_good_as_eager(registry.ops()[case.op], implementation.run, arguments, dtype, tf32=tf32)
        backward, gradients = implementation.backward, {}
        if backward is not None:
            found = assert_gradients_as_good_as_eager(registry.ops()[case.op], backward, arguments, dtype, tf32=tf32)
            gradients = dict(zip(("gradient_error", "eager_gradient_error"), found, strict=True))
    context.note("op check", **row, status="ok", error=error, eager_error=eager, **gradients)
    shared = {"kind": "accuracy", "subject": case.op, "case": case.name, "dtype": mode}
    context.write("accuracy", **shared, backend=context.fast_backend, error=error)
    context.write("accuracy", **shared, backend="eager", error=eager)


# --- The whole model against float64, by stage; batches


def model_items(quick: bool) -> list[str]:
    modes = ("float32", "bfloat16") if quick else ("float16", "float32", "tf32", "bfloat16")
    return [f"{what} {mode}" for what in ("stages", "batches") for mode in modes]


def model(context: Context, item: str) -> None:
    what, mode = item.split()
    dtype, tf32 = tuning.MODES[mode]
    with torch.no_grad(), tuning.allowing_tf32(tf32):
        (_stages if what == "stages" else _batches)(context, mode, dtype)


def _stages(context: Context, mode: str, dtype: torch.dtype) -> None:
    """The distances of every stage from the same model in float64, eager and fast. Without noise: random numbers
    are drawn in the model's dtype, so other precisions would hear other noise."""
    ids = torch.randint(1, 38, (1, 24 if context.quick else 87), generator=torch.Generator().manual_seed(1))

    def stages(number_format: torch.dtype, backend: str) -> dict[str, Tensor]:
        with use_backend(backend):
            speaker = unsettled_in(context.quick, number_format, context.device)
            result = speaker(input_ids=ids.to(context.device), output_hidden_states=True)
        return {
            "text encoder": result.hidden_states[-1],
            "durations": result.durations,
            "latents": result.spectrogram,
            "waveform": result.waveform,
        }

    expected = stages(torch.float64, "eager")
    plain = stages(dtype, "eager")
    fast = stages(dtype, "auto" if context.device.type == "cpu" else "triton")
    wrong = []
    for name, truth in expected.items():
        row = {"stage": name, "dtype": mode, "backend": context.fast_backend}
        found = {"eager": plain[name], context.fast_backend: fast[name]}
        shapes = {backend: tuple(output.shape) for backend, output in found.items() if output.shape != truth.shape}
        if shapes:
            context.note("stage", **row, status="failed", reason=f"shapes {shapes}, not {tuple(truth.shape)}")
            wrong.append(name)
            continue
        errors = {backend: relative_error(output, truth) for backend, output in found.items()}
        limit = 0.0 if name == "durations" else 2 * errors["eager"] + waveform_tolerance(mode)
        passed = errors[context.fast_backend] <= limit
        status = {"status": "ok" if passed else "failed"}
        context.note("stage", **row, **status, error=errors[context.fast_backend], eager_error=errors["eager"])
        if not passed:
            wrong.append(name)
        if name == "waveform":
            case = "small" if context.quick else "published"
            for backend, error in errors.items():
                row = {"subject": WHOLE_MODEL, "case": case, "dtype": mode, "backend": backend}
                context.write("accuracy", kind="accuracy", **row, error=error)
    if wrong:
        raise AssertionError(f"further from float64 than eager: {', '.join(wrong)}")


def _batches(context: Context, mode: str, dtype: torch.dtype) -> None:
    """An item alone, in a ragged batch, and in longer padding: the same audio."""
    lengths, padding = ((24, 9, 17), 7) if context.quick else ((87, 30, 61, 3), 41)
    ids = torch.zeros(len(lengths), max(lengths) + padding, dtype=torch.int64)
    for row, length in zip(ids, lengths, strict=True):
        row[:length] = torch.randint(1, 38, (length,), generator=torch.Generator().manual_seed(length))
    mask = (ids > 0).long()
    ids, mask = ids.to(context.device), mask.to(context.device)
    speaker = unsettled_in(context.quick, dtype, context.device)

    def speak(graphs: str, *inputs: Tensor) -> Any:
        speaker.graphs = graphs
        # The first call of a size goes without graphs, the second one records them, the third one replays them.
        for _ in range(3 if graphs == "auto" else 1):
            output = speaker(*inputs)
        return output

    widths = {"batch": max(lengths), "padded batch": ids.shape[1]}
    worst = 0.0
    for graphs in ("off", "auto") if context.device.type == "cuda" else ("off",):
        spoken = {name: speak(graphs, ids[:, :width], mask[:, :width]) for name, width in widths.items()}
        for item, length in enumerate(lengths):
            tokens = ids[item : item + 1, :length]
            alone = speak("off", tokens).waveform[0]
            found = {name: (output.waveform[item], output.sequence_lengths[item]) for name, output in spoken.items()}
            if graphs == "auto":
                output = speak(graphs, tokens)
                found["bucket"] = output.waveform[0], output.sequence_lengths[0]
            for name, (waveform, samples) in found.items():
                error = relative_error(waveform[:samples], alone) if samples == len(alone) else math.inf
                silent = not waveform[samples:].any()
                passed = error <= waveform_tolerance(mode) and silent
                row = {"dtype": mode, "tokens": length, "within": name, "graphs": graphs, "silent_behind": silent}
                context.note("invariance", **row, error=error, status="ok" if passed else "failed")
                worst = max(worst, error if silent else math.inf)
    if worst > waveform_tolerance(mode):
        raise AssertionError(f"an item in a batch is {worst:.2g} away from itself alone")
    if context.device.type == "cuda" and not speaker.graph_cache.statistics().replayed:
        raise AssertionError("no graph was replayed")
