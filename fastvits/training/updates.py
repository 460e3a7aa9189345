"""One update: the generator's forward pass, the discriminator's step, the generator's step (Kim et al. 2021, section
2.3; the discriminator learns first, as published)."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..models.learning import segments
from ..models.output import VitsModelOutput
from ..models.vits import VitsModel
from .batches import Batch, item_seed
from .discriminator import VitsDiscriminator, judged_both
from .losses import adversarial_losses, discriminator_loss
from .processes import Processes
from .settings import TrainingSettings

__all__ = ["Networks", "Outcome"]

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass
class Outcome:
    """What an update did: its losses by name, or the clips at which it met NaN or infinity and was skipped."""

    losses: dict[str, float] = field(default_factory=dict)
    skipped: list[str] | None = None


class Networks:
    """Both networks, their optimisers and schedules.

    Args:
        generator: the model, in training; parameters that do not require gradients stay as they are.
        discriminator: None trains without.
        settings: of the run.
        processes: of the run.
    """

    def __init__(
        self,
        generator: VitsModel,
        discriminator: VitsDiscriminator | None,
        settings: TrainingSettings,
        processes: Processes,
    ) -> None:
        self.generator, self.discriminator = generator, discriminator
        self.settings, self.processes = settings, processes
        self.optimisers = [self._optimiser(network) for network in self._networks()]
        self.schedules = [
            torch.optim.lr_scheduler.ExponentialLR(optimiser, settings.lr_decay) for optimiser in self.optimisers
        ]
        device = processes.device.type
        self.scalers = [torch.amp.GradScaler(device, enabled=settings.precision == "float16") for _ in self.optimisers]

    def _networks(self) -> list[nn.Module]:
        return [self.generator] if self.discriminator is None else [self.generator, self.discriminator]

    def _optimiser(self, network: nn.Module) -> torch.optim.Optimizer:
        wanted = [parameter for parameter in network.parameters() if parameter.requires_grad]
        if not wanted:
            raise ValueError("nothing is left to be trained: every parameter is frozen")
        settings = self.settings
        # Fused, it reads and writes each number once: on a CPU a seventh of the time.
        return torch.optim.AdamW(
            wanted, settings.learning_rate, settings.betas, settings.epsilon, settings.weight_decay, fused=True
        )

    def autocast(self) -> AbstractContextManager[None]:
        """The precision of the run."""
        dtype = _DTYPES.get(self.settings.precision)
        return torch.autocast(self.processes.device.type, dtype=dtype, enabled=dtype is not None)

    def end_epoch(self) -> None:
        """Lower the learning rates."""
        for schedule in self.schedules:
            schedule.step()

    def forward(self, batch: Batch) -> VitsModelOutput:
        """The generator's losses and segments for a batch on the run's device."""
        output = self.generator(
            batch.input_ids,
            batch.attention_mask,
            batch.speaker_id,
            labels=batch.labels,
            seed=batch.seeds,
        )
        assert isinstance(output, VitsModelOutput)
        return output

    def update(self, batches: Sequence[Batch], step: int) -> Outcome:
        """Learn from this process's share of an update, `settings.accumulation` batches.

        With more than one, both networks learn from gradients that the discriminator of before the update gave.
        """
        settings, processes = self.settings, self.processes
        config = self.generator.config
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        counts = [batch.counts(config.segment_frames) for batch in batches]
        totals = processes.total([sum(column) for column in zip(*counts, strict=True)])
        parts, outcome = len(batches), Outcome()
        convinced = self.discriminator is not None and step >= settings.discriminator_warmup
        for place, (batch, count) in enumerate(zip(batches, counts, strict=True)):
            torch.manual_seed(item_seed(settings.seed, "dropout", f"{step} {place} {processes.rank}"))
            with self.autocast():
                output = self.forward(batch)
                made = output.segment
                assert made is not None
                real = self._recorded(batch, output)
            # Means over what this process saw become shares of the mean over all that the update sees.
            shares = [one * processes.world * parts / total for one, total in zip(count, totals, strict=True)]
            terms = {
                "kl": _scalar(output.loss_kl) * shares[0],
                "duration": _scalar(output.loss_duration) * shares[1],
                "mel": _scalar(output.loss_mel) * shares[2],
            }
            judged = self._judge(real, made, parts) if self.discriminator is not None else None
            if self._anywhere(not all(map(_finite, [*terms.values(), judged]))):
                return Outcome(skipped=batch.names)
            if judged is not None:
                outcome.losses["discriminator"] = outcome.losses.get("discriminator", 0) + judged.item() / parts
                if parts == 1 and not self._step(1):
                    return Outcome(skipped=batch.names)
            loss = (
                settings.mel_weight * terms["mel"]
                + settings.duration_weight * terms["duration"]
                + settings.kl_weight * terms["kl"]
            )
            ends: list[Tensor] = [self.scalers[0].scale(loss / parts)]
            gradients: list[Tensor | None] = [None]
            if convinced and self.discriminator is not None:
                terms["generator"], terms["features"], gradient = self._convince(real, made, parts)
                if made.requires_grad:
                    ends, gradients = [*ends, made], [*gradients, gradient]
            torch.autograd.backward(ends, gradients)
            total = loss.detach() + terms.get("generator", 0) + terms.get("features", 0)
            for name, term in {**terms, "total": total}.items():
                outcome.losses[name] = outcome.losses.get(name, 0) + term.item() / parts
        stepped = parts == 1 or self.discriminator is None or self._step(1)
        if not (self._step(0) and stepped):
            return Outcome(skipped=[name for batch in batches for name in batch.names])
        names = list(outcome.losses)
        sums = processes.total([outcome.losses[name] for name in names])
        return Outcome({name: value / processes.world for name, value in zip(names, sums, strict=True)})

    def _recorded(self, batch: Batch, output: VitsModelOutput) -> Tensor:
        """The recordings `[B, T_samples]` that the segments were made for."""
        config = self.generator.config
        assert output.segment_start is not None
        frames = batch.waveform.unflatten(1, (-1, config.hop_length))
        return segments(frames, output.segment_start, config.segment_frames).flatten(1)

    def _judge(self, real: Tensor, made: Tensor, parts: int) -> Tensor:
        """The discriminators' loss, whose gradients they have then, each before the next one runs: so only one of them
        remembers at a time what it has computed."""
        assert self.discriminator is not None
        losses = []
        for judge in self.discriminator.discriminators:
            with self.autocast():
                right, wrong = judged_both(judge, real, made.detach().to(real.dtype))
                loss = discriminator_loss([right], [wrong])
            self.scalers[1].scale(loss / parts).backward()
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    def _convince(self, real: Tensor, made: Tensor, parts: int) -> tuple[Tensor, Tensor, Tensor]:
        """The generator's two losses by the discriminators, one after the other as they judge, and the gradient of
        their sum by `made`, scaled."""
        assert self.discriminator is not None
        heard = made.detach().requires_grad_()
        losses = []
        for judge in self.discriminator.discriminators:
            with self.autocast():
                pair = torch.stack(adversarial_losses([judge], real, heard))
            self.scalers[0].scale(pair.sum() / parts).backward()
            losses.append(pair.detach())
        generator, features = torch.stack(losses).sum(0)
        assert heard.grad is not None
        return generator, features, heard.grad

    def _anywhere(self, here: bool) -> bool:
        return self.processes.total([float(here)])[0] > 0

    def _step(self, which: int) -> bool:
        """One optimiser's step with the mean gradients; False, and no step, where they are not finite."""
        optimiser, scaler = self.optimisers[which], self.scalers[which]
        parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        self.processes.average_gradients(parameters)
        scaler.unscale_(optimiser)
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        finite = bool(norm.isfinite())
        if finite and self.settings.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.settings.clip_norm, norm)
        if finite or scaler.is_enabled():
            scaler.step(optimiser)  # float16 outgrows its scale now and then: the scaler then skips and lowers it
            scaler.update()
        return finite or scaler.is_enabled()


def _scalar(loss: Tensor | None) -> Tensor:
    assert loss is not None
    return loss


def _finite(loss: Tensor | None) -> bool:
    return loss is None or math.isfinite(loss.item())
