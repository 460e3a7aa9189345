"""Gradients of a function of tensors and lists of tensors, by running it again."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor


def tensors_in(args: tuple[Any, ...]) -> Iterator[Tensor]:
    """The tensors among the arguments, lists of tensors included."""
    for argument in args:
        if isinstance(argument, Tensor):
            yield argument
        elif isinstance(argument, (list, tuple)):
            yield from (item for item in argument if isinstance(item, Tensor))


def gradients_of(
    function: Callable[..., Any], arguments: tuple[Any, ...], grads: tuple[Tensor, ...], *, again: bool = False
) -> tuple[Any, ...]:
    """The gradients of `function` at `arguments` for these output gradients: one entry an argument, None or lists as
    fits. With `again` they can be differentiated in turn.
    """
    with torch.enable_grad():
        fresh = [_apart(argument, again) for argument in arguments]
        outputs = function(*fresh)
        outputs = (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
        wanted = [tensor for tensor in tensors_in(tuple(fresh)) if tensor.requires_grad]
        pairs = [(o, g) for o, g in zip(outputs, grads, strict=True) if o.requires_grad and g is not None]
        found = torch.autograd.grad(
            [o for o, _ in pairs], wanted, [g for _, g in pairs], allow_unused=True, create_graph=again
        )
    by_tensor = {id(tensor): gradient for tensor, gradient in zip(wanted, found, strict=True)}

    def gradient(argument: Any) -> Any:
        if isinstance(argument, Tensor):
            return by_tensor.get(id(argument))
        if isinstance(argument, list) and any(isinstance(item, Tensor) for item in argument):
            return [by_tensor.get(id(item)) for item in argument]
        return None

    return tuple(gradient(argument) for argument in fresh)


def _apart(argument: Any, attached: bool) -> Any:
    """The argument's tensors as ones of their own, so that each has a gradient of its own; `attached` to the graph that
    they come from, or cut off from it."""
    if isinstance(argument, Tensor):
        if attached and argument.requires_grad:
            return argument.view_as(argument)
        return argument.detach().requires_grad_(argument.requires_grad)
    if isinstance(argument, (list, tuple)) and any(isinstance(item, Tensor) for item in argument):
        return [_apart(item, attached) for item in argument]
    return argument
