"""What `python -m bench.compile_report` compiles: all that the launchers launch, found by recording launches."""

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bench.configurations import CONFIGURATIONS, meta_model, utterances
from fastvits import VitsModel
from fastvits.planning.explain import planned_calls
from fastvits.planning.tuning import MODES, allowing_tf32
from fastvits_kernels.dispatch import registry
from fastvits_kernels.launch import jit, tiles

TARGETS = ("sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120", "gfx942")

FEW_TARGETS = ("sm_80", "gfx942")
"""The oldest GPU of one maker, with the least shared memory for its registers, and the one of the other."""

SECONDS = tuple(range(1, 31))
BATCHES = (1, 32)

LEARNING_SECONDS = 2
"""The length of the clips that gradients are compiled for; of their kernels no constant depends on it."""


@dataclass(frozen=True)
class Configuration:
    """One launch of an op, with all that decides its binary."""

    op: str
    mode: str
    module: str
    kernel: str
    signature: tuple[tuple[str, str], ...]
    constants: tuple[tuple[str, Any], ...]
    divisible: tuple[str, ...]
    num_warps: int
    num_stages: int

    @property
    def binary(self) -> tuple[Any, ...]:
        """What two configurations of one binary have in common."""
        fields = (self.module, self.kernel, self.signature, self.constants, self.divisible)
        return (*fields, self.num_warps, self.num_stages)

    @property
    def chosen(self) -> tuple[str, tuple[tuple[str, Any], ...]]:
        """What a launcher decides: the kernel and its constants."""
        return self.kernel, self.constants

    def as_dict(self) -> dict[str, Any]:
        return {
            "dtype": self.mode,
            "kernel": self.kernel,
            "constants": dict(self.constants),
            "signature": {name: kind for name, kind in self.signature if kind != "constexpr"},
            "divisible_by_16": list(self.divisible),
            "num_warps": self.num_warps,
            "num_stages": self.num_stages,
        }


def configuration_of(launch: jit.Launch, mode: str) -> Configuration:
    return Configuration(
        launch.op,
        mode,
        launch.source.fn.__module__,
        launch.kernel,
        launch.signature,
        launch.constants,
        launch.divisible,
        launch.num_warps,
        launch.num_stages,
    )


@functools.lru_cache
def model_of(name: str, dtype: torch.dtype) -> VitsModel:
    """One of the configurations without memory, made once: a plan asks for it several times."""
    return meta_model(CONFIGURATIONS[name], dtype)


def calls_of_the_models(
    seconds: Sequence[int], batches: Sequence[int] = BATCHES
) -> Iterator[tuple[str, registry.Call]]:
    """The distinct calls of ops that the two configurations make, each with the mode it is made in."""
    for name, settings in CONFIGURATIONS.items():
        for dtype in dict.fromkeys(dtype for dtype, _ in MODES.values()):
            modes = [mode for mode, (other, _) in MODES.items() if other == dtype]
            model = model_of(name, dtype)
            seen: set[Any] = set()
            for sizes in utterances(settings, seconds, batches):
                with registry.use_backend("eager"):
                    calls = planned_calls(model, **vars(sizes))
                for call in calls:
                    # In half precision the text encoder and the duration predictor are as in the float32 model.
                    if dtype != torch.float32 and all(t.dtype != dtype for t in registry.tensors_in(call.args)):
                        continue
                    key = call.op.name, _key(call.args)
                    if key in seen:
                        continue
                    seen.add(key)
                    # With `output_attentions` the model makes another op's call with the same arguments.
                    named = (WEIGHTS_OF[call.op.name],) if call.op.name in WEIGHTS_OF else ()
                    for op in (call.op, *(registry.ops()[other] for other in named)):
                        for mode in modes:
                            yield mode, registry.Call(op, call.args, call.decision)


WEIGHTS_OF = {"relative_attention": "relative_attention_weights"}


def _key(argument: Any) -> Any:
    """All that a launcher can see of an argument."""
    if isinstance(argument, torch.Tensor):
        return argument.dtype, argument.shape, argument.stride(), argument.storage_offset()
    return tuple(map(_key, argument)) if isinstance(argument, (list, tuple)) else argument


