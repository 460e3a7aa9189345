"""What torch compiles says the same as the plain call, and a first call in any mode leaves no trace.

Inductor really compiles, in some minutes of a processor in all. Hence the configurations are as small as they can be,
and of the bundled voice the parts are compiled, not the whole, whose operators are those of the small ones.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fastvits import VitsConfig, VitsModel
from fastvits.voices.folders import DEFAULT_VOICE, voice_folder
from tests.support.models import unsettle
from tests.support.numerics import relative_error
from tests.support.tolerances import MODEL_FLOAT32

TINY: dict[str, Any] = {
    "vocab_size": 12,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "ffn_dim": 8,
    "flow_size": 4,
    "spectrogram_bins": 5,
    "upsample_initial_channel": 8,
    "upsample_rates": [2, 2],
    "upsample_kernel_sizes": [4, 4],
    "resblock_kernel_sizes": [3],
    "resblock_dilation_sizes": [[1, 3]],
    "duration_predictor_filter_channels": 8,
    "duration_predictor_num_flows": 2,
    "depth_separable_num_layers": 1,
    "prior_encoder_num_flows": 2,
    "prior_encoder_num_wavenet_layers": 2,
    "posterior_encoder_num_wavenet_layers": 1,
}
SPEAKERS = TINY | {"num_speakers": 3, "speaker_embedding_size": 4, "use_stochastic_duration_prediction": False}
OTHER_BLOCKS = TINY | {"resblock_type": 2, "resblock_kernel_sizes": [3, 5], "resblock_dilation_sizes": [[1, 2], [2, 3]]}


CONFIGURATIONS = {"plain": TINY, "speakers": SPEAKERS, "other blocks": OTHER_BLOCKS}
each_configuration = pytest.mark.parametrize("config", CONFIGURATIONS.values(), ids=CONFIGURATIONS)


def tiny(config: dict[str, Any]) -> VitsModel:
    torch.manual_seed(0)
    model = VitsModel(VitsConfig(**config)).eval()
    unsettle(model)
    return model


def ids(steps: int) -> Tensor:
    return torch.randint(1, 12, (1, steps), generator=torch.Generator().manual_seed(steps))


def same(found: Any, expected: Any) -> None:
    one = [tensor for tensor in torch.utils._pytree.tree_leaves(found) if isinstance(tensor, Tensor)]
    other = [tensor for tensor in torch.utils._pytree.tree_leaves(expected) if isinstance(tensor, Tensor)]
    assert len(one) == len(other) > 0
    for a, b in zip(one, other, strict=True):
        assert relative_error(a, b) <= MODEL_FLOAT32


@pytest.fixture(autouse=True)
def in_this_process() -> Iterator[None]:
    """No pool of compiling processes, which takes longer to start than these kernels to compile; and what calls these,
    of a package, is not optimised."""
    with (
        torch._inductor.config.patch({"compile_threads": 1, "aot_inductor.compile_wrapper_opt_level": "O0"}),
        torch.no_grad(),
    ):
        yield
    torch._dynamo.reset()


def asked(config: dict[str, Any]) -> dict[str, Any]:
    """What a call of such a model needs besides its text."""
    return {"seed": 1, **({"speaker_id": 2} if "num_speakers" in config else {})}


@pytest.mark.parametrize("config", [TINY, SPEAKERS], ids=["plain", "speakers"])
def test_the_whole_model_at_two_lengths(config: dict[str, Any]) -> None:
    """The other blocks are in the decoder alone, which is compiled as a part of its own below."""
    model, options = tiny(config), asked(config)
    expected = {steps: model(ids(steps), **options) for steps in (7, 11)}
    compiled = torch.compile(model, dynamic=True)
    for steps in (7, 11, 7):
        same(compiled(ids(steps), **options), expected[steps])
    model.decoder.conv_pre.weight.data.mul_(0.5)
    changed = compiled(ids(7), **options).waveform
    assert relative_error(changed, expected[7].waveform) > 1e-3
    same(changed, model(ids(7), **options).waveform)


def parts(model: VitsModel, steps: int) -> dict[str, tuple[tuple[Any, ...], dict[str, Any]]]:
    """The calls of a model's parts, by their names: for so many steps."""
    config = model.config
    generator = torch.Generator().manual_seed(steps)
    latents, mask = torch.randn(1, config.flow_size, steps, generator=generator), torch.ones(1, 1, steps)
    width = config.speaker_embedding_size
    speaker = (torch.randn(1, width, 1, generator=generator),) if width else ()
    return {
        "flow": ((latents, mask, *speaker), {"reverse": True}),
        "decoder": ((latents, *speaker), {}),
        "text_encoder": ((ids(steps), mask.mT, mask[:, 0]), {}),
    }


@each_configuration
def test_parts_at_two_lengths(config: dict[str, Any]) -> None:
    model = tiny(config)
    for name in parts(model, 9):
        part = model.get_submodule(name)
        compiled = torch.compile(part, fullgraph=True, dynamic=True)
        for steps in (9, 14, 9):
            arguments, options = parts(model, steps)[name]
            same(compiled(*arguments, **options), part(*arguments, **options))


