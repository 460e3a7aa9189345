"""What the model's modules share: torch's own layers, the ops that stand for them, and weights derived from parameters.

The layers are `torch.nn`'s, with the names and shapes of published checkpoints (`weight` `[C_out, C_in, K]`, weight
norm as `parametrizations.weight.original0` and `original1`), so that whoever looks for layers finds them. Functions
here run them as ops, on `[B, T, C]`; ops want taps-first weights `[K, C_in, C_out]`. Layers are made without values:
`VitsModel` initialises all parameters, unless they are on the meta device.
"""

import copy
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import fastvits_kernels as kernels
from fastvits_kernels.dispatch import packing

from .observed import known

Layer = TypeVar("Layer", bound=nn.Module)


for _kind in (nn.Dropout, nn.ReLU, nn.GELU, nn.SELU):
    known(_kind)  # ops do what they do


def dropout_rate(layer: nn.Module) -> float:
    """What share a dropout leaves out, here and now: none outside training."""
    return layer.p if isinstance(layer, nn.Dropout) and layer.training else 0.0


def activation_layer(activation: str | Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The layer of one of the configuration's names, or the function that it has instead."""
    if not isinstance(activation, str):
        return activation
    approximate = "tanh" if activation == "gelu_new" else "none"
    return {"relu": nn.ReLU, "selu": nn.SELU}[activation]() if activation in ("relu", "selu") else nn.GELU(approximate)


def activation_name(layer: Any) -> str | None:
    """The name that ops know a layer's activation by; None for any other."""
    if type(layer) is nn.GELU:
        return "gelu" if layer.approximate == "none" else "gelu_new"
    return "relu" if type(layer) is nn.ReLU else "selu" if type(layer) is nn.SELU else None


class Derived:
    """Tensors computed from parameters, kept until a parameter changes; `packing.Mark` tells whether one did.

    With gradients nothing is kept, so that they flow, nor while anything traces, compiles or transforms. What `get`
    returns is for ops alone: a caller who might write to it makes his own.
    """

    def __init__(self) -> None:
        self._kept: dict[str, tuple[tuple[packing.Mark, ...], Any]] = {}

    def get(self, name: str, sources: tuple[Tensor, ...], build: Callable[[], Any]) -> Any:
        """`build()`, tensors, or what it returned last time for `name` if `sources` have not changed since."""
        if torch.is_grad_enabled() and any(source.requires_grad for source in sources):
            return build()
        if not packing.may_keep(*sources):
            return build()
        kept = self._kept.get(name)
        if kept is not None and len(kept[0]) == len(sources) and all(map(packing.Mark.is_of, kept[0], sources)):
            return kept[1]
        marks = tuple(map(packing.Mark, sources))
        # Normal tensors even in inference mode, whose own ones have no version: others derive from these in turn.
        with torch.inference_mode(False), torch.no_grad():
            made = build()
        theirs = {source.untyped_storage()._cdata for source in sources}
        for tensor in (made,) if isinstance(made, Tensor) else made:
            if tensor.untyped_storage()._cdata not in theirs:
                packing.make_private(tensor)
        self._kept[name] = (marks, made)
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> "Derived":
        return Derived()

    def __getstate__(self) -> dict[str, Any]:
        return {"_kept": {}}


class Float32Module(nn.Module):
    """A module that stays in float32 when the model goes to half precision, and in float64 when it goes there.

    What decides an utterance's length lives here: `ceil(exp(log_duration))` amplifies noise, so lengths would depend
    on the precision otherwise.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Float32Module":
        def keep_precision(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            if moved.dtype in (torch.float16, torch.bfloat16) and tensor.dtype in (torch.float32, torch.float64):
                return tensor.to(device=moved.device, dtype=torch.float32)
            return moved

        return super()._apply(keep_precision, recurse)


def empty(layer: type[Layer], *arguments: Any, **options: Any) -> Layer:
    """A layer of torch's whose parameters have no values yet: no random number is drawn."""
    made = layer(*arguments, **options, device="meta").to_empty(device=torch.get_default_device())
    for name, parameter in list(made._parameters.items()):
        made.register_parameter(name, parameter)  # for who watches that, as accelerate's init_empty_weights does
    return made


def conv1d(
    in_channels: int, out_channels: int, kernel_size: int, *, dilation: int = 1, bias: bool = True, groups: int = 1
) -> nn.Conv1d:
    """An `nn.Conv1d` that keeps the length, without values."""
    return empty(
        nn.Conv1d,
        in_channels,
        out_channels,
        kernel_size,
        padding=(kernel_size - 1) * dilation // 2,
        dilation=dilation,
        bias=bias,
        groups=groups,
    )


def weight_norm_conv1d(in_channels: int, out_channels: int, kernel_size: int, *, dilation: int = 1) -> nn.Conv1d:
    """The same with weight normalisation, `weight = g * v / |v|` (Salimans and Kingma 2016, equation 2)."""
    conv = parametrizations.weight_norm(conv1d(in_channels, out_channels, kernel_size, dilation=dilation))
    # torch gives each parametrized module a class of its own, which forbids pickling.
    cls: Any = type(conv)
    cls.__reduce_ex__ = _reduce_weight_norm
    cls.__deepcopy__ = _copy_weight_norm
    return cast(nn.Conv1d, conv)


def _reduce_weight_norm(conv: nn.Conv1d, protocol: Any) -> tuple[Any, ...]:
    # The rebuilt one has torch's hook for older names, a local function, which has no name to pickle.
    hooks = conv.__dict__["_load_state_dict_pre_hooks"].items()
    kept = {key: hook for key, hook in hooks if "_weight_norm_compat_hook" not in repr(getattr(hook, "hook", hook))}
    state = dict(conv.__dict__)
    if kept:
        state["_load_state_dict_pre_hooks"] = OrderedDict(kept)
    else:
        del state["_load_state_dict_pre_hooks"]
    return _rebuilt_weight_norm, (), state


def _rebuilt_weight_norm() -> nn.Conv1d:
    return weight_norm_conv1d(1, 1, 1)


def _copy_weight_norm(conv: nn.Conv1d, memo: dict[int, Any]) -> nn.Conv1d:
    copied = _rebuilt_weight_norm()
    memo[id(conv)] = copied
    copied.__dict__ = {name: copy.deepcopy(value, memo) for name, value in conv.__dict__.items()}
    return copied


def folded(conv: nn.Conv1d, derived: Derived, name: str) -> Tensor:
    """The weight `[C_out, C_in, K]` of a convolution with weight norm, for an op, which does not write to it.

    It is kept under `name` for as long as its two parts are what they were. That of any other convolution is its own.
    """
    if "parametrizations" not in conv._modules:
        return conv.weight
    parts: Any = conv._modules["parametrizations"]._modules["weight"]  # type: ignore[union-attr]
    g, v = parts.original0, parts.original1  # no parameters in a functional call
    return cast(
        Tensor,
        derived.get(name, (g, v), lambda: v * (g / torch.linalg.vector_norm(v, dim=(1, 2), keepdim=True))),
    )


def taps_first(weight: Tensor) -> Tensor:
    """The view `[K, C_in, C_out]` of a convolution's weight `[C_out, C_in, K]`."""
    return weight.permute(2, 1, 0)


def as_narrow(parameter: Tensor, x: Tensor) -> Tensor:
    """A parameter in the precision of what it is applied to. Under autocast these differ, and ops know no autocast."""
    return parameter.to(x.dtype) if torch._C._is_any_autocast_enabled() else parameter


def convolved(conv: nn.Conv1d, x: Tensor, **options: Any) -> Tensor:
    """`[B, T, C_in]` -> `[B, T, C_out]`; `options` are those of `fastvits_kernels.conv1d`."""
    weight, bias = as_narrow(conv.weight, x), None if conv.bias is None else as_narrow(conv.bias, x)
    return kernels.conv1d(x, taps_first(weight), bias, dilation=conv.dilation[0], **options)


def vectors_projected(conv: nn.Conv1d, x: Tensor, *, ieee: bool = False, weight: Tensor | None = None) -> Tensor:
    """A convolution of kernel size 1 applied to vectors: `[B, C_in]` -> `[B, C_out]`; `ieee` as in
    `fastvits_kernels.conv1d`, `weight` the convolution's where it is at hand."""
    weight = conv.weight if weight is None else weight
    if ieee or torch._C._is_any_autocast_enabled():
        bias = conv.bias
        if not ieee:
            weight, bias = as_narrow(weight, x), None if bias is None else as_narrow(bias, x)
        return kernels.conv1d(x.unsqueeze(1), taps_first(weight), bias, ieee=True).squeeze(1)
    bias = None if conv.bias is None else conv.bias.to(x.dtype)
    return nn.functional.linear(x, weight.squeeze(-1).to(x.dtype), bias)


def normalized(norm: nn.LayerNorm, x: Tensor, residual: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
    """`LayerNorm(x + residual)`, `[B, T, C]`, zero beyond `lengths`."""
    return kernels.layer_norm(x, residual, norm.weight, norm.bias, lengths=lengths, eps=norm.eps)


def mask_of(lengths: Tensor | None, steps: int, like: Tensor) -> Tensor:
    """The published padding mask `[B, 1, T]` of the dtype of `like` `[B, ...]`: 1 up to each length, then 0."""
    if lengths is None:
        return like.new_ones(like.shape[0], 1, steps)
    return (torch.arange(steps, device=like.device) < lengths.unsqueeze(1)).to(like.dtype).unsqueeze(1)


def lengths_of(mask: Tensor | None) -> Tensor | None:
    """The lengths `[B]` that a published padding mask `[B, 1, T]` means, None where nothing is masked.

    Raises ValueError where the mask is not one run of 1 from the first step on.
    """
    if mask is None:
        return None
    valid = mask[:, 0] != 0
    lengths = valid.sum(-1)
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or mask.is_meta:
        return lengths
    if bool(valid.all()):
        return None
    if not bool((valid == (torch.arange(mask.shape[2], device=mask.device) < lengths.unsqueeze(1))).all()):
        raise ValueError("padding_mask must hold a run of 1 from the first step on in each item, and 0 behind it")
    return lengths


def is_run(mask: Tensor | None) -> bool:
    """Whether lengths say what a published mask `[B, 1, T]` does: each item is one run of 1 from the first step on."""
    if mask is None or torch.compiler.is_compiling() or torch.jit.is_tracing() or mask.is_meta:
        return True
    valid = mask[:, 0] != 0
    return not bool((valid[:, 1:] & ~valid[:, :-1]).any())


def vectors_of(conditioning: Tensor | None) -> Tensor | None:
    """Speakers `[B, C]` from the published form, `[B, C, 1]`."""
    return None if conditioning is None else conditioning.squeeze(-1)


def conditioning_of(speaker: Tensor | None) -> Tensor | None:
    """Speakers `[B, C]` in the published form, `[B, C, 1]`."""
    return None if speaker is None else speaker.unsqueeze(-1)
