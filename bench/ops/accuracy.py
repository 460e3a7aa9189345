"""How far every op and the whole model are from float64, by dtype and backend, beside eager.

    python -m bench.accuracy [--device DEVICE] [--op NAME ...] [--quick] [--no-save]

An error is the relative RMS distance from the same computation in float64 on the same rounded inputs; for the whole
model, whose flow and decoder alone are in half precision, the distance of the waveform. Rows are appended to
`bench/results/accuracy.jsonl`. `--quick` takes one case an op and a small model, and saves nothing.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from bench import harness
from bench.ops.roofline import DTYPES
from fastvits import VitsConfig, VitsModel, use_backend
from fastvits_kernels.dispatch import registry
from fastvits_kernels.launch import jit
from tests.support.numerics import errors_of, relative_error, truth
from tests.support.op_cases import CASES, MODEL_CASES, Case

ACCURACY = harness.RESULTS / "accuracy.jsonl"
WHOLE_MODEL = "whole model"
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "ffn_dim": 64,
    "num_hidden_layers": 2,
    "flow_size": 32,
    "spectrogram_bins": 33,
    "upsample_initial_channel": 64,
}


def cases_for(device: torch.device, quick: bool, ops: Sequence[str] | None) -> list[Case]:
    """The checked cases, and on a GPU the models' shapes too; one an op if `quick`."""
    cases = [case for case in CASES if "empty" not in case.name]
    if quick:
        cases = list({case.op: case for case in reversed(cases)}.values())
    elif device.type == "cuda":
        cases += [case for case in MODEL_CASES if "-32x" not in case.name]
    return [case for case in cases if not ops or case.op in ops]


def backends_for(device: torch.device) -> tuple[str, ...]:
    """Eager, and what the device has beside it. The interpreter on a CPU computes what a kernel says, so it counts."""
    if device.type == "cuda":
        return "eager", "triton"
    return ("eager", "onednn", "triton") if jit.interpreting() else ("eager", "onednn")


@torch.no_grad()
def op_errors(case: Case, dtype: str, device: torch.device, backends: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A row for each backend that runs the case."""
    op = registry.ops()[case.op]
    arguments = case.arguments(DTYPES[dtype], device)
    expected = truth(op, arguments)
    for backend in backends:
        implementation = op.implementations.get(backend)
        if backend == "eager":
            actual = op.reference(*arguments)
        elif implementation is None or implementation.supports(*arguments) is not None:
            continue
        else:
            actual = implementation.run(*arguments)
        yield {
            "kind": "accuracy",
            "subject": case.op,
            "case": case.name,
            "dtype": dtype,
            "backend": backend,
            "error": max(errors_of(actual, expected)),
        }


@torch.inference_mode()
def model_errors(device: torch.device, backends: Sequence[str], quick: bool) -> Iterator[dict[str, Any]]:
    """The waveform of the published configuration, random weights, against the same model in float64 and eager."""
    torch.manual_seed(0)
    model = VitsModel(VitsConfig(**(SMALL if quick else {})), inference_only=True).eval()
    # With fresh weights the final tanh saturates and hides differences.
    model.decoder.conv_post.weight.mul_(0.1)
    # Random numbers are drawn in the model's dtype, so other precisions would hear other noise.
    model.noise_scale = model.noise_scale_duration = 0.0
    weights = model.state_dict()
    ids = torch.randint(1, model.config.vocab_size, (1, 24 if quick else 60), device=device)

    def waveform(dtype: torch.dtype, backend: str) -> torch.Tensor:
        copy = VitsModel(model.config, inference_only=True).eval()
        copy.load_state_dict(weights)
        copy.noise_scale = copy.noise_scale_duration = 0.0
        with use_backend(backend):
            result = copy.to(device, dtype)(input_ids=ids).waveform
        assert isinstance(result, torch.Tensor)
        return result

    expected = waveform(torch.float64, "eager")
    for dtype, number_format in DTYPES.items():
        for backend in backends:
            try:
                actual = waveform(number_format, backend)
            except registry.BackendError:
                continue
            row = {"kind": "accuracy", "subject": WHOLE_MODEL, "case": "small" if quick else "published"}
            yield {**row, "dtype": dtype, "backend": backend, "error": relative_error(actual, expected)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table and append the rows."""
    parser = argparse.ArgumentParser(prog="python -m bench.accuracy", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--op", action="append", choices=sorted(registry.ops()), help="only this op; can be repeated")
    parser.add_argument("--quick", action="store_true", help="one case an op and a small model; nothing is saved")
    parser.add_argument("--no-save", action="store_true", help="only print")
    options = parser.parse_args(arguments)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    device = torch.device(options.device)
    backends, run = backends_for(device), harness.Run(device, keep=not (options.quick or options.no_save))
    rows: list[dict[str, Any]] = []
    for case in cases_for(device, options.quick, options.op):
        for dtype in DTYPES:
            rows += op_errors(case, dtype, device, backends)
    if not options.op:
        rows += model_errors(device, backends, options.quick)
    worst: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        found = worst.setdefault((row["subject"], row["dtype"]), {})
        found[row["backend"]] = max(found.get(row["backend"], 0.0), row["error"])
    for (subject, dtype), found in worst.items():
        errors = "  ".join(f"{backend} {error:.1e}" for backend, error in found.items())
        print(f"{subject:<28} {dtype:<9} {errors}")
    run.keep(ACCURACY, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
