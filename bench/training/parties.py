"""Other people's training of a VITS: their networks, their losses, their order of a step.

- `Published`: the original code (https://github.com/jaywalnut310/vits) from a checkout, or Piper's training code, which
  keeps its modules and is installed beside the tests.
- `Coqui`: `train_step` of coqui-tts 0.28 (`pip install --no-deps coqui-tts==0.28.* coqui-tts-trainer coqpit-config
  librosa scipy ...`).

Each takes the same `Material` and draws its random numbers from it. What is of no matter here and hard to install is
empty: torchaudio and torchcodec, which coqui loads for files. The published alignment search is Cython to be built; the
package monotonic-alignment-search, made of it, takes its place.
"""

import importlib
import importlib.machinery
import importlib.metadata
import sys
import types
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from fastvits import VitsConfig
from fastvits.checkpoints.coqui import original_name
from fastvits.checkpoints.names import our_name
from fastvits.weights.files import newer_spelling


@dataclass(frozen=True)
class Material:
    """A batch, and all that is random in a step."""

    ids: Tensor  # [B, T_text]
    text_lengths: Tensor  # [B]
    speakers: Tensor | None  # [B]
    spectrogram: Tensor  # [B, bins, T_frames], zero beyond
    frame_lengths: Tensor  # [B]
    waveform: Tensor  # [B, T_frames * hop]
    posterior: Tensor  # [B, T_frames, flow_size], normal noise
    durations: Tensor  # [B, T_text, 2], normal noise
    starts: Tensor  # [B], uniform

    @contextmanager
    def drawn(self) -> Iterator[None]:
        """What is drawn inside the block is this noise."""

        def randn(*shape: int, **_: Any) -> Tensor:
            assert shape == self.durations.transpose(1, 2).shape, shape
            return self.durations.transpose(1, 2)

        def randn_like(x: Tensor, **_: Any) -> Tensor:
            assert x.shape == self.posterior.transpose(1, 2).shape, x.shape
            return self.posterior.transpose(1, 2).to(x.dtype)

        def rand(*_: Any, **__: Any) -> Tensor:
            return self.starts

        with (
            mock.patch.object(torch, "randn", randn),
            mock.patch.object(torch, "randn_like", randn_like),
            mock.patch.object(torch, "rand", rand),
        ):
            yield


class Party(ABC):
    """A generator and a discriminator that learn from `Material`."""

    name: str
    generator: nn.Module
    discriminator: nn.Module

    @abstractmethod
    def judge(self, material: Material) -> Tensor:
        """The generator's pass, and the discriminator's loss."""

    @abstractmethod
    def losses(self, material: Material) -> dict[str, Tensor]:
        """After `judge`: the generator's losses by our names, without factors."""

    @abstractmethod
    def our_name(self, name: str) -> str:
        """Our name of one of the generator's parameters."""

    def step(
        self,
        material: Material,
        optimisers: tuple[torch.optim.Optimizer, torch.optim.Optimizer],
        dtype: torch.dtype | None = None,
    ) -> None:
        """One update of both, the discriminator first; with a dtype under autocast."""
        optimisers[1].zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            judged = self.judge(material)
        judged.backward()
        optimisers[1].step()
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            losses = self.losses(material)
        optimisers[0].zero_grad(set_to_none=True)
        total(losses).backward()
        optimisers[0].step()


def total(losses: dict[str, Tensor]) -> Tensor:
    """The generator's loss, with the published factors."""
    return 45 * losses["mel"] + losses["duration"] + losses["kl"] + losses["generator"] + losses["features"]


