"""The settings of a training run, checked; the defaults are the published recipe's (Kim et al. 2021, section 3.1)."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

__all__ = ["PRECISIONS", "TrainingSettings"]

PRECISIONS = ("float32", "bfloat16", "float16")

_AT_LEAST_ONE = (
    "steps",
    "batch_size",
    "accumulation",
    "validation_interval",
    "checkpoint_interval",
    "kept_checkpoints",
)
_NOT_NEGATIVE = ("seed", "validation_clips", "discriminator_warmup", "samples")
_POSITIVE = ("learning_rate", "epsilon", "lr_decay", "max_seconds")
_FINITE = ("weight_decay", "mel_weight", "duration_weight", "kl_weight", "min_seconds")


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """How to train. All fields are keywords.

    Args:
        steps: updates of the generator (and, but for the warm-up, of the discriminator) in all.
        batch_size: clips of an update on all devices together, before `accumulation`.
        accumulation: how many such batches make one update.
        learning_rate, betas, epsilon, weight_decay: AdamW's (2e-4, (0.8, 0.99), 1e-9, 0.01), of both networks.
        lr_decay: what the learning rate is multiplied by after an epoch (0.999875).
        clip_norm: largest norm of all gradients of a network together; None (the published recipe) leaves them alone.
        precision: "float32", "bfloat16" or "float16" under autocast; losses, spectrograms and durations stay float32.
        mel_weight, duration_weight, kl_weight: factors of the losses (45, 1, 1).
        adversarial: train against discriminators; without, the mel loss alone judges the waveform.
        discriminator_warmup: updates of a new discriminator at the beginning during which the generator is not told
            what it says.
        trained: prefixes of parameters that learn, such as ("posterior_encoder.",); None: all of them.
        seed: of everything random.
        validation_clips: how many clips are held back to be measured on; at most a tenth of all.
        validation_interval, checkpoint_interval: updates from one to the next.
        kept_checkpoints: how many checkpoints stay, the newest ones.
        samples: how many of the clips held back are drawn and spoken at each validation.
        min_seconds, max_seconds: clips outside are left out.
        mix_down: average the channels of stereo files instead of refusing them.
        trim_decibels: cut silence off the ends that is so far below the loudest part; None: not at all.
        strict: refuse data of which a clip cannot be used.

    Raises:
        TypeError: a value of the wrong type.
        ValueError: a value that cannot be; the message names the field.
    """

    steps: int = 100_000
    batch_size: int = 16
    accumulation: int = 1
    learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.8, 0.99)
    epsilon: float = 1e-9
    weight_decay: float = 0.01
    lr_decay: float = 0.999875
    clip_norm: float | None = None
    precision: str = "float32"
    mel_weight: float = 45.0
    duration_weight: float = 1.0
    kl_weight: float = 1.0
    adversarial: bool = True
    discriminator_warmup: int = 0
    trained: tuple[str, ...] | None = None
    seed: int = 1234
    validation_clips: int = 16
    validation_interval: int = 500
    checkpoint_interval: int = 1000
    kept_checkpoints: int = 2
    samples: int = 2
    min_seconds: float = 0.3
    max_seconds: float = 20.0
    mix_down: bool = False
    trim_decibels: float | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        for name in (*_AT_LEAST_ONE, *_NOT_NEGATIVE):
            value, least = getattr(self, name), int(name in _AT_LEAST_ONE)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} must be a whole number, got {value!r}")
            if not least <= value < 2**62:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        optional = [name for name in ("clip_norm", "trim_decibels") if getattr(self, name) is not None]
        for name in (*_POSITIVE, *_FINITE, *optional):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise TypeError(f"{name} must be a number, got {value!r}")
            if not math.isfinite(value) or value < 0 or (value == 0 and name not in _FINITE):
                raise ValueError(f"{name} must be {'0 or more' if name in _FINITE else 'above 0'}, got {value}")
        if self.min_seconds >= self.max_seconds:
            raise ValueError(f"min_seconds ({self.min_seconds}) must be below max_seconds ({self.max_seconds})")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be two numbers from 0 to below 1, got {self.betas}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}")
        if self.trained is not None and not self.trained:
            raise ValueError("trained must be a tuple of prefixes of parameters, or None for all of them")

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON has them."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(self).items()
        }

    def differences(self, kept: Mapping[str, Any]) -> list[str]:
        """Fields in which an earlier run's settings (`to_dict`) differ and a run must not be continued: all but its
        length and what it tells and keeps on the way."""
        free = {"steps", "validation_interval", "checkpoint_interval", "kept_checkpoints", "samples", "strict"}
        mine = self.to_dict()
        return sorted(name for name in mine.keys() - free if kept.get(name) != mine[name])