def calls_of_the_cases(ops: Iterable[str], modes: Iterable[str] = MODES) -> Iterator[tuple[str, registry.Call]]:
    """For ops that the models do not call: the calls that they are tested at."""
    from tests.support.op_cases import CASES

    wanted = set(ops)
    for case in CASES:
        if case.op in wanted:
            for mode in modes:
                op = registry.ops()[case.op]
                arguments = case.arguments(MODES[mode][0], "meta")
                yield mode, registry.Call(op, arguments, registry.Decision(case.op, "triton", "", False))


def calls_of_training() -> Iterator[tuple[str, registry.Call]]:
    """The calls whose gradients are wanted: those of the models, with splines forward as well, the way they learn in,
    and the cases of the ops that the models do not call."""
    called = set()
    for mode, call in calls_of_the_models((LEARNING_SECONDS,), (max(BATCHES),)):
        called.add(call.op.name)
        yield mode, call
        if call.op.name == "spline_coupling":
            forward = [False if name == "reverse" else a for name, a in zip(call.op.parameters, call.args, strict=True)]
            yield mode, registry.Call(call.op, tuple(forward), call.decision)
    yield from calls_of_the_cases(set(registry.ops()) - called)


def launches_of(call: registry.Call, mode: str, target: str) -> list[Configuration]:
    """What a call's Triton implementation launches on a GPU of architecture `target`; nothing where it declines the
    call.
    """
    implementation = call.op.implementations.get("triton")
    if implementation is None:
        return []
    with allowing_tf32(MODES[mode][1]), tiles.target_arch(target), jit.recording() as launches:
        if implementation.supports(*call.args) is None:
            implementation.run(*call.args)
    return [configuration_of(launch, mode) for launch in launches]


def parts_of(call: registry.Call) -> list[registry.Call]:
    """The calls that are made instead where gradients are wanted, for an op that is made of others."""
    with registry.use_backend("eager"):
        return call.op.parts(*call.args)


def _ops_of(calls: Iterable[tuple[str, registry.Call]]) -> set[str]:
    """The ops called, and those that are parts of them."""
    found: dict[str, registry.Call] = {}
    for _, call in calls:
        found.setdefault(call.op.name, call)
    return found.keys() | {part.op.name for call in found.values() for part in parts_of(call)}


def gradient_launches_of(call: registry.Call, mode: str, target: str) -> list[Configuration]:
    """The same for all gradients of the call, or of its parts."""
    parts = parts_of(call)
    if parts:
        return [configuration for part in parts for configuration in gradient_launches_of(part, mode, target)]
    implementation = call.op.implementations.get("triton")
    if implementation is None or implementation.backward is None:
        return []
    results = call.op.fake(*call.op.complete(call.args))
    grads = (results,) if isinstance(results, torch.Tensor) else tuple(results)
    with allowing_tf32(MODES[mode][1]), tiles.target_arch(target), jit.recording() as launches:
        for arguments in _learning(call):
            if implementation.supports(*arguments) is None:
                implementation.backward(grads, arguments)
    return [configuration_of(launch, mode) for launch in launches]


def _learning(call: registry.Call) -> list[tuple[Any, ...]]:
    """A call's arguments as in training, where all of them want gradients: without dropout, and with it where the op
    has it."""
    named = dict(zip(call.op.parameters, map(_wanting, call.op.complete(call.args)), strict=True))
    without = tuple(named.values())
    if "dropout" not in named:
        return [without]
    named |= {"seed": torch.empty(1, dtype=torch.int64, device="meta"), "dropout": 0.5}
    return [without, tuple(named.values())]


def _wanting(argument: Any) -> Any:
    if isinstance(argument, list):
        return [_wanting(item) for item in argument]
    if isinstance(argument, torch.Tensor) and argument.is_floating_point():
        return argument.detach().requires_grad_()
    return argument