class Published(Party):
    """The modules of the original, from a checkout or of Piper.

    Args:
        config: the network.
        checkout: the original's folder; None: Piper's.
        dropout: in the text encoder and the duration predictors; None: as they have it.
    """

    def __init__(self, config: VitsConfig, checkout: Path | None = None, dropout: float | None = None) -> None:
        self.config = config
        self._models, self._losses, self._mel, self._commons = _published_modules(checkout)
        self.name = "original VITS" if checkout else f"piper-tts {importlib.metadata.version('piper-tts')}"
        self.generator = self._models.SynthesizerTrn(
            config.vocab_size,
            config.spectrogram_bins,
            config.segment_frames,
            inter_channels=config.flow_size,
            hidden_channels=config.hidden_size,
            filter_channels=config.ffn_dim,
            n_heads=config.num_attention_heads,
            n_layers=config.num_hidden_layers,
            kernel_size=config.ffn_kernel_size,
            p_dropout=0.1,
            resblock=str(config.resblock_type),
            resblock_kernel_sizes=config.resblock_kernel_sizes,
            resblock_dilation_sizes=config.resblock_dilation_sizes,
            upsample_rates=config.upsample_rates,
            upsample_initial_channel=config.upsample_initial_channel,
            upsample_kernel_sizes=config.upsample_kernel_sizes,
            n_speakers=config.num_speakers if config.num_speakers > 1 else 0,
            gin_channels=config.speaker_embedding_size,
            use_sdp=config.use_stochastic_duration_prediction,
        )
        self.discriminator = self._models.MultiPeriodDiscriminator(False)
        _set_dropout(self.generator, dropout)
        self._made: Any = None

    def judge(self, material: Material) -> Tensor:
        """See `Party`."""
        with material.drawn():
            self._made = self.generator(
                material.ids,
                material.text_lengths,
                material.spectrogram,
                material.frame_lengths,
                material.speakers,
            )
        starts = self._made[3]
        samples = self.config.segment_frames * self.config.hop_length
        self._real = self._commons.slice_segments(
            material.waveform.unsqueeze(1), starts * self.config.hop_length, samples
        )
        real, made, _, _ = self.discriminator(self._real, self._made[0].detach())
        loss: Tensor = self._losses.discriminator_loss(real, made)[0]
        return loss

    def losses(self, material: Material) -> dict[str, Tensor]:
        """See `Party`."""
        config = self.config
        waveform, duration, _, starts, _, frame_mask, (_, z_p, m_p, logs_p, _, logs_q) = self._made
        band = config.mel_bins, config.sampling_rate
        limits = config.mel_fmin, config.mel_fmax
        mel = self._mel.spec_to_mel_torch(material.spectrogram, config.n_fft, *band, *limits)
        target = self._commons.slice_segments(mel, starts, config.segment_frames)
        made = self._mel.mel_spectrogram_torch(
            waveform.squeeze(1), config.n_fft, *band, config.hop_length, config.window_length or config.n_fft, *limits
        )
        _, scores, real_features, features = self.discriminator(self._real, waveform)
        return {
            "mel": nn.functional.l1_loss(target, made),
            "duration": torch.sum(duration.float()),
            "kl": self._losses.kl_loss(z_p, logs_q, m_p, logs_p, frame_mask),
            "generator": self._losses.generator_loss(scores)[0],
            "features": self._losses.feature_loss(real_features, features),
        }

    def our_name(self, name: str) -> str:
        """See `Party`."""
        ours = our_name(name, plain_durations=not self.config.use_stochastic_duration_prediction)
        assert ours is not None, name
        return newer_spelling(ours)


