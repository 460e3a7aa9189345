#!/usr/bin/env bash
# torch 2.13.0: of a custom operator with a list of tensors and a last argument with a default, `setup_context` is given
# all arguments, and the backward has to return one gradient for each of those that are not the default.
#
# A backward that returns a gradient for each input that it saw raises whenever the last argument has its default value,
# written out or not, and works for any other value. Without a list among the arguments both work.
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv torch==2.13.0 numpy==2.4.6 <<'PY'
import torch
from torch import Tensor

seen = {}


@torch.library.custom_op("finding::listed", mutates_args=())
def listed(x: Tensor, others: list[Tensor], factor: float = 1.0) -> Tensor:
    return sum(others, x) * factor


@torch.library.custom_op("finding::plain", mutates_args=())
def plain(x: Tensor, factor: float = 1.0) -> Tensor:
    return x * factor


def remember(name):
    def setup_context(ctx, inputs, output):
        seen[name] = len(inputs)
        ctx.factor = inputs[-1]

    return setup_context


listed.register_autograd(
    lambda ctx, g: (g * ctx.factor, [g * ctx.factor], None), setup_context=remember("listed")
)
plain.register_autograd(lambda ctx, g: (g * ctx.factor, None), setup_context=remember("plain"))


def gradient(function, *arguments):
    x = torch.ones(2, requires_grad=True)
    try:
        function(x, *arguments).sum().backward()
    except RuntimeError as error:
        return str(error).split(".")[0]
    return x.grad.tolist()


y = torch.ones(2)
refused = "Expected the return from backward to be of the same structure as the inputs"
outcomes = {
    "list, default left out": gradient(listed, [y]),
    "list, default written": gradient(listed, [y], 1.0),
    "list, another value": gradient(listed, [y], 3.0),
    "no list, default left out": gradient(plain),
    "no list, default written": gradient(plain, 1.0),
}
for call, outcome in outcomes.items():
    print(f"{call}: {outcome}")
print("arguments that setup_context saw:", seen)
assert seen == {"listed": 3, "plain": 2}
assert list(outcomes.values()) == [refused, refused, [3.0, 3.0], [1.0, 1.0], [1.0, 1.0]]
PY