class Parts(torch.nn.Module):
    """Some parts of a model in one module: each package costs some seconds, whatever is in it."""

    def __init__(self, model: VitsModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, calls: dict[str, tuple[tuple[Any, ...], dict[str, Any]]]) -> dict[str, Any]:
        return {
            name: self.model.get_submodule(name)(*arguments, **options) for name, (arguments, options) in calls.items()
        }


@each_configuration
def test_packages_compiled_ahead(config: dict[str, Any], tmp_path: Path) -> None:
    """Compile the parts ahead, load the package, and compare what it says twice."""
    model = tiny(config)
    calls = parts(model, 9)
    exported = torch.export.export(Parts(model), (calls,))
    package = torch._inductor.aoti_compile_and_package(exported, package_path=str(tmp_path / "parts.pt2"))
    loaded = torch._inductor.aoti_load_package(package)
    for _ in range(2):
        found = loaded(calls)
        for name, (arguments, options) in calls.items():
            same(found[name], model.get_submodule(name)(*arguments, **options))


@pytest.mark.parametrize("name", ["flow", "decoder", "text_encoder"])
def test_the_bundled_voices_parts(name: str) -> None:
    model = VitsModel.from_pretrained(voice_folder(DEFAULT_VOICE))
    part = model.get_submodule(name)
    compiled = torch.compile(part, fullgraph=True)
    arguments, options = parts(model, 20)[name]
    for _ in range(2):
        same(compiled(*arguments, **options), part(*arguments, **options))


def test_functional_calls_with_other_weights() -> None:
    model, others = tiny(TINY), [tiny(TINY) for _ in range(3)]
    for seed, other in enumerate(others):
        unsettle(other, seed + 1)
    own = model(ids(7), seed=1).waveform
    for other in [*others, *others]:
        # Tensors that are gone when the next ones come, perhaps at their addresses.
        weights = {name: parameter.clone() for name, parameter in other.named_parameters()}
        same(
            torch.func.functional_call(model, weights, (ids(7),), {"seed": 1}).waveform, other(ids(7), seed=1).waveform
        )
        same(model(ids(7), seed=1).waveform, own)


def test_a_moving_average_through_data() -> None:
    model, target, plain = tiny(TINY), tiny(TINY), tiny(TINY)
    unsettle(target, 1)
    for _ in range(3):
        for parameter, other, counted in zip(model.parameters(), target.parameters(), plain.parameters(), strict=True):
            parameter.data.mul_(0.7).add_(other.data, alpha=0.3)
            counted.copy_(parameter)
        same(model(ids(7), seed=1).waveform, plain(ids(7), seed=1).waveform)


MODES: dict[str, str] = {
    "autocast": "with torch.autocast('cpu', torch.bfloat16): model(ids, seed=1)",
    "autocast in float16": "with torch.autocast('cpu', torch.float16): model(ids, seed=1)",
    "inference mode": "with torch.inference_mode(): model(ids, seed=1)",
    "jit.trace": "torch.jit.trace(model.decoder, (latents,), check_trace=False)",
    "torch.func.grad": "torch.func.grad(lambda z: model.decoder(z).sum())(latents)",
    "torch.func.vmap": "torch.func.vmap(model.decoder)(latents.unsqueeze(0))",
    "fake tensors": "with FakeTensorMode(allow_non_fake_inputs=True): model.decoder(torch.randn(1, 4, 9))",
    "make_fx": "make_fx(model.decoder)(latents)",
    "export": "torch.export.export(model.decoder, (latents,))",
    "meta device": "with torch.device('meta'): model.decoder(latents)",
    "float64 by default": "torch.set_default_dtype(torch.float64); model(ids, seed=1)",
    "a thread": "thread = threading.Thread(target=model, args=(ids,)); thread.start(); thread.join()",
}

IN_EACH_MODE = """
import os, sys, threading, warnings
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from fastvits_kernels.dispatch import registry
from tests.models.test_compiled import MODES, TINY, tiny
warnings.simplefilter("ignore")
torch.set_num_threads(1)
model = tiny(TINY)
ids, latents = torch.randint(1, 12, (1, 7)), torch.randn(1, 4, 9)
for name, code in {None: "pass", **MODES}.items():
    reading, writing = os.pipe()
    if os.fork() == 0:  # a process in which nothing was computed yet
        try:
            exec(code)
        except Exception:
            pass  # whatever such a mode says to the call: the next one is what counts
        torch.set_default_dtype(torch.float32)
        registry.forget_decisions()
        with torch.no_grad():
            waveform = model(ids, seed=2).waveform
        ways = sorted({f"{one.op} {one.backend}" for one in registry.decisions()})
        os.write(writing, repr((ways, waveform.flatten().tolist())).encode())
        os._exit(0)
    os.close(writing)
    print(repr(name), open(reading, "rb").read().decode(), flush=True)
    os.wait()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the modes are tried in processes that are forked")
def test_a_first_call_in_any_mode_leaves_the_next_one_as_it_is() -> None:
    import subprocess

    done = subprocess.run(
        [sys.executable, "-c", IN_EACH_MODE],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1", "FASTVITS_BACKEND": ""},
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(MODES) + 1, done.stderr
    plain = lines[0].removeprefix("None ")
    for line, mode in zip(lines[1:], MODES, strict=True):
        assert line == f"{mode!r} {plain}"
