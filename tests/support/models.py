"""Models for tests: small configurations, and weights that a comparison can see."""

from typing import Any

import torch
import transformers
from torch import Tensor, nn

from fastvits import VitsConfig, VitsModel

SMALL: dict[str, Any] = {
    "vocab_size": 38,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "ffn_dim": 48,
    "flow_size": 24,
    "spectrogram_bins": 33,
    "upsample_initial_channel": 32,
    "upsample_rates": [4, 2],
    "upsample_kernel_sizes": [8, 4],
    "duration_predictor_filter_channels": 40,
    "prior_encoder_num_flows": 2,
    "prior_encoder_num_wavenet_layers": 2,
    "posterior_encoder_num_wavenet_layers": 2,
}
"""A configuration with everything of the standard one, only smaller."""

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "default-full-size": {},
    "small": SMALL,
    "multi-speaker": SMALL | {"num_speakers": 5, "speaker_embedding_size": 12},
    "multi-speaker-plain-durations": SMALL
    | {"num_speakers": 3, "speaker_embedding_size": 8, "use_stochastic_duration_prediction": False},
    "plain-durations": SMALL | {"use_stochastic_duration_prediction": False, "duration_predictor_kernel_size": 5},
    "window-1-heads-4-gelu": SMALL | {"window_size": 1, "num_attention_heads": 4, "hidden_act": "gelu"},
    "window-20-heads-1-gelu-new": SMALL | {"window_size": 20, "num_attention_heads": 1, "hidden_act": "gelu_new"},
    "ffn-kernel-1-no-bias": SMALL | {"ffn_kernel_size": 1, "use_bias": False},
    "ffn-kernel-4": SMALL | {"ffn_kernel_size": 4, "layer_norm_eps": 1e-3},
    "upsampling-5-3-2": SMALL
    | {"upsample_rates": [5, 3, 2], "upsample_kernel_sizes": [11, 9, 2], "upsample_initial_channel": 40},
    "one-resblock": SMALL | {"resblock_kernel_sizes": [5], "resblock_dilation_sizes": [[2]], "leaky_relu_slope": 0.3},
    "uneven-resblocks": SMALL
    | {"resblock_kernel_sizes": [3, 5, 7, 9], "resblock_dilation_sizes": [[1, 2], [2], [3, 1, 7], [1, 1]]},
    "wavenet-dilation-3": SMALL
    | {"wavenet_dilation_rate": 3, "wavenet_kernel_size": 3, "prior_encoder_num_wavenet_layers": 3},
    "spline-5-bins": SMALL
    | {"duration_predictor_flow_bins": 5, "duration_predictor_tail_bound": 2.0, "duration_predictor_num_flows": 2},
}
"""What the published model is compared at."""


@torch.no_grad()
def unsettle(model: nn.Module, seed: int = 0) -> None:
    """Move every parameter off its start, in place, so that a comparison sees all of them.

    Fresh weights hide mistakes: norms start at one, affine flows at the identity, relative embeddings near zero.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(parameter.dtype)
        if name.endswith("original0") or ("norm" in name and name.endswith("weight")):
            parameter.mul_(1 + 0.3 * noise)
        elif parameter.dim() >= 2:
            parameter.add_(0.3 * parameter.std().clamp_min(0.05) * noise)
            if ".attention." in name and name.endswith("_proj.weight"):
                parameter.mul_(5)  # scores far from flat
            elif name == "text_encoder.project.weight":
                parameter.mul_(0.3)  # a log variance of 5 would drown what the flow adds to the latents
        else:
            parameter.add_(0.1 * noise)


@torch.no_grad()
def settle_loudness(model: Any, input_ids: Tensor, **inputs: Any) -> None:
    """Scale `conv_post` until the waveform has an RMS near 0.2, so that the final tanh hides nothing."""
    weight = model.decoder.conv_post.weight
    original, low, high = weight.clone(), -60.0, 20.0
    for _ in range(40):
        middle = (low + high) / 2
        weight.copy_(original * 2.0**middle)
        torch.manual_seed(0)
        loudness = model(input_ids, **inputs).waveform.square().mean().sqrt().item()
        if 0.15 < loudness < 0.25:
            return
        low, high = (middle, high) if loudness < 0.2 else (low, middle)
    raise AssertionError(f"the loudness does not settle: {loudness}")


def random_ids(batch: int, steps: int, vocab_size: int = 38, seed: int = 3) -> Tensor:
    """Token ids `[B, T_text]`."""
    return torch.randint(0, vocab_size, (batch, steps), generator=torch.Generator().manual_seed(seed))


def speaker_of(settings: dict[str, Any]) -> dict[str, int]:
    """The `speaker_id` argument, where the configuration needs one."""
    return {"speaker_id": settings["num_speakers"] - 1} if settings.get("num_speakers", 1) > 1 else {}


def published_model(settings: dict[str, Any], seed: int = 0) -> Any:
    """transformers' model with unsettled weights and a moderate loudness, in eval mode."""
    torch.manual_seed(seed)
    model = transformers.VitsModel(transformers.VitsConfig(**settings)).eval()
    unsettle(model, seed)
    settle_loudness(model, random_ids(1, 20), **speaker_of(settings))
    return model


def own_model(settings: dict[str, Any], seed: int = 0) -> VitsModel:
    """Our model with unsettled weights and a moderate loudness, in eval mode."""
    torch.manual_seed(seed)
    model = VitsModel(VitsConfig(**settings)).eval()
    unsettle(model, seed)
    settle_loudness(model, random_ids(1, 20), **speaker_of(settings))
    return model


def relative_rms(actual: Tensor, expected: Tensor) -> float:
    """`rms(actual - expected) / rms(expected)`, in float64."""
    assert actual.shape == expected.shape
    return ((actual.double() - expected.double()).norm() / expected.double().norm()).item()
