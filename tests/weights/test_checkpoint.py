"""Weights in and out: what is read is what was written, bit for bit, in whatever form; trouble is named."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import pickle
import random
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from fastvits import VitsConfig, VitsModel
from fastvits.weights import loading as checkpoint
from fastvits.weights import saving
from tests.support.tolerances import WEIGHT_NORM_REFOLDED

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


@pytest.fixture(scope="module")
def published() -> transformers.VitsModel:
    return published_model()


@pytest.fixture(scope="module")
def state(published: transformers.VitsModel) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in published.state_dict().items()}


@pytest.fixture(scope="module")
def saved(published: transformers.VitsModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    published.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A fresh copy of what transformers saved."""
    return shutil.copytree(saved, tmp_path / "model")


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


# ---- every form that a file may have


def test_single_file_is_read_bit_for_bit_in_eval_mode(folder, state):
    model = VitsModel.from_pretrained(folder)
    assert_same(model, state)
    assert not any(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_folder_may_be_a_string_and_have_a_subfolder(folder, state):
    assert_same(VitsModel.from_pretrained(str(folder)), state)
    assert_same(VitsModel.from_pretrained(folder.parent, subfolder="model"), state)


def test_shards_of_transformers_are_read(published, state, tmp_path, monkeypatch):
    published.save_pretrained(tmp_path, max_shard_size="50KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    assert_same(VitsModel.from_pretrained(tmp_path), state)


def test_older_spelling_of_weight_norm_is_read(folder, state):
    older = older_spelling(state)
    assert any(name.endswith("weight_g") for name in older)
    assert_same(VitsModel.from_pretrained(rewrite(folder, older)), state)


def test_bin_files_are_read_through_the_safe_loader(folder, state, tmp_path):
    (folder / "model.safetensors").unlink()
    torch.save(older_spelling(state), folder / "pytorch_model.bin")
    assert_same(VitsModel.from_pretrained(folder), state)


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_shards_in_any_order_are_read(folder, state, kind):
    assert_same(VitsModel.from_pretrained(sharded(folder, state, kind)), state)


def test_safetensors_are_preferred_to_bin(folder, state):
    torch.save({"nonsense": torch.zeros(1)}, folder / "pytorch_model.bin")
    assert_same(VitsModel.from_pretrained(folder), state)


def folded(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state with each weight-normed weight as one product, whose first channel is 0."""
    result = {name: tensor for name, tensor in state.items() if "parametrizations" not in name}
    for name in [name for name in state if name.endswith(DIRECTION)]:
        direction, gain = state[name].double(), state[name.replace(DIRECTION, GAIN)].double()
        weight = (gain * direction / direction.flatten(1).norm(dim=1)[:, None, None]).float()
        weight[0] = 0
        result[name.replace(DIRECTION, "weight")] = weight
    return result


def test_folded_weight_norm_gives_the_same_effective_weights(folder, state):
    products = folded(state)
    model = VitsModel.from_pretrained(rewrite(folder, products))
    assert model.state_dict().keys() == state.keys()
    for name in [name for name in products if name not in state]:
        module = model.get_submodule(name.removesuffix(".weight"))
        torch.testing.assert_close(module.weight, products[name], rtol=WEIGHT_NORM_REFOLDED, atol=0)
        assert torch.all(module.weight[0] == 0)


def test_weight_norm_on_a_plain_weight_is_folded(folder, state):
    name = "decoder.conv_pre.weight"
    gain = torch.rand(state[name].shape[0], 1, 1) + 0.5
    parts = {"decoder.conv_pre.weight_g": gain, "decoder.conv_pre.weight_v": state[name]}
    model = VitsModel.from_pretrained(rewrite(folder, {**without(state, name), **parts}))
    expected = gain.double() * torch.nn.functional.normalize(state[name].double().flatten(1)).view_as(state[name])
    torch.testing.assert_close(
        model.state_dict()[name], expected.float(), rtol=1e-6, atol=0
    )  # two roundings of float32


@pytest.mark.parametrize("axes", [(), (1, 4, 1), (1, 4, 1, 1), (2, 1, 1)])
def test_norms_of_another_shape_than_their_weight_are_refused(folder, state, axes):
    """Some of them would multiply: the weight would have other axes, or other norms."""
    name = "decoder.conv_pre.weight"
    parts = {"decoder.conv_pre.weight_g": torch.ones(axes), "decoder.conv_pre.weight_v": state[name]}
    with pytest.raises(ValueError, match="original0 must have the shape") as caught:
        VitsModel.from_pretrained(rewrite(folder, {**without(state, name), **parts}))
    assert str(list(axes)) in str(caught.value)


def test_two_forms_of_one_weight_are_refused(folder, state):
    owner = "flow.flows.0.wavenet.in_layers.1"
    for extra in (f"{owner}.weight_g", f"{owner}.weight"):
        rewrite(folder, {**state, extra: state[f"{owner}.{GAIN}"].clone()})
        with pytest.raises(ValueError, match="more than one form") as caught:
            VitsModel.from_pretrained(folder)
        assert owner in str(caught.value)


# ---- no copy, no random weights


def mapped_file(tensor: Tensor) -> str | None:
    """The file that the tensor's memory is mapped from."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        columns = line.split(maxsplit=5)
        start, end = (int(address, 16) for address in columns[0].split("-"))
        if start <= tensor.data_ptr() < end:
            return columns[5] if len(columns) == 6 else None
    return None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the process's memory map, which Linux shows")
@pytest.mark.parametrize("form", ["single", "shards", "bin"])
def test_parameters_lie_in_the_mapped_file(folder, state, form):
    if form == "shards":
        sharded(folder, state, "safetensors")
    elif form == "bin":
        (folder / "model.safetensors").unlink()
        torch.save(state, folder / "pytorch_model.bin")
    model = VitsModel.from_pretrained(folder)
    elsewhere = [
        name for name, tensor in model.state_dict().items() if not str(mapped_file(tensor)).startswith(str(folder))
    ]
    assert elsewhere == []


def test_no_weight_is_initialised_and_no_random_number_drawn(folder, monkeypatch):
    drawn = []
    for name in ("normal_", "uniform_"):
        monkeypatch.setattr(torch.Tensor, name, lambda tensor, *args, **kwargs: drawn.append(tensor))
    before = torch.get_rng_state(), random.getstate()
    model = VitsModel.from_pretrained(folder)
    assert drawn == []
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert not any(tensor.is_meta for tensor in [*model.parameters(), *model.buffers()])


def test_loading_a_folder_imports_no_compiler_and_no_hub(folder):
    heavy = "torch._dynamo", "triton", "sympy", "huggingface_hub", "transformers"
    program = (
        "import sys; from fastvits import VitsModel; VitsModel.from_pretrained(sys.argv[1]);"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_writing_into_a_parameter_leaves_the_file_alone(folder):
    before = (folder / "model.safetensors").read_bytes()
    model = VitsModel.from_pretrained(folder)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert (folder / "model.safetensors").read_bytes() == before


# ---- parts that only training needs


@pytest.mark.parametrize("prefix", TRAINING_ONLY)
def test_a_file_without_one_training_part_loads_without_it(folder, state, prefix):
    rest = without(state, prefix)
    assert len(rest) < len(state)
    assert_same(VitsModel.from_pretrained(rewrite(folder, rest)), rest)


def test_a_file_without_training_parts_loads_without_them(folder, state):
    rest = without(state, *TRAINING_ONLY)
    assert_same(VitsModel.from_pretrained(rewrite(folder, rest)), rest)


def test_the_plain_duration_predictor_has_no_flows_to_lack(tmp_path):
    published = published_model(use_stochastic_duration_prediction=False)
    published.save_pretrained(tmp_path)
    assert_same(VitsModel.from_pretrained(tmp_path), published.state_dict())
    rest = without(published.state_dict(), *TRAINING_ONLY)
    assert_same(VitsModel.from_pretrained(rewrite(tmp_path, rest)), rest)
    assert_same(VitsModel.from_pretrained(tmp_path, inference_only=True), rest)


@pytest.mark.parametrize("left_out", [*((prefix,) for prefix in TRAINING_ONLY), TRAINING_ONLY])
def test_a_model_without_training_parts_speaks_as_with_them(folder, state, left_out):
    expected = tiny_speech(VitsModel.from_pretrained(folder))
    assert torch.equal(tiny_speech(VitsModel.from_pretrained(rewrite(folder, without(state, *left_out)))), expected)


@pytest.mark.parametrize("prefix", TRAINING_ONLY)
def test_part_of_a_training_part_is_an_error_that_names_the_rest(folder, state, prefix):
    own = [name for name in state if name.startswith(prefix)]
    message = trouble(rewrite(folder, without(state, *own[1:])))
    assert all(name in message for name in own[1:])
    assert f"missing ({len(own) - 1})" in message


def test_inference_only_leaves_training_parts_out_and_does_not_read_them(folder, state):
    sharded(folder, state, "safetensors", count=len(state))  # one tensor a file
    weight_map = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    for name, file in weight_map.items():
        if name.startswith(TRAINING_ONLY):
            (folder / file).unlink()
    assert_same(VitsModel.from_pretrained(folder, inference_only=True), without(state, *TRAINING_ONLY))


def test_inference_only_accepts_a_file_with_part_of_a_training_part(folder, state):
    own = [name for name in state if name.startswith(TRAINING_ONLY)]
    rewrite(folder, without(state, *own[::2]))
    assert_same(VitsModel.from_pretrained(folder, inference_only=True), without(state, *TRAINING_ONLY))


def test_saving_a_model_without_training_parts_says_so(folder, state, tmp_path, caplog):
    model = VitsModel.from_pretrained(folder, inference_only=True)
    with caplog.at_level(logging.WARNING, logger="fastvits"):
        model.save_pretrained(tmp_path / "single")
        model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert [record.name for record in caplog.records] == ["fastvits"] * 2
    assert "posterior_encoder" in caplog.text
    with safe_open(tmp_path / "single" / "model.safetensors", "pt") as file:
        assert file.metadata()["left_out"] == "posterior_encoder, duration_predictor.post_*, duration_predictor.flows.1"
    assert (
        "posterior_encoder"
        in json.loads((tmp_path / "shards/model.safetensors.index.json").read_text())["metadata"]["left_out"]
    )
    for name in ("single", "shards"):
        assert_same(VitsModel.from_pretrained(tmp_path / name), without(state, *TRAINING_ONLY))


# ---- dtype and device


def protected(name: str) -> bool:
    return checkpoint.target_dtype(name, torch.float16) == torch.float32


def test_text_encoder_and_duration_predictor_are_protected_from_half_precision():
    assert protected("text_encoder.embed_tokens.weight")
    assert protected("duration_predictor.flows.0.translate")
    assert not protected("decoder.conv_pre.weight")
    model = VitsModel(VitsConfig(**SMALL))
    kept = {name for name, tensor in model.half().named_parameters() if tensor.dtype == torch.float32}
    assert kept == {name for name, _ in model.named_parameters() if protected(name)}
    for dtype in (torch.float32, torch.float64):
        assert checkpoint.target_dtype("text_encoder.embed_tokens.weight", dtype) == dtype


@pytest.mark.parametrize("stored", list(checkpoint.DTYPES.values()))
@pytest.mark.parametrize("dtype", [None, "auto", "float16", "torch.bfloat16", torch.float32, torch.float64])
def test_dtype_is_the_files_or_the_one_asked_for(folder, state, stored, dtype):
    edit_config(
        rewrite(folder, {name: tensor.to(stored) for name, tensor in state.items()}),
        dtype="int8",
        torch_dtype="float16",
    )
    model = VitsModel.from_pretrained(folder, dtype=dtype)
    expected = stored if dtype in (None, "auto") else dtype
    if isinstance(expected, str):
        expected = getattr(torch, expected.removeprefix("torch."))
    assert model.dtype == expected
    for name, tensor in model.state_dict().items():
        wanted = torch.float32 if protected(name) and expected in HALF else expected
        assert tensor.dtype == wanted
        assert torch.equal(tensor, state[name].to(stored).to(wanted))


def test_a_half_precision_model_round_trips(folder, tmp_path):
    model = VitsModel.from_pretrained(folder, dtype=torch.float16)
    model.save_pretrained(tmp_path / "half")
    again = VitsModel.from_pretrained(tmp_path / "half")
    assert again.dtype == torch.float16
    assert_same(again, model.state_dict())
    assert json.loads((tmp_path / "half" / "config.json").read_text())["dtype"] == "float16"


def test_several_dtypes_in_one_file_give_the_one_that_holds_them(folder, state):
    mixed = {name: tensor.half() if name.endswith("bias") else tensor for name, tensor in state.items()}
    assert VitsModel.from_pretrained(rewrite(folder, mixed)).dtype == torch.float32


@pytest.mark.parametrize("dtype", ["int4", "float", "half", torch.int64, torch.complex64, torch.float8_e4m3fn, ""])
def test_other_dtypes_are_refused(folder, dtype):
    with pytest.raises(ValueError, match="choose float16, bfloat16, float32, float64"):
        VitsModel.from_pretrained(folder, dtype=dtype)


def test_a_dtype_of_another_kind_is_refused(folder):
    with pytest.raises(TypeError, match="got int"):
        VitsModel.from_pretrained(folder, dtype=16)


@pytest.mark.parametrize("device_map", [None, "cpu", torch.device("cpu"), {"": "cpu"}, {"": torch.device("cpu")}])
def test_device_map_names_the_cpu(folder, device_map):
    assert VitsModel.from_pretrained(folder, device_map=device_map).device == torch.device("cpu")


def test_device_map_auto_takes_cuda_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert checkpoint.resolve_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert checkpoint.resolve_device("auto") == torch.device("cuda")
    assert checkpoint.resolve_device(1) == torch.device("cuda", 1)
    assert checkpoint.resolve_device({"": 0}) == torch.device("cuda", 0)
    with pytest.raises(ValueError, match=r"device_map=2 .* finds 2"):
        checkpoint.resolve_device(2)


@pytest.mark.parametrize(
    "device_map", ["balanced", "toaster", {"decoder": "cpu"}, {"": None}, {"": {"": "cpu"}}, {}, -1, "meta"]
)
def test_impossible_device_maps_are_refused(folder, device_map):
    with pytest.raises(ValueError, match="device_map="):
        VitsModel.from_pretrained(folder, device_map=device_map)


@pytest.mark.parametrize("device_map", [True, 1.5, ["cpu"]])
def test_device_maps_of_another_kind_are_refused(folder, device_map):
    with pytest.raises(TypeError, match="names no device"):
        VitsModel.from_pretrained(folder, device_map=device_map)


def test_unknown_keywords_are_refused(folder, tmp_path):
    with pytest.raises(TypeError, match="hub_token"):
        VitsModel.from_pretrained(folder, hub_token="x")
    model = VitsModel.from_pretrained(folder)
    with pytest.raises(TypeError, match="safe"):
        model.save_pretrained(tmp_path / "other", safe=True)
    with pytest.raises(TypeError, match="repo_id"):
        model.save_pretrained(tmp_path / "other", repo_id="someone/voice")
    assert not (tmp_path / "other").exists()


# ---- weights that do not fit, and broken files


def test_every_tensor_that_does_not_fit_is_named_in_one_error(folder, state):
    broken = dict(state)
    missing = [name for name in state if name.startswith("decoder.resblocks.0.")]
    for name in missing:
        del broken[name]
    broken["text_encoder.embed_tokens.weight"] = torch.zeros(40, 16)
    broken["decoder.conv_pre.bias"] = torch.zeros(16, dtype=torch.int64)
    broken["vocoder.convs.0.weight"] = torch.zeros(3)
    message = trouble(rewrite(folder, broken))
    assert all(name in message for name in missing)
    assert f"missing ({len(missing)})" in message
    assert "unexpected (1):\n    vocoder.convs.0.weight" in message
    assert "text_encoder.embed_tokens.weight is [40, 16] but should be [24, 16]" in message
    assert "decoder.conv_pre.bias is I64" in message
    assert max(len(line) for line in message.splitlines()[1:]) <= 110


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"vocab_size": 30}, "text_encoder.embed_tokens.weight is [24, 16] but should be [30, 16]"),
        ({"num_hidden_layers": 2}, "text_encoder.encoder.layers.1.attention.k_proj.bias"),
        ({"num_speakers": 1, "speaker_embedding_size": 0}, "embed_speaker.weight"),
        ({"prior_encoder_num_flows": 1}, "flow.flows.1.wavenet"),
    ],
)
def test_config_and_weights_that_disagree(folder, changes, named):
    message = trouble(edit_config(folder, **changes))
    assert named in message.replace("\n    ", " ")