class Coqui(Party):
    """`Vits.train_step` and the losses of coqui-tts. Arguments as of `Published`."""

    def __init__(self, config: VitsConfig, dropout: float | None = None) -> None:
        for name in ("torchaudio", "torchcodec"):
            _stand_in(name)
        vits = importlib.import_module("TTS.tts.models.vits")
        losses = importlib.import_module("TTS.tts.layers.losses")
        configs = importlib.import_module("TTS.tts.configs.vits_config")
        self.config = config
        self.name = f"coqui-tts {importlib.metadata.version('coqui-tts')}"
        arguments = configs.VitsArgs(
            num_chars=config.vocab_size,
            out_channels=config.spectrogram_bins,
            spec_segment_size=config.segment_frames,
            hidden_channels=config.hidden_size,
            hidden_channels_ffn_text_encoder=config.ffn_dim,
            num_heads_text_encoder=config.num_attention_heads,
            num_layers_text_encoder=config.num_hidden_layers,
            kernel_size_text_encoder=config.ffn_kernel_size,
            resblock_type_decoder=str(config.resblock_type),
            resblock_kernel_sizes_decoder=config.resblock_kernel_sizes,
            resblock_dilation_sizes_decoder=config.resblock_dilation_sizes,
            upsample_rates_decoder=config.upsample_rates,
            upsample_initial_channel_decoder=config.upsample_initial_channel,
            upsample_kernel_sizes_decoder=config.upsample_kernel_sizes,
            use_sdp=config.use_stochastic_duration_prediction,
            use_speaker_embedding=config.num_speakers > 1,
            speaker_embedding_channels=config.speaker_embedding_size or 256,
        )
        theirs = configs.VitsConfig(model_args=arguments)
        audio = theirs.audio
        audio.sample_rate, audio.fft_size, audio.win_length = (
            config.sampling_rate, config.n_fft, config.window_length or config.n_fft
        )  # fmt: skip
        audio.hop_length, audio.num_mels = config.hop_length, config.mel_bins
        audio.mel_fmin, audio.mel_fmax = config.mel_fmin, config.mel_fmax
        if config.num_speakers > 1:
            theirs.speakers = [str(number) for number in range(config.num_speakers)]
        self.network = vits.Vits(theirs)
        # It has as many tokens as its own characters; its own loading of other vocabularies does the same.
        self.network.text_encoder.emb = nn.Embedding(config.vocab_size, config.hidden_size)
        if not config.use_stochastic_duration_prediction:
            # 1e-4 there; `fastvits convert` scales a checkpoint's convolutions so that ours come to the same.
            predictor = self.network.duration_predictor
            predictor.norm_1.eps = predictor.norm_2.eps = config.layer_norm_eps
        self.discriminator = self.network.disc
        self.generator = nn.ModuleDict({name: part for name, part in self.network.named_children() if name != "disc"})
        self._criteria = losses.VitsDiscriminatorLoss(theirs), losses.VitsGeneratorLoss(theirs)
        self._to_mel = importlib.import_module("TTS.utils.audio.torch_transforms").spec_to_mel
        self.network.train()
        _set_dropout(self.network, dropout)

    def judge(self, material: Material) -> Tensor:
        """See `Party`."""
        config = self.config
        mel = self._to_mel(
            material.spectrogram, config.n_fft, config.mel_bins, config.sampling_rate, config.mel_fmin, config.mel_fmax
        )
        self._batch = {
            "tokens": material.ids,
            "token_lens": material.text_lengths,
            "spec": material.spectrogram,
            "spec_lens": material.frame_lengths,
            "mel": mel,
            "waveform": material.waveform.unsqueeze(1),
            "d_vectors": None,
            "language_ids": None,
            "speaker_ids": material.speakers,
        }
        with material.drawn():
            _, losses = self.network.train_step(self._batch, self._criteria[0], 0)
        loss: Tensor = losses["loss"]
        return loss

    def losses(self, material: Material) -> dict[str, Tensor]:
        """See `Party`."""
        _, losses = self.network.train_step(self._batch, self._criteria[1], 1)
        return {
            "mel": losses["loss_mel"] / 45,
            "duration": losses["loss_duration"],
            "kl": losses["loss_kl"],
            "generator": losses["loss_gen"],
            "features": losses["loss_feat"],
        }

    def our_name(self, name: str) -> str:
        """See `Party`."""
        plain = not self.config.use_stochastic_duration_prediction
        ours = our_name(original_name(name, Path("coqui")), plain_durations=plain)
        assert ours is not None, name
        return newer_spelling(ours)


