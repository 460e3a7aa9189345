"""Gradients of the ops that hold long convolutions on a GPU: `gradients`, by the kernels of `conv_gradients`."""

from dataclasses import replace
from typing import Any

from torch import Tensor

from ..dispatch.registry import gradients_of, ops
from .conv_gradients import convolutions
from .gradients import BACKWARD, derivable


def _register(name: str) -> None:
    op = ops()[name]
    places = list(op.parameters)

    def run(grads: tuple[Tensor, ...], arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        if not derivable(arguments):
            return gradients_of(op.reference, arguments, grads)
        ieee = bool(arguments[places.index("ieee")]) if "ieee" in places else False
        return BACKWARD[name](convolutions(ieee), grads[0], *arguments)

    op.implementations["triton"] = replace(op.implementations["triton"], backward=run)


for _name in BACKWARD:
    _register(_name)
