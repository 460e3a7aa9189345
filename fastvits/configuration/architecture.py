"""How the fields of a configuration have to fit together, for a model of it to run."""

from __future__ import annotations

import math
from typing import Any


def refuse_overflow(field: str, kernel_size: int, base: int, layers: int) -> None:
    """Refuse dilations ``base ** i`` (i < layers) whose padding torch's 64-bit sizes cannot express."""
    # In logarithms, as the power itself may have more digits than memory.
    if layers > 1 and kernel_size > 1 and (layers - 1) * math.log2(base) + math.log2(kernel_size - 1) >= 63:
        raise ValueError(f"{field} makes dilations of up to {base} ** {layers - 1}, beyond 64 bits")


def check_encoder(config: Any) -> None:
    if config.hidden_size % config.num_attention_heads:
        raise ValueError(
            f"hidden_size ({config.hidden_size}) must be a multiple of num_attention_heads "
            f"({config.num_attention_heads})"
        )
    if config.pad_token_id is not None and not -config.vocab_size <= config.pad_token_id < config.vocab_size:
        raise ValueError(
            f"pad_token_id ({config.pad_token_id}) must be None or an id of the vocabulary, "
            f"less than vocab_size ({config.vocab_size})"
        )
    if config.num_speakers > 1 and config.speaker_embedding_size == 0:
        raise ValueError(
            f"speaker_embedding_size must be positive for a model of several speakers "
            f"(num_speakers is {config.num_speakers}), got 0"
        )


def check_duration_predictor(config: Any) -> None:
    kernel_size = config.duration_predictor_kernel_size
    stochastic = config.use_stochastic_duration_prediction
    if stochastic and config.depth_separable_channels != 2:
        raise ValueError(
            f"depth_separable_channels must be 2 for the stochastic duration predictor, "
            f"not {config.depth_separable_channels}"
        )
    if stochastic and config.duration_predictor_flow_bins > 1000:
        raise ValueError(
            f"duration_predictor_flow_bins must be at most 1000, as every bin takes at least a thousandth of the "
            f"spline's width, got {config.duration_predictor_flow_bins}"
        )
    if kernel_size % 2 == 0 and (not stochastic or config.depth_separable_num_layers):
        raise ValueError(f"duration_predictor_kernel_size must be odd to keep the length, got {kernel_size}")
    if stochastic:
        layers = config.depth_separable_num_layers
        refuse_overflow("duration_predictor_kernel_size", kernel_size, kernel_size, layers)


def check_flow(config: Any) -> None:
    coupling_layers = config.prior_encoder_num_wavenet_layers if config.prior_encoder_num_flows else 0
    if config.prior_encoder_num_flows and config.flow_size % 2:
        raise ValueError(f"flow_size must be even, as coupling layers split it in halves, got {config.flow_size}")
    if config.wavenet_kernel_size % 2 == 0 and max(coupling_layers, config.posterior_encoder_num_wavenet_layers):
        raise ValueError(f"wavenet_kernel_size must be odd to keep the length, got {config.wavenet_kernel_size}")
    refuse_overflow("wavenet_dilation_rate", config.wavenet_kernel_size, config.wavenet_dilation_rate, coupling_layers)
    if config.speaker_embedding_size:
        for field, used in (
            ("prior_encoder_num_wavenet_layers", config.prior_encoder_num_flows > 0),
            ("posterior_encoder_num_wavenet_layers", True),
        ):
            if used and getattr(config, field) == 0:
                raise ValueError(f"{field} must be at least 1 where speakers condition the WaveNet, got 0")


def check_decoder(config: Any) -> None:
    rates, kernel_sizes = config.upsample_rates, config.upsample_kernel_sizes
    if len(rates) != len(kernel_sizes):
        raise ValueError(
            f"upsample_kernel_sizes must have as many entries as upsample_rates ({len(rates)}), got {len(kernel_sizes)}"
        )
    for index, (rate, kernel_size) in enumerate(zip(rates, kernel_sizes, strict=True)):
        if kernel_size < rate or (kernel_size - rate) % 2:
            raise ValueError(
                f"upsample_kernel_sizes[{index}] must be upsample_rates[{index}] ({rate}) plus an even number, so "
                f"that the stage makes exactly {rate} samples of one, got {kernel_size}"
            )
    if config.upsample_initial_channel >> len(rates) == 0:
        raise ValueError(
            f"upsample_initial_channel ({config.upsample_initial_channel}) must be at least {2 ** len(rates)}, as "
            f"each of the {len(rates)} stages of upsample_rates halves it"
        )
    if len(config.resblock_kernel_sizes) != len(config.resblock_dilation_sizes):
        raise ValueError(
            f"resblock_dilation_sizes must have one list for each of the {len(config.resblock_kernel_sizes)} "
            f"resblock_kernel_sizes, got {len(config.resblock_dilation_sizes)}"
        )
    for index, (kernel_size, dilations) in enumerate(
        zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True)
    ):
        # The first type has a convolution of dilation 1 after each dilated one; the second has none.
        steps = [1, *dilations] if config.resblock_type == 1 else dilations
        if any((kernel_size - 1) * dilation % 2 for dilation in steps):
            raise ValueError(
                f"resblock_kernel_sizes[{index}] must keep the length: odd, or with resblock_type 2 and even "
                f"dilations also even, got {kernel_size} with dilations {dilations}"
            )
        for dilation in dilations:
            refuse_overflow(f"resblock_dilation_sizes[{index}]", kernel_size, dilation, 2)