def plan(
    targets: Sequence[str] = TARGETS, seconds: Sequence[int] = SECONDS, *, gradients: bool = True
) -> dict[Configuration, list[str]]:
    """Every configuration to compile, and the targets to compile it for; without `gradients` none of training's."""
    found: dict[Configuration, dict[str, None]] = {}
    # Targets without a table of their own launch the same.
    groups: dict[str, list[str]] = {}
    for target in targets:
        own = target if (tiles.TUNED / f"{target}.json").exists() else "default"
        groups.setdefault(own, []).append(target)

    calls = list(calls_of_the_models(seconds))
    called = _ops_of(calls)
    calls += calls_of_the_cases(set(registry.ops()) - called)
    # For each op and dtype of a table's row: a call that looks there, by channels and kernel size. The models' come
    # last and take the place of the others.
    samples: dict[tuple[str, str], dict[tuple[int, int], tuple[str, registry.Call]]] = {}
    for mode, call in calls_of_the_cases(called):
        with tiles.observing() as choices:
            launches_of(call, mode, "default")
        for choice in choices:
            samples.setdefault((choice.op, choice.dtype), {})[choice.channels, choice.kernel_size] = mode, call
    learning = list(calls_of_training()) if gradients else []
    for arch, group in groups.items():
        for mode, call in learning:
            run = parts_of(call) or [call]
            forward = [configuration for part in run for configuration in launches_of(part, mode, arch)]
            for arguments in _learning(call)[1:]:
                forward += launches_of(registry.Call(call.op, arguments, call.decision), mode, arch)
            for configuration in forward + gradient_launches_of(call, mode, arch):
                found.setdefault(configuration, {}).update(dict.fromkeys(group))
        used: set[tuple[str, str, str]] = set()
        for mode, call in calls:
            with tiles.observing() as choices:
                configurations = launches_of(call, mode, arch)
            for choice in choices:
                used.add((choice.op, choice.dtype, repr(choice.tile)))
                samples.setdefault((choice.op, choice.dtype), {})[choice.channels, choice.kernel_size] = mode, call
            for configuration in configurations:
                found.setdefault(configuration, {}).update(dict.fromkeys(group))
        for op, dtype, tile, when in _rows(arch):
            if (op, dtype, repr(tile)) in used or (op, dtype) not in samples:
                continue
            mode, call = _fitting(samples[op, dtype], when)
            with tiles.forced_tile(op, tile):
                for configuration in launches_of(call, mode, arch):
                    found.setdefault(configuration, {}).update(dict.fromkeys(group))
    return {configuration: list(group) for configuration, group in found.items()}


def _rows(arch: str) -> Iterator[tuple[str, str, tiles.Tile, dict[str, Any]]]:
    """Every row of an architecture's table, once for each dtype it serves; not where an earlier row serves all it
    could.
    """
    for op, rows in tiles.table(arch).items():
        for dtype in MODES:
            earlier: list[dict[str, Any]] = []
            for row in rows:
                when = row.get("when", {})
                if dtype in when.get("dtype", MODES):
                    if not any(_covers(other, when) for other in earlier):
                        yield op, dtype, tiles.tile_of(row), when
                    earlier.append(when)


def _covers(wide: dict[str, Any], narrow: dict[str, Any]) -> bool:
    """Whether the upper bounds of `wide` let in all that those of `narrow` do."""
    bounds = ("channels", "kernel_size", "work")
    return all(narrow.get(name, float("inf")) <= wide[name] for name in bounds if name in wide)


def _fitting(
    calls: dict[tuple[int, int], tuple[str, registry.Call]], when: dict[str, Any]
) -> tuple[str, registry.Call]:
    """The call with the most channels that a row is for; any call if the row is for none of them."""
    channels, kernel_size = when.get("channels", float("inf")), when.get("kernel_size", float("inf"))
    fitting = [key for key in calls if key[0] <= channels and key[1] <= kernel_size]
    return calls[max(fitting or calls)]


