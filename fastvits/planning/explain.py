"""Which implementation each op of a model takes, and why: what `fastvits.explain` tells."""

import copy
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

import fastvits_kernels as kernels
from fastvits_kernels.dispatch import devices, registry
from fastvits_kernels.dispatch.registry import BackendError, Decision, set_backend, use_backend

if TYPE_CHECKING:
    from ..models.vits import VitsModel

__all__ = [
    "BackendError",
    "ExplainedOp",
    "Explanation",
    "explain",
    "planned_calls",
    "set_backend",
    "use_backend",
]


@dataclass(frozen=True)
class ExplainedOp:
    """One line of an `Explanation`."""

    op: str
    implementation: str
    """`eager`, `triton` or `onednn`."""
    reason: str
    """Why: `asked for`, `measured` or `not measured` (whether a timing on this kind of GPU stands behind it), or what
    is missing.
    """
    measured: bool
    calls: int
    """How many calls of the op an utterance makes with this outcome; 0 where that was not counted."""


@dataclass(frozen=True)
class Explanation:
    """A table of ops, implementations and reasons: printing shows it, `rows` and `as_dicts()` hold the data."""

    rows: tuple[ExplainedOp, ...]

    def as_dicts(self) -> list[dict[str, Any]]:
        """The rows as dictionaries, for JSON or a data frame."""
        return [asdict(row) for row in self.rows]

    def __iter__(self) -> Iterator[ExplainedOp]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        cells = [("op", "implementation", "calls", "reason")]
        cells += [(row.op, row.implementation, str(row.calls) if row.calls else "-", row.reason) for row in self.rows]
        widths = [max(len(line[column]) for line in cells) for column in range(3)]
        return "\n".join(
            f"{op:<{widths[0]}}  {implementation:<{widths[1]}}  {calls:>{widths[2]}}  {reason}".rstrip()
            for op, implementation, calls, reason in cells
        )

    __repr__ = __str__


def explain(model: "VitsModel | None" = None, *, tokens: int = 100, frames: int = 250, batch: int = 1) -> Explanation:
    """Tell which implementation each op takes, and why.

    With a model: what a call would take for `batch` texts of `tokens` tokens that last `frames` frames, on the model's
    device, in its dtype and under the backend in force. Nothing is computed: the ops are asked on tensors without
    memory. Without a model: what was taken in this process so far, calls not counted.

    Raises `BackendError` where a call would, ValueError for sizes below 1.
    """
    if model is None:
        return _explanation(Counter({decision: 0 for decision in registry.decisions()}))
    for name, size in (("tokens", tokens), ("frames", frames), ("batch", batch)):
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")
    calls = planned_calls(model, tokens=tokens, frames=frames, batch=batch, ragged=batch > 1)
    return _explanation(Counter(call.decision for call in calls))


def _explanation(counts: Mapping[Decision, int]) -> Explanation:
    return Explanation(
        tuple(
            ExplainedOp(decision.op, decision.backend, decision.reason, decision.measured, count)
            for decision, count in sorted(
                counts.items(), key=lambda item: (item[0].op, item[0].backend, item[0].reason)
            )
        )
    )


@torch.no_grad()
def planned_calls(
    model: "VitsModel",
    *,
    tokens: int,
    frames: int,
    batch: int = 1,
    masked: bool = True,
    ragged: bool = False,
    output_attentions: bool = False,
) -> list[registry.Call]:
    """The calls of ops that `model` makes for `batch` texts of `tokens` tokens that last `frames` frames, in their
    order.

    None of them is run: their arguments are on the meta device, and the decisions are those for the model's device.
    `masked` says whether there is an attention mask, `ragged` whether the items last differently long. Raises
    `BackendError` as a call would.
    """
    config = model.config
    device = devices.stands_for(model.device)
    twin = model if model.device.type == "meta" else _without_memory(model)
    ids = torch.empty(batch, tokens, dtype=torch.int64, device="meta")
    text_lengths = ids.new_empty(batch) if masked else None
    lengths = ids.new_empty(batch) if ragged else None
    with model.entered(), devices.assume(device), registry.dry_run() as calls:
        kernels.left_align(ids, ids if masked else None, config.vocab_size)
        speaker = twin.embed_speaker(ids[:, 0]) if config.num_speakers > 1 else None
        encoding = twin.text_encoder.encode(ids, text_lengths, output_attentions)
        noise = None
        if config.use_stochastic_duration_prediction:
            noise = encoding.hidden.new_empty(batch, 2, tokens).transpose(1, 2)
        log_durations = twin.duration_predictor.predict(encoding.hidden, text_lengths, speaker, noise)
        scale = encoding.means.new_empty(batch)
        kernels.durations(log_durations, scale, lengths=text_lengths)
        noise = torch.empty(batch, frames, config.flow_size, dtype=twin.dtype, device="meta")
        latents = kernels.length_regulator(encoding.means, encoding.log_scales, ids, noise, scale)
        speaker = None if speaker is None else speaker.to(latents.dtype)
        twin.decoder.decode(twin.flow.transform(latents, lengths, speaker, reverse=True), lengths, speaker)
    return calls


def _without_memory(model: "VitsModel") -> "VitsModel":
    """A copy of `model` on the meta device, its tensors of the same shapes, strides and dtypes."""
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(_meta(parameter), requires_grad=False)
    for buffer in model.buffers():
        memo[id(buffer)] = _meta(buffer)
    return copy.deepcopy(model, memo)


def _meta(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
