"""Folders of a small model as transformers saves it, and what the tests do with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor

from fastvits import VitsModel

SMALL = {
    "vocab_size": 24,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "ffn_dim": 16,
    "flow_size": 16,
    "spectrogram_bins": 9,
    "upsample_initial_channel": 16,
    "upsample_rates": [4, 2],
    "upsample_kernel_sizes": [8, 4],
    "resblock_kernel_sizes": [3],
    "resblock_dilation_sizes": [[1, 3]],
    "duration_predictor_num_flows": 2,
    "duration_predictor_filter_channels": 16,
    "prior_encoder_num_flows": 2,
    "prior_encoder_num_wavenet_layers": 2,
    "posterior_encoder_num_wavenet_layers": 2,
    "num_speakers": 3,
    "speaker_embedding_size": 4,
}


TRAINING_ONLY = ("posterior_encoder.", "duration_predictor.post_", "duration_predictor.flows.1.")


GAIN, DIRECTION = "parametrizations.weight.original0", "parametrizations.weight.original1"


HALF = (torch.float16, torch.bfloat16)


def published_model(seed: int = 0, **changes: Any) -> transformers.VitsModel:
    """A small model of transformers with every parameter moved off its start."""
    torch.manual_seed(seed)
    model = transformers.VitsModel(transformers.VitsConfig(**{**SMALL, **changes})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


def rewrite(folder: Path, state: dict[str, Tensor]) -> Path:
    """Replace the weights in a folder."""
    for path in folder.glob("model*.safetensors*"):
        path.unlink()
    save_file(
        {name: tensor.contiguous() for name, tensor in state.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    return folder


def edit_config(folder: Path, **changes: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


def older_spelling(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.replace(GAIN, "weight_g").replace(DIRECTION, "weight_v"): tensor for name, tensor in state.items()}


def without(state: dict[str, Tensor], *prefixes: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.startswith(prefixes)}


def sharded(folder: Path, state: dict[str, Tensor], kind: str, count: int = 3) -> Path:
    """Replace the weights in a folder by shards that take the tensors in turn."""
    (folder / "model.safetensors").unlink()
    stem, index = ("model", "model.safetensors") if kind == "safetensors" else ("pytorch_model", "pytorch_model.bin")
    weight_map = {}
    for number in range(count):
        name = f"{stem}-{number + 1:05d}-of-{count:05d}.{kind}"
        shard = {key: state[key].contiguous() for key in list(state)[number::count]}
        weight_map.update(dict.fromkeys(shard, name))
        if kind == "safetensors":
            save_file(shard, folder / name, {"format": "pt"})
        else:
            torch.save(shard, folder / name)
    (folder / f"{index}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def assert_same(model: torch.nn.Module, state: dict[str, Tensor]) -> None:
    """The model's tensors are exactly these."""
    assert_same_tensors(model.state_dict(), state)


def assert_same_tensors(loaded: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    assert loaded.keys() == state.keys()
    different = [name for name in state if not torch.equal(loaded[name], state[name])]
    assert different == []


def tiny_speech(model: Any) -> Tensor:
    torch.manual_seed(7)
    with torch.no_grad():
        return model(input_ids=torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]]), speaker_id=1).waveform


def trouble(folder: Path, **options: Any) -> str:
    with pytest.raises(ValueError, match="do not fit") as caught:
        VitsModel.from_pretrained(folder, **options)
    assert caught.value.__cause__ is None
    return str(caught.value)


def folded(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state with each weight-normed weight as one product, whose first channel is 0."""
    result = {name: tensor for name, tensor in state.items() if "parametrizations" not in name}
    for name in [name for name in state if name.endswith(DIRECTION)]:
        direction, gain = state[name].double(), state[name.replace(DIRECTION, GAIN)].double()
        weight = (gain * direction / direction.flatten(1).norm(dim=1)[:, None, None]).float()
        weight[0] = 0
        result[name.replace(DIRECTION, "weight")] = weight
    return result