def discriminator_name(name: str) -> str:
    """Our name of a parameter of a discriminator of either party."""
    return newer_spelling(name.replace("nets.", "discriminators.", 1))


def _set_dropout(module: nn.Module, share: float | None) -> None:
    if share is not None:
        for part in module.modules():
            if isinstance(part, nn.Dropout):
                part.p = share
            if isinstance(getattr(part, "p_dropout", None), float):
                part.p_dropout = share  # type: ignore[assignment]


def _stand_in(name: str) -> types.ModuleType:
    """An empty module, found by whoever looks for it."""
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    sys.modules.setdefault(name, module)
    return sys.modules[name]


def _published_modules(checkout: Path | None) -> tuple[Any, Any, Any, Any]:
    """models, losses, mel_processing and commons."""
    from monotonic_alignment_search import maximum_path

    # The search is wanted as [B, T_text, T_frames] there, and here the other way round.
    aligner = _stand_in("piper.train.vits.monotonic_align" if checkout is None else "monotonic_align")
    aligner.maximum_path = lambda scores, mask: maximum_path(  # type: ignore[attr-defined]
        scores.transpose(1, 2).contiguous(), mask.transpose(1, 2).contiguous()
    ).transpose(1, 2)
    names = "models", "losses", "mel_processing", "commons"
    if checkout is None:
        _filters()
        models, losses, mel, commons = (importlib.import_module(f"piper.train.vits.{name}") for name in names)
        return models, losses, mel, commons
    sys.path.insert(0, str(checkout))
    try:
        models, losses, mel, commons = map(importlib.import_module, names)
    finally:
        sys.path.remove(str(checkout))
    # Written for torch 1.6, whose transform gave pairs of numbers, and for a librosa that took arguments by place.
    mel.torch = _TorchOfPairs()  # type: ignore[attr-defined]
    filters = mel.librosa_mel_fn
    mel.librosa_mel_fn = lambda rate, size, bins, low, high: filters(  # type: ignore[attr-defined]
        sr=rate, n_fft=size, n_mels=bins, fmin=low, fmax=high
    )
    return models, losses, mel, commons


class _TorchOfPairs:
    """torch, but that `stft` gives real and imaginary parts side by side."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    @staticmethod
    def stft(*arguments: Any, **options: Any) -> Tensor:
        """`torch.stft` as pairs."""
        options["return_complex"] = True
        return torch.view_as_real(torch.stft(*arguments, **options))


def _filters() -> None:
    """Piper takes its mel filters from librosa; where that is missing, ours, which are equal."""
    try:
        importlib.import_module("librosa.filters")
    except ImportError:
        from fastvits.audio.spectrogram import mel_filterbank

        def mel(*, sr: int, n_fft: int, n_mels: int, fmin: float, fmax: float | None) -> Any:
            return mel_filterbank(sr, n_fft, n_mels, fmin, fmax).numpy()

        _stand_in("librosa")
        _stand_in("librosa.filters").mel = mel  # type: ignore[attr-defined]


@contextmanager
def wide_filters() -> Iterator[None]:
    """Inside the block librosa's filters and torch's windows are made in float64, and what asks for float32 stays as
    wide as it is: the parties' losses ask for float32 by name."""
    import numpy as np

    librosa = importlib.import_module("librosa")

    def as_it_is(x: Tensor) -> Tensor:
        return x if x.is_floating_point() else narrow(x)

    narrow = Tensor.float
    filters = partial(librosa.filters.mel, dtype=np.float64)
    with (
        mock.patch.object(librosa.filters, "mel", filters),
        mock.patch.object(torch, "hann_window", partial(torch.hann_window, dtype=torch.float64)),
        mock.patch.object(Tensor, "float", as_it_is),
    ):
        yield
