"""The models that `bench.gpu_evidence` checks and times, and what they say.

Models, weights and texts follow from seeds, so every process makes the same.
"""

import copy
import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from bench.configurations import TOKENS_A_SECOND
from bench.gpu.context import Context
from bench.ops.accuracy import SMALL
from bench.utterances import end_to_end
from fastvits import VitsConfig, VitsModel, VitsTokenizer, use_backend
from fastvits.planning import tuning
from fastvits.planning.explain import planned_calls
from fastvits.voices import folders as voices
from fastvits_kernels.channels_last import ChannelsLast
from tests.support.tolerances import HALF_PRECISION_MODEL, MODEL_FLOAT32, PIPER_AGAINST_ONNXRUNTIME

SAMPLING_RATE = VitsConfig().sampling_rate
FRAME = math.prod(VitsConfig().upsample_rates)
BASELINE = end_to_end.BASELINE["standard"]
OWN_BASELINE = "fastvits eager float32"


def settings_of(quick: bool) -> dict[str, Any]:
    return dict(SMALL) if quick else {}


@lru_cache(maxsize=1)
def unsettled(quick: bool, device: torch.device) -> VitsModel:
    from tests.support.models import (  # with transformers, which takes seconds to import
        random_ids,
        settle_loudness,
        unsettle,
    )

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
        hidden = model.text_encoder.encode(ids, None, False).hidden
        log_durations = model.duration_predictor.predict(hidden, None, None, hidden.new_zeros(1, 88, 2))
    # Durations are rounded up, by half a frame on average.
    model.speaking_rate = log_durations.exp().mean().item() / (SAMPLING_RATE / FRAME / TOKENS_A_SECOND - 0.5)


@lru_cache
def unsettled_in(quick: bool, dtype: torch.dtype, device: torch.device) -> VitsModel:
    return copy.deepcopy(unsettled(quick, device)).to(dtype)


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
        with tuning.allowing_tf32(tuning.MODES[self.mode][1]), use_backend(self.backend):
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
            with tuning.allowing_tf32(tuning.MODES[self.mode][1]), use_backend(self.backend):
                self.model.warmup(tokens=tokens, frames=frames, batch_sizes=batch, progress=False)


@lru_cache
def speakers_for(device: torch.device, quick: bool, name: str = "standard") -> Speakers:
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


@lru_cache
def spoken_for(
    device: torch.device, quick: bool, name: str, batch: int, seconds: float
) -> tuple[end_to_end.Utterances, Tensor]:
    """Ids that last so long, and what one of the equal items has to sound like: eager in float64, `[1, T_samples]`."""
    speakers = speakers_for(device, quick, name)
    exact = speakers.own[torch.float32]
    exact.graphs = "off"
    with tuning.allowing_tf32(False), use_backend("eager"):
        found = end_to_end.utterance(exact, seconds, batch, lambda n: speakers.ids_of(n).to(device))
        # Made in inference mode, which torch.compile minds.
        ids = found.ids.clone()
        truth = speakers.own[torch.float64](input_ids=ids[:1]).waveform
    return end_to_end.Utterances(ids, found.samples), truth


def waveform_tolerance(mode: str) -> float:
    """How far a waveform may be from one in float32; TF32 multiplies with the precision of float16."""
    if mode == "float32":
        return MODEL_FLOAT32
    return HALF_PRECISION_MODEL[torch.bfloat16 if mode == "bfloat16" else torch.float16]
