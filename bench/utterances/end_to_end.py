"""Text ids to waveform, fastvits beside its peers, in turn on one machine: `python -m bench.end_to_end --device cpu`.

Two models: the standard configuration with random weights, beside transformers (eager, and under torch.compile), and
the bundled English voice, beside onnxruntime, OpenVINO and sherpa-onnx (`bench/utterances/peers.py`). All compute the
same utterances with the same weights and the same number of threads. A peer that is missing, or cannot speak an
utterance, is named. Nothing is timed before its output was found to be right. Rows go to
`bench/results/end_to_end.jsonl`, but for those of `--quick` and `--no-save`.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bench import harness
from bench.utterances.int8 import calibrated
from bench.utterances.peers import PEERS, Peer
from fastvits import VitsConfig, VitsModel, VitsTokenizer, use_backend
from fastvits.voices import folders as voices
from tests.support.numerics import relative_error
from tests.support.tolerances import MODEL_FLOAT32, PIPER_AGAINST_ONNXRUNTIME

SENTENCES = (
    "Good morning to you.",
    "The quick brown fox jumps over the lazy dog.",
    "We walked along the river for an hour; the sun was low, the birds were loud, and nobody wanted to go home.",
    "In 1984, forty-two people paid three dollars each for a ticket to the end of the line!",
)
BASELINE = {"standard": "transformers eager", "bundled": "onnxruntime"}
SEED = 0


@dataclass(frozen=True)
class Utterances:
    """A batch of equal texts: ids `[B, T_text]`, and the samples that one item has."""

    ids: Tensor
    samples: int


def standard_models(device: str) -> tuple[VitsModel, Any]:
    """Ours and transformers' of the standard configuration, with the same random weights.

    The last convolution is scaled down: with fresh weights the final tanh saturates and hides differences.
    """
    import transformers

    torch.manual_seed(SEED)
    peer = transformers.VitsModel(transformers.VitsConfig()).eval().to(device)
    with torch.no_grad():
        peer.decoder.conv_post.weight.mul_(0.1)
    own = VitsModel(VitsConfig()).eval().to(device)
    own.load_state_dict(peer.state_dict())
    return own, peer


def repeated(sentences: Sequence[str], count: int) -> str:
    """A text of `count` sentences."""
    return " ".join(sentences[i % len(sentences)] for i in range(count))


@torch.inference_mode()
def utterance(model: VitsModel, seconds: float, batch: int, ids_of: Callable[[int], Tensor]) -> Utterances:
    """Ids that last about `seconds`; `ids_of(n)` gives longer ones for a larger `n`."""
    wanted, size = seconds * model.config.sampling_rate, 1
    while size < 1 << 16:
        ids = ids_of(size)
        samples = _speak(model, ids).shape[1]
        if samples >= 0.9 * wanted:
            break
        size = max(size + 1, min(4 * size, int(size * wanted / samples)))
    return Utterances(ids.expand(batch, -1).contiguous(), samples)


def _speak(model: Any, ids: Tensor) -> Tensor:
    """The waveform, always with the same random numbers."""
    torch.manual_seed(SEED)
    waveform = model(input_ids=ids).waveform
    assert isinstance(waveform, Tensor)
    return waveform


@contextmanager
def without_noise(model: VitsModel) -> Any:
    """Both noise scales at 0 inside the block, as onnxruntime is called."""
    before = model.noise_scale, model.noise_scale_duration
    model.noise_scale = model.noise_scale_duration = 0.0
    try:
        yield
    finally:
        model.noise_scale, model.noise_scale_duration = before


def installed_peers(threads: int) -> list[Peer]:
    """The programs that speak the bundled voice too; one that is missing is named."""
    found: list[Peer] = []
    for kind in PEERS:
        try:
            found.append(kind(threads))
        except ImportError as error:
            print(f'{kind.name} is left out: {error}; pip install "fastvits[test,bench]" brings it')
    if not any(peer.name == BASELINE["bundled"] for peer in found):
        raise SystemExit("the bundled voice is compared with onnxruntime, which is not installed")
    return found


def own_candidates(
    exact: VitsModel, half: VitsModel, ids: Tensor, eight: VitsModel | None = None
) -> dict[str, Callable[[], Tensor]]:
    """fastvits' own ways; `eight` is a voice in int8."""

    def run(model: VitsModel, backend: str) -> Tensor:
        with use_backend(backend):
            return _speak(model, ids)

    return {
        "fastvits eager float32": lambda: run(exact, "eager"),
        "fastvits auto float32": lambda: run(exact, "auto"),
        "fastvits auto bfloat16": lambda: run(half, "auto"),
        **({} if eight is None else {"fastvits auto int8": lambda: run(eight, "auto")}),
    }