@pytest.mark.parametrize("kept", [0, 4, 8, 200, 0.5, 0.999])
def test_truncated_safetensors(folder, kept):
    path = folder / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(len(content) * kept)])
    with pytest.raises(OSError, match=r"model\.safetensors is truncated, corrupt") as caught:
        VitsModel.from_pretrained(folder)
    assert caught.value.__cause__ is None
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("start", [b"\xff" * 8, b"{}", b"PK\x03\x04", bytes(16)])
def test_corrupt_safetensors(folder, start):
    path = folder / "model.safetensors"
    path.write_bytes(start + path.read_bytes()[len(start) :])
    with pytest.raises(OSError, match="truncated, corrupt"):
        VitsModel.from_pretrained(folder)


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04garbage"])
def test_corrupt_bin(folder, content):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(content)
    with pytest.raises((OSError, ValueError), match=r"pytorch_model\.bin .*corrupt"):
        VitsModel.from_pretrained(folder)


class Payload:
    """An object whose unpickling would run a command."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.witness),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_bin_file_that_runs_code_is_refused_and_not_run(folder, tmp_path, zipped):
    (folder / "model.safetensors").unlink()
    content = {"decoder.conv_pre.weight": Payload(tmp_path / "witness")}
    if zipped:
        torch.save(content, folder / "pytorch_model.bin")
    else:
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(content))
    with pytest.raises((OSError, ValueError), match=r"pytorch_model\.bin"):
        VitsModel.from_pretrained(folder)
    assert not (tmp_path / "witness").exists()


def test_a_bin_file_that_is_no_table_of_tensors(folder):
    (folder / "model.safetensors").unlink()
    torch.save([torch.zeros(1)], folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="not a table of names and tensors"):
        VitsModel.from_pretrained(folder)


def test_broken_index_files(folder, state):
    sharded(folder, state, "safetensors")
    index = folder / "model.safetensors.index.json"
    good = json.loads(index.read_text())
    shard = good["weight_map"]["decoder.conv_pre.bias"]
    cases: list[tuple[str, type[Exception], str]] = [
        ("{", ValueError, "not valid JSON"),
        ("[]", ValueError, "not a JSON object"),
        ("{}", ValueError, "weight_map"),
        (json.dumps({"weight_map": {"a": 1}}), ValueError, "weight_map"),
        (json.dumps({"weight_map": {"a": "../model.safetensors"}}), ValueError, "outside its own folder"),
        (json.dumps({"weight_map": {**good["weight_map"], "a": shard}}), ValueError, "lacks tensors"),
        (json.dumps({"weight_map": {**good["weight_map"], "a": "model-9.safetensors"}}), OSError, "not there"),
    ]
    for content, kind, message in cases:
        index.write_text(content)
        with pytest.raises(kind, match=message):
            VitsModel.from_pretrained(folder)
    index.write_text(json.dumps(good))
    (folder / shard).unlink()
    with pytest.raises(OSError, match="not there"):
        VitsModel.from_pretrained(folder)


def test_tensors_that_the_index_forgets_are_read_all_the_same(folder, state):
    sharded(folder, state, "safetensors")
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    del content["weight_map"]["decoder.conv_pre.bias"]
    index.write_text(json.dumps(content))
    assert_same(VitsModel.from_pretrained(folder), state)


def test_folders_that_are_no_model(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(OSError, match=r"config\.json"):
        VitsModel.from_pretrained(tmp_path / "empty")
    with pytest.raises(OSError, match="nowhere"):
        VitsModel.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(OSError, match="nowhere"):
        VitsModel.from_pretrained(tmp_path, subfolder="nowhere")
    with pytest.raises(OSError, match="safetensors"):
        VitsModel.from_pretrained(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    with pytest.raises(OSError, match="has no weights"):
        VitsModel.from_pretrained(folder)


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"hidden_size": "\xff"}', '{"hidden_size": "many"}'])
def test_broken_config(folder, content):
    (folder / "config.json").write_bytes(content.encode("latin-1"))
    with pytest.raises((ValueError, OSError, TypeError)) as caught:
        VitsModel.from_pretrained(folder)
    assert len(str(caught.value).splitlines()) == 1


# ---- writing


@pytest.mark.parametrize("max_shard_size", ["5GB", "30KB", 30_000])
def test_transformers_reads_what_is_saved_and_says_the_same(published, folder, state, tmp_path, max_shard_size):
    VitsModel.from_pretrained(folder).save_pretrained(tmp_path / "out", max_shard_size=max_shard_size)
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    if max_shard_size == "5GB":
        assert files == ["config.json", "model.safetensors"]
    else:
        assert "model.safetensors.index.json" in files
        shards = list((tmp_path / "out").glob("model-*.safetensors"))
        assert len(shards) > 2
        for shard in shards:
            tensors = load_file(shard)
            assert len(tensors) == 1 or sum(tensor.nbytes for tensor in tensors.values()) <= 30_000
        index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
        assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in state.values())
        assert index["weight_map"].keys() == state.keys()
    again, report = transformers.VitsModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert_same(again, state)
    assert torch.equal(tiny_speech(again.eval()), tiny_speech(published))
    assert_same(VitsModel.from_pretrained(tmp_path / "out"), state)


def test_saved_files_have_what_others_look_for(folder, tmp_path):
    edit_config(folder, my_own_key=[1, 2])
    model = VitsModel.from_pretrained(folder)
    model.save_pretrained(tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architectures"] == ["VitsModel"]
    assert config["model_type"] == "vits"
    assert config["dtype"] == "float32"
    assert config["my_own_key"] == [1, 2]
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
    umask = os.umask(0)
    os.umask(umask)
    for path in (tmp_path / "out").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_resblocks_of_the_second_type_round_trip(tmp_path):
    torch.manual_seed(0)
    model = VitsModel(VitsConfig(**SMALL, resblock_type=2))
    assert "decoder.resblocks.0.convs.0.weight" in model.state_dict()
    model.save_pretrained(tmp_path)
    again = VitsModel.from_pretrained(tmp_path)
    assert_same(again, model.state_dict())
    assert again.config == VitsModel.from_pretrained(tmp_path).config
    assert again.config.resblock_type == 2


def test_names_are_written_in_the_newer_spelling_whatever_wraps_the_module(folder, state, tmp_path):
    model = VitsModel.from_pretrained(folder)
    model.decoder = torch.nn.ModuleDict({"_orig_mod": model.decoder})  # as torch.compile(model.decoder) names things
    layer = model.flow.flows[0].wavenet.in_layers[0]
    parts = layer.parametrizations["weight"]
    layer.weight_g, layer.weight_v = parts.original0, parts.original1
    del layer.parametrizations
    assert model.state_dict().keys() != state.keys()
    saving._write_weights(saving._state(model.state_dict()), tmp_path, 10**9, {"format": "pt"})
    assert_same_tensors(load_file(tmp_path / "model.safetensors"), state)


def test_saving_into_the_folder_that_the_weights_are_mapped_from(folder, state):
    model = VitsModel.from_pretrained(folder)
    with torch.no_grad():
        model.decoder.conv_pre.bias.add_(1)
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.save_pretrained(folder)
    model.save_pretrained(folder)
    assert_same(model, expected)
    assert_same(VitsModel.from_pretrained(folder), expected)


def test_saving_again_in_another_number_of_files_leaves_no_old_ones(folder, state):
    model = VitsModel.from_pretrained(folder)
    (folder / "model-card.md").write_text("mine")
    for size, single in (("30KB", False), ("60KB", False), ("5GB", True), ("30KB", False)):
        model.save_pretrained(folder, max_shard_size=size)
        assert (folder / "model.safetensors").exists() == single
        index = folder / "model.safetensors.index.json"
        assert index.exists() != single
        if not single:
            named = set(json.loads(index.read_text())["weight_map"].values())
            assert named == {path.name for path in folder.glob("model-*.safetensors")}
        assert_same(VitsModel.from_pretrained(folder), state)
    assert (folder / "model-card.md").read_text() == "mine"


def test_a_save_that_fails_leaves_the_old_files(folder, state, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    model = VitsModel.from_pretrained(folder)

    def fail(tensors: dict[str, Tensor], filename: Path, metadata: dict[str, str]) -> None:
        Path(filename).write_bytes(b"half of it")
        raise OSError("No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", fail)
    with pytest.raises(OSError, match="No space left"):
        model.save_pretrained(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_what_cannot_be_saved(folder, tmp_path):
    model = VitsModel.from_pretrained(folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="is a file"):
        model.save_pretrained(tmp_path / "file")
    for size in ("", "large", "-1GB", 0, -5, "5 parsecs", True):
        with pytest.raises(ValueError, match="max_shard_size"):
            model.save_pretrained(tmp_path / "out", max_shard_size=size)
    with pytest.raises(TypeError, match="hidden_act"):
        VitsModel(VitsConfig(**SMALL, hidden_act=torch.tanh)).save_pretrained(tmp_path / "out")
    with pytest.raises(ValueError, match="meta device"):
        model.to("meta").save_pretrained(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_tied_and_strided_parameters_are_written_out(folder, tmp_path):
    model = VitsModel.from_pretrained(folder)
    first, second = model.decoder.resblocks[0].convs1[0], model.decoder.resblocks[0].convs1[1]
    second.weight = first.weight
    first.bias = torch.nn.Parameter(torch.arange(2.0 * first.bias.numel())[::2])
    model.save_pretrained(tmp_path / "out")
    assert_same(VitsModel.from_pretrained(tmp_path / "out"), model.state_dict())


# ---- the hub


def in_cache(folder: Path, cache: Path, repo_id: str, subfolder: str = "") -> None:
    """Lay a folder out as huggingface_hub's cache does: blobs, a snapshot of links, a reference."""
    repo = cache / f"models--{repo_id.replace('/', '--')}"
    commit = hashlib.sha1(repo_id.encode()).hexdigest()
    target = repo / "snapshots" / commit / subfolder
    target.mkdir(parents=True)
    (repo / "refs").mkdir(exist_ok=True)
    (repo / "blobs").mkdir(exist_ok=True)
    (repo / "refs" / "main").write_text(commit)
    for path in folder.iterdir():
        blob = repo / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
        shutil.copy(path, blob)
        (target / path.name).symlink_to(os.path.relpath(blob, target))


