"""Layers for the `kernels` library, whose `kernelize` replaces the `forward` of a program's layers.

    import kernels
    from fastvits.integrations.kernels import mapping, mark

    mark()
    with kernels.use_kernel_mapping(mapping()):
        kernels.kernelize(model, mode=kernels.Mode.INFERENCE)

They stand for parts of a `transformers.VitsModel`: the decoder (`VitsHifiGan`), the WaveNets (`VitsWaveNet`) and the
attention (`VitsAttention`). Each is stateless, as the library wants it: it has nothing but a `forward`, for which
`self` is the part that it was put into. `fastvits.integrations.transformers.apply` does the same for whole models, and
for more parts.
"""

import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from .. import __version__
from ..configuration import VitsConfig
from ..models import hifigan, text_encoder, wavenet
from .transformers.parts import for_each, is_run, own_config
from .transformers.twin import Twin, published

__all__ = ["Layer", "layers", "mapping", "mark", "write_repository"]

DEVICES = ("cpu", "cuda", "rocm", "xpu")


class _WaveNet(wavenet.VitsWaveNet):
    def __init__(self, config: VitsConfig) -> None:
        super().__init__(config, config.prior_encoder_num_wavenet_layers)


def _decoder_twin(part: published.VitsHifiGan) -> Twin:
    return Twin(hifigan.VitsHifiGan, own_config(part.config))


def _wavenet_twin(part: published.VitsWaveNet) -> Twin:
    """What a WaveNet was built from is read off its layers."""
    layers: list[Any] = list(part.in_layers)
    rate = layers[1].dilation[0] if len(layers) > 1 else 1
    condition: Any = getattr(part, "cond_layer", None)
    config = VitsConfig(
        hidden_size=part.hidden_size,
        num_attention_heads=1,
        prior_encoder_num_wavenet_layers=len(layers),
        wavenet_kernel_size=layers[0].kernel_size[0],
        wavenet_dilation_rate=rate,
        speaker_embedding_size=0 if condition is None else condition.in_channels,
    )
    return Twin(_WaveNet, config)


def _attention_twin(part: published.VitsAttention) -> Twin:
    config = VitsConfig(
        hidden_size=part.embed_dim,
        num_attention_heads=part.num_heads,
        window_size=part.window_size,
        use_bias=part.q_proj.bias is not None,
    )
    return Twin(text_encoder.VitsAttention, config)


_MAKERS: dict[type[nn.Module], Any] = {
    published.VitsHifiGan: _decoder_twin,
    published.VitsWaveNet: _wavenet_twin,
    published.VitsAttention: _attention_twin,
}
_twins: WeakKeyDictionary[nn.Module, Twin] = WeakKeyDictionary()
_lock = threading.Lock()


def _twin(part: nn.Module, *tensors: Tensor | None, any_precision: bool = True) -> Any:
    with _lock:
        twin = _twins.get(part)
        if twin is None:
            twin = _twins[part] = _MAKERS[type(part)](part)
    return twin.usable(part, *tensors, any_precision=any_precision)


class layers:
    """The layers by name, in what the library takes for a module.

    Where they would give anything else than the part itself (hooks, changed layers, dropout, autocast, compilation,
    padding in attention), the part's own `forward` runs.
    """

    class VitsHifiGan(nn.Module):
        """Latents `[B, flow_size, T_frames]` -> waveform `[B, 1, T_samples]`."""

        has_backward = True
        can_torch_compile = True

        def forward(self, spectrogram: Tensor, global_conditioning: Tensor | None = None) -> Any:
            """The published call."""
            twin = _twin(self, spectrogram, global_conditioning)
            if twin is None:
                return type(self).forward(self, spectrogram, global_conditioning)
            return twin(spectrogram, for_each(global_conditioning, spectrogram))

    class VitsWaveNet(nn.Module):
        """`[B, hidden_size, T]`, a mask `[B, 1, T]` -> `[B, hidden_size, T]`."""

        has_backward = True
        can_torch_compile = True

        def forward(self, inputs: Tensor, padding_mask: Tensor, global_conditioning: Tensor | None = None) -> Any:
            """The published call."""
            twin = _twin(self, inputs, padding_mask, global_conditioning)
            if twin is None or not is_run(padding_mask):
                return type(self).forward(self, inputs, padding_mask, global_conditioning)
            return twin(inputs, padding_mask, for_each(global_conditioning, inputs))

    class VitsAttention(nn.Module):
        """`[B, T, hidden_size]` -> the same, and attention weights `[B, H, T, T]` where they are asked for."""

        has_backward = True
        can_torch_compile = True

        def forward(
            self,
            hidden_states: Tensor,
            key_value_states: Tensor | None = None,
            attention_mask: Tensor | None = None,
            output_attentions: bool = False,
        ) -> Any:
            """The published call."""
            # Lengths, which rounding decides, depend on it.
            twin = _twin(self, hidden_states, attention_mask, any_precision=False)
            if twin is None or not (attention_mask is None or bool((attention_mask == 0).all())):
                return type(self).forward(self, hidden_states, key_value_states, attention_mask, output_attentions)
            heads, weights = twin.run(twin.heads, hidden_states, None, output_attentions)
            return twin.out_proj(heads), weights


@dataclass(frozen=True)
class Layer:
    """One of `layers`, as the library's mappings take them: a repository that is here already."""

    layer_name: str

    def load(self) -> type[nn.Module]:
        """The layer."""
        found: type[nn.Module] = getattr(layers, self.layer_name)
        return found


def mapping() -> dict[str, dict[str, Layer]]:
    """All layers for every device, for `kernels.register_kernel_mapping` and `kernels.use_kernel_mapping`."""
    return {part.__name__: dict.fromkeys(DEVICES, Layer(part.__name__)) for part in _MAKERS}


def mark() -> None:
    """Tell `kernels` which parts of transformers' model have layers here, under their own names.

    Raises ModuleNotFoundError, which says what to install, without `kernels`.
    """
    try:
        from kernels import replace_kernel_forward_from_hub  # type: ignore[attr-defined]  # mypy sees our folder
    except ImportError as error:
        raise ModuleNotFoundError("mark needs the kernels library: pip install 'kernels>=0.17'") from error
    for part in _MAKERS:
        replace_kernel_forward_from_hub(part, part.__name__, _is_itself(part))


def _is_itself(part: type[nn.Module]) -> Any:
    return lambda module: type(module) is part


def write_repository(folder: str | os.PathLike[str]) -> Path:
    """Write the layers in the layout that the library's loaders take, for
    `kernels.LocalLayerRepository(folder, layer_name="VitsHifiGan")`.

    The folder is made if need be; its files import fastvits, which has to be installed where they are loaded. Returns
    the folder. Raises OSError where it cannot be written.
    """
    root = Path(folder)
    for device in DEVICES:
        variant = root / "build" / f"torch-{device}"
        variant.mkdir(parents=True, exist_ok=True)
        (variant / "__init__.py").write_text(
            '"""Layers of a VITS, computed by fastvits."""\n\nfrom fastvits.integrations.kernels import layers\n\n'
            '__all__ = ["layers"]\n',
            encoding="utf-8",
        )
        metadata = {
            "name": "fastvits",
            "id": f"_fastvits_{device}_{__version__.replace('.', '_')}",
            "version": 1,
            "license": "Apache-2.0",
            "python-depends": [],
            "backend": {"type": device},
        }
        (variant / "metadata.json").write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")
    return root