def bfloat16_copy(model: VitsModel) -> VitsModel:
    """The same model in bfloat16 (where the precision goes that far down)."""
    copy = VitsModel(model.config, inference_only=model.inference_only).eval().to(model.device)
    copy.load_state_dict(model.state_dict())
    return copy.to(torch.bfloat16)


def faults(outputs: dict[str, Tensor], baseline: str, tolerance: float) -> dict[str, str]:
    """What is wrong with each output, by name: its length, or in float32 its distance from the baseline's."""
    expected, found = outputs[baseline].cpu(), {}
    for name, output in outputs.items():
        actual = output.cpu()
        if actual.shape != expected.shape:
            found[name] = f"{tuple(actual.shape)} samples, not {tuple(expected.shape)}"
        elif not name.endswith(("bfloat16", "int8")):
            error = relative_error(actual, expected)
            if not error <= tolerance:
                found[name] = f"a relative distance of {error:.2g}, more than {tolerance}"
    return found


def measure(
    model: str,
    candidates: dict[str, Callable[[], Tensor]],
    spoken: Utterances,
    seconds: float,
    sampling_rate: int,
    options: argparse.Namespace,
) -> list[dict[str, Any]]:
    """Check all candidates, time them in turn, print their table and return their rows."""
    batch, baseline = spoken.ids.shape[0], BASELINE[model]
    tolerance = MODEL_FLOAT32 if model == "standard" else PIPER_AGAINST_ONNXRUNTIME
    wrong = faults({name: run() for name, run in candidates.items()}, baseline, tolerance)
    if wrong:
        raise SystemExit("".join(f"{name} is wrong: {fault}\n" for name, fault in wrong.items()) + "nothing was timed")
    samples = harness.time_in_turn(
        candidates, device=options.device, rounds=options.rounds, warmup=1, flush=False, pause=options.pause
    )
    audio = spoken.samples / sampling_rate
    print(f"\n{model}, {audio:.1f} s of audio, batch {batch}, {options.rounds} rounds in turn")
    print(f"{'':<26} {'median':>9} {'min':>9} {'max':>9} {'real time':>10}   against {baseline}: median (min to max)")
    rows = []
    for name, times in samples.items():
        ratios = [a / b for a, b in zip(samples[baseline], times, strict=True)]
        median = statistics.median(times)
        print(
            f"{name:<26} {median:>8.3f}s {min(times):>8.3f}s {max(times):>8.3f}s {audio * batch / median:>9.1f}x"
            f"   {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )
        rows.append(
            {
                "kind": "end_to_end",
                "model": model,
                "candidate": name,
                "seconds": seconds,
                "audio_seconds": audio,
                "batch": batch,
                "times": times,
                "ratios": ratios,
                "baseline": baseline,
            }
        )
    return rows


@torch.inference_mode()
def standard(options: argparse.Namespace) -> Iterator[list[dict[str, Any]]]:
    """The standard configuration, beside transformers: the rows of each length and batch."""
    own, peer = standard_models(options.device)
    half, compiled = bfloat16_copy(own), None
    if options.compile:
        compiled = torch.compile(peer, dynamic=True, options={"fallback_random": True})  # eager's random numbers
    numbers = torch.Generator().manual_seed(SEED)
    pool = torch.randint(1, own.config.vocab_size, (1, 1 << 16), generator=numbers)
    for seconds in options.seconds:
        for batch in options.batches:
            # Items of one length, for the peer lets the padding of shorter ones into their ends.
            for speaker in (own, half, peer):
                speaker.noise_scale_duration = 0.0 if batch > 1 else speaker.config.noise_scale_duration
            spoken = utterance(own, seconds, batch, lambda n: pool[:, : 8 * n].to(options.device))
            ids = spoken.ids
            candidates: dict[str, Callable[[], Tensor]] = {"transformers eager": partial(_speak, peer, ids)}
            if compiled is not None:
                reason = None
                try:
                    outputs = {name: _speak(one, ids) for name, one in (("eager", peer), ("compiled", compiled))}
                    reason = faults(outputs, "eager", MODEL_FLOAT32).get("compiled")
                except Exception as error:  # whatever a missing compiler or an unsupported operation raises
                    reason = str(error).splitlines()[0]
                if reason is None:
                    candidates["transformers compiled"] = partial(_speak, compiled, ids)
                else:
                    print(f"transformers under torch.compile is left out: {reason}")
                    compiled = None
            candidates |= own_candidates(own, half, ids)
            yield measure("standard", candidates, spoken, seconds, own.config.sampling_rate, options)


@torch.inference_mode()
def bundled(options: argparse.Namespace) -> Iterator[list[dict[str, Any]]]:
    """The bundled voice, beside the peers that are installed: the rows of each length and batch."""
    folder = voices.voice_folder()
    own = VitsModel.from_pretrained(folder, inference_only=True).to(options.device)
    half, tokenizer = bfloat16_copy(own), VitsTokenizer.from_pretrained(folder)
    eight = calibrated(folder) if options.device == "cpu" else None
    found = installed_peers(torch.get_num_threads())

    def ids_of(count: int) -> Tensor:
        ids = tokenizer(repeated(SENTENCES, count), return_tensors="pt")["input_ids"]
        assert isinstance(ids, Tensor)
        return ids.to(options.device)

    with without_noise(own), without_noise(half), nullcontext() if eight is None else without_noise(eight):
        for seconds in options.seconds:
            for batch in options.batches:
                spoken = utterance(own, seconds, batch, ids_of)
                ids = spoken.ids
                candidates: dict[str, Callable[[], Tensor]] = {}
                for peer in found:
                    reason = peer.unable(ids)
                    if reason is None:
                        candidates[peer.name] = partial(peer, ids)
                    else:
                        print(f"\n{peer.name} is left out: {reason}")
                candidates |= own_candidates(own, half, ids, eight)
                yield measure("bundled", candidates, spoken, seconds, own.config.sampling_rate, options)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print tables and append the rows."""
    parser = argparse.ArgumentParser(prog="python -m bench.end_to_end", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu", metavar="DEVICE", help="a torch device (default: cpu)")
    parser.add_argument("--threads", type=int, metavar="N", help="threads of torch and of the peers (default: torch's)")
    parser.add_argument(
        "--seconds", type=float, nargs="+", default=[1, 3, 10, 30], metavar="S", help="lengths of audio"
    )
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8], metavar="B", help="sizes of batches")
    parser.add_argument("--models", nargs="+", choices=list(BASELINE), default=list(BASELINE), help="which models")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="rounds in turn (default: 7)")
    parser.add_argument(
        "--pause", type=float, default=0.2, metavar="S", help="rest before each run (default: 0.2 s; spinning threads)"
    )
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="leave torch.compile out")
    parser.add_argument("--no-save", action="store_true", help="only print")
    parser.add_argument(
        "--quick", action="store_true", help="1 and 3 s, batch 1, three rounds, no torch.compile; nothing is saved"
    )
    options = parser.parse_args(arguments)
    if options.quick:
        options.seconds, options.batches, options.rounds, options.compile = [1, 3], [1], 3, False
    if options.threads:
        torch.set_num_threads(options.threads)
    run = harness.Run(options.device, keep=not (options.quick or options.no_save))
    environment = run.environment
    print(f"{environment['device']}, {torch.get_num_threads()} threads, load {environment['load']}")
    print(", ".join(f"{name} {version}" for name, version in environment["versions"].items()))
    for model in options.models:
        for rows in {"standard": standard, "bundled": bundled}[model](options):
            run.keep(harness.RESULTS / "end_to_end.jsonl", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