def quick_plan(targets: Sequence[str] = TARGETS) -> dict[Configuration, list[str]]:
    """One configuration for each op and dtype: the largest that a text of ten seconds launches.

    The models call the ops of the text encoder in float32 only: in half precision these are there with the same shapes.
    Ops that they never call are there with their smallest test case. To save time, of both what is not float32 is
    compiled for `FEW_TARGETS` only, and of the text encoder's for one of these, float16 for one and bfloat16 for the
    other; all else for these and for two of the other targets, which are dealt to the ops in turn; of gradients, whose
    kernels take longest to compile, the smallest configuration.
    """
    calls = list(calls_of_the_models((10,)))
    chosen: dict[tuple[str, str], Configuration] = {}
    for configuration in _launched(calls):
        key = configuration.op, configuration.mode
        if key not in chosen or _size(configuration) > _size(chosen[key]):
            chosen[key] = configuration
    called = _ops_of(calls)
    narrow = {(op, mode) for op in called for mode in ("float16", "bfloat16") if (op, mode) not in chosen}
    rest: dict[tuple[str, str], Configuration] = {}
    for configuration in _launched(
        (mode, _narrowed(call, MODES[mode][0])) for op, mode in narrow for name, call in calls if call.op.name == op
    ):
        key = configuration.op, configuration.mode
        if key not in rest or _size(configuration) > _size(rest[key]):
            rest[key] = configuration
    for configuration in _launched(calls_of_the_cases(set(registry.ops()) - called)):
        key = configuration.op, configuration.mode
        # What an op of the models launches as its part is no model's call, and is there all the same.
        if key not in chosen and (key not in rest or _size(configuration) < _size(rest[key])):
            rest[key] = configuration
    gradients: dict[tuple[str, str], Configuration] = {}
    for configuration in _launched_by_gradients():
        key = configuration.op, configuration.mode
        if key not in gradients or _size(configuration) < _size(gradients[key]):
            gradients[key] = configuration
    few = [target for target in targets if target in FEW_TARGETS]
    found = {c: _dealt(c.op, targets) for c in chosen.values()}
    for c in rest.values():
        if c.mode in ("float32", "tf32"):
            found[c] = _dealt(c.op, targets)
        else:
            of_text = (c.op, "float32") in chosen and (c.op, c.mode) not in chosen
            found[c] = _one_of_few(c.op, c.mode, targets) if of_text else few
    found |= dict.fromkeys(gradients.values(), few)
    return {configuration: group for configuration, group in found.items() if group}


def _dealt(op: str, targets: Sequence[str]) -> list[str]:
    """Of the targets, the few, and two of the others that are this op's."""
    others = [target for target in TARGETS if target not in FEW_TARGETS]
    number = sorted(registry.ops()).index(op)
    wanted = {*FEW_TARGETS, others[number % len(others)], others[(number + 2) % len(others)]}
    return [target for target in targets if target in wanted]


def _one_of_few(op: str, mode: str, targets: Sequence[str]) -> list[str]:
    """Of the targets, the one of the few that is this op's in this half precision."""
    number = sorted(registry.ops()).index(op) + (mode == "bfloat16")
    return [target for target in targets if target == FEW_TARGETS[number % len(FEW_TARGETS)]]


def _narrowed(call: registry.Call, dtype: torch.dtype) -> registry.Call:
    """A call with its floating-point tensors in another dtype."""
    arguments = [
        argument.to(dtype) if isinstance(argument, torch.Tensor) and argument.is_floating_point() else argument
        for argument in call.args
    ]
    return registry.Call(call.op, tuple(arguments), call.decision)


def _launched(calls: Iterable[tuple[str, registry.Call]]) -> Iterator[Configuration]:
    for mode, call in calls:
        yield from launches_of(call, mode, "default")


_CONVOLVING_TWICE = ("resblock_pair", "wavenet_layer")
"""Ops whose gradients take long to follow and launch no kernels but `conv1d`'s, with no fewer channels than
`resblock_step`."""


def _launched_by_gradients() -> Iterator[Configuration]:
    """What gradients launch, but for the larger ones of `conv1d`."""
    for mode, call in calls_of_training():
        for part in parts_of(call) or [call]:
            if part.op.name not in _CONVOLVING_TWICE:
                yield from (c for c in gradient_launches_of(part, mode, "default") if c.op.endswith("_backward"))


def _size(configuration: Configuration) -> tuple[float, str]:
    """How much one thread has to do, by the sides of the tile: what makes a kernel spill, and compile slowly."""
    sides = [value for name, value in configuration.constants if name.startswith("BLOCK_")]
    return math.prod(sides) / configuration.num_warps, repr(configuration)