@pytest.mark.parametrize("form", ["single", "shards", "bin"])
@pytest.mark.parametrize("subfolder", ["", "voices/one"])
def test_a_model_in_the_hubs_cache(folder, state, tmp_path, form, subfolder):
    if form == "shards":
        sharded(folder, state, "safetensors")
    elif form == "bin":
        (folder / "model.safetensors").unlink()
        torch.save(state, folder / "pytorch_model.bin")
    in_cache(folder, tmp_path / "cache", "someone/voice", subfolder)
    model = VitsModel.from_pretrained(
        "someone/voice", subfolder=subfolder, cache_dir=tmp_path / "cache", local_files_only=True
    )
    assert_same(model, state)


def test_a_model_that_the_cache_lacks(tmp_path):
    with pytest.raises(OSError, match="someone/voice"):
        VitsModel.from_pretrained("someone/voice", cache_dir=tmp_path, local_files_only=True)


class Hub(ThreadingHTTPServer):
    """A hub on this machine: a repository is its files, in memory; as much of the HTTP API as the tests need."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.repos: dict[str, dict[str, bytes]] = {}
        self.commits: list[dict[str, Any]] = []
        self.tokens: set[str | None] = set()
        self.downloaded: list[str] = []
        self.owner: str | None = None
        self.url = f"http://127.0.0.1:{self.server_port}"


class HubHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *args: Any) -> None:
        pass

    def reply(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def reply_json(self, content: Any) -> None:
        self.reply(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.tokens.add(self.headers.get("Authorization"))
        path = self.path.split("?")[0]
        if path == "/api/repos/create":
            name = "/".join(
                filter(None, (json.loads(body).get("organization") or self.server.owner, json.loads(body)["name"]))
            )
            self.server.repos.setdefault(name, {})
            self.reply_json({"url": f"{self.server.url}/{name}", "name": name, "id": name})
        elif path == "/api/validate-yaml":
            self.reply_json({"errors": [], "warnings": []})
        elif "/preupload/" in path:
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            self.reply_json({"files": files})
        elif "/commit/" in path:
            repo, branch = path.removeprefix("/api/models/").split("/commit/")
            lines = [json.loads(line) for line in body.splitlines()]
            files = {
                line["value"]["path"]: base64.b64decode(line["value"]["content"])
                for line in lines
                if line["key"] == "file"
            }
            summary = next(line["value"]["summary"] for line in lines if line["key"] == "header")
            self.server.repos[repo].update(files)
            self.server.commits.append({"repo": repo, "branch": branch, "summary": summary, "files": sorted(files)})
            url = f"{self.server.url}/{repo}/commit/{'c' * 40}"
            self.reply_json({"success": True, "commitUrl": url, "commitOid": "c" * 40})
        else:
            self.reply(404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path.startswith("/api/models/"):
            repo = "/".join(path.split("/")[3:5])
            files = self.server.repos.get(repo)
            if files is None:
                self.reply(404, headers={"X-Error-Code": "RepoNotFound"})
            elif "/tree/" in path:
                self.reply_json(
                    [
                        {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                        for name, content in files.items()
                    ]
                )
            else:
                siblings = [{"rfilename": name} for name in files]
                self.reply_json({"id": repo, "modelId": repo, "sha": "c" * 40, "siblings": siblings, "private": False})
            return
        repo, _, rest = path[1:].partition("/resolve/")
        name = rest.partition("/")[2]
        content = self.server.repos.get(repo, {}).get(name)
        if content is None:
            self.reply(404, headers={"X-Error-Code": "EntryNotFound" if repo in self.server.repos else "RepoNotFound"})
            return
        if self.command == "GET":
            self.server.downloaded.append(name)
        self.reply(200, content, {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": "c" * 40})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    server = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_push_to_hub_and_back(folder, state, tmp_path, hub):
    model = VitsModel.from_pretrained(folder)
    address = model.push_to_hub("someone/voice", token="hf_test", commit_message="A voice", max_shard_size="60KB")
    assert address == f"{hub.url}/someone/voice/commit/{'c' * 40}"
    [commit] = hub.commits
    assert (commit["repo"], commit["branch"], commit["summary"]) == ("someone/voice", "main", "A voice")
    shards = [name for name in commit["files"] if name.startswith("model-")]
    assert len(shards) > 1
    assert commit["files"] == sorted(["README.md", "config.json", "model.safetensors.index.json", *shards])
    assert hub.tokens == {"Bearer hf_test"}
    card = hub.repos["someone/voice"]["README.md"].decode()
    assert "library_name: fastvits" in card
    assert "pipeline_tag: text-to-speech" in card

    again = VitsModel.from_pretrained("someone/voice", cache_dir=tmp_path / "cache", token="hf_test")
    assert_same(again, state)
    assert "README.md" not in hub.downloaded
    offline = VitsModel.from_pretrained("someone/voice", cache_dir=tmp_path / "cache", local_files_only=True)
    assert_same(offline, state)


def test_push_to_hub_keeps_a_readme_that_is_there(folder, tmp_path, hub):
    hub.repos["someone/voice"] = {"README.md": b"written with love"}
    model = VitsModel.from_pretrained(folder)
    model.save_pretrained(tmp_path / "out", push_to_hub=True, repo_id="someone/voice", token="hf_test")
    assert hub.commits[0]["files"] == ["config.json", "model.safetensors"]
    assert hub.repos["someone/voice"]["README.md"] == b"written with love"
    assert (tmp_path / "out" / "model.safetensors").exists()
    with pytest.raises(TypeError, match="visibility"):
        model.push_to_hub("someone/voice", visibility="public")


def test_a_bare_name_goes_to_the_owner_of_the_token(folder, hub):
    hub.repos["someone/voice"] = {"README.md": b"mine"}
    hub.owner = "someone"
    VitsModel.from_pretrained(folder).push_to_hub("voice", token="hf_test")
    assert hub.commits[0]["repo"] == "someone/voice"
    assert hub.repos["someone/voice"]["README.md"] == b"mine"


def test_an_upload_that_cannot_be(folder, hub, monkeypatch):
    model = VitsModel.from_pretrained(folder)
    with pytest.raises(ValueError, match="a/b/c"):
        model.push_to_hub("a/b/c", token="hf_test")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # the discard port: nobody answers
    with pytest.raises(OSError, match=r"someone/voice|onnection"):
        model.push_to_hub("someone/voice", token="hf_test")
    assert hub.commits == []


def test_a_bin_on_the_hub_is_downloaded_only_without_safetensors(folder, state, tmp_path, hub):
    config = (folder / "config.json").read_bytes()
    torch.save(state, tmp_path / "pytorch_model.bin")
    binary, safe = (tmp_path / "pytorch_model.bin").read_bytes(), (folder / "model.safetensors").read_bytes()
    hub.repos["someone/both"] = {"config.json": config, "pytorch_model.bin": binary, "model.safetensors": safe}
    hub.repos["someone/old"] = {"config.json": config, "pytorch_model.bin": binary}
    assert_same(VitsModel.from_pretrained("someone/both", cache_dir=tmp_path / "cache", token=False), state)
    assert sorted(hub.downloaded) == ["config.json", "model.safetensors"]
    assert_same(VitsModel.from_pretrained("someone/old", cache_dir=tmp_path / "cache", token=False), state)
    with pytest.raises(OSError, match="someone/none"):
        VitsModel.from_pretrained("someone/none", cache_dir=tmp_path / "cache", token=False)
