"""Every form that a file of weights may have is read bit for bit, mapped and without random weights."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fastvits import VitsModel
from tests.support.tolerances import WEIGHT_NORM_REFOLDED
from tests.weights.folders import GAIN, assert_same, folded, older_spelling, rewrite, sharded, without


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
