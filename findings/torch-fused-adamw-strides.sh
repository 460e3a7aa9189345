#!/usr/bin/env bash
# torch 2.13.0: on a CPU, AdamW with fused=True updates a parameter wrongly where its gradient has other strides.
#
# It goes through parameter, gradient and moments in the order of memory, each in its own, without an error or a
# warning: elements get the updates of others, wrong by 2 lr in one step. Moments of other strides do the same: a state
# saved for a contiguous Conv2d keeps its strides when it is loaded for the model in channels_last, and the next step is
# wrong. Adam is wrong in the same places, and so is SGD: by its gradient, and with momentum by a loaded buffer.
# With fused=False all are right; with equal strides both agree, but for rounding.
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv torch==2.13.0 numpy==2.4.6 <<'PY'
import copy
import warnings

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW

warnings.simplefilter("error")
torch.manual_seed(0)
value, gradient, image = torch.randn(4, 6, 5), torch.randn(4, 6, 5), torch.randn(2, 4, 8, 8)
permuted = torch.empty_permuted((4, 6, 5), (0, 2, 1)).copy_(value)


def apart(one, other):
    return (one - other).abs().max().item()


def stepped(kind, options, fused, start, gradient):
    parameter = nn.Parameter(start.clone())
    parameter.grad = gradient.clone()
    kind([parameter], lr=1e-3, fused=fused, **options).step()
    return parameter.detach()


def learn(model, optimiser):
    optimiser.zero_grad()
    model(image).square().mean().backward()
    assert model.weight.grad.stride() == model.weight.stride()
    optimiser.step()


def resumed(kind, options, fused, memory_format):
    torch.manual_seed(1)
    model = nn.Conv2d(4, 6, 3)
    first = kind(model.parameters(), lr=1e-3, fused=True, **options)
    learn(model, first)
    saved = copy.deepcopy(first.state_dict())
    saved["param_groups"][0]["fused"] = fused  # what is loaded decides
    second = kind(model.to(memory_format=memory_format).parameters(), lr=1e-3, fused=fused, **options)
    second.load_state_dict(saved)
    learn(model, second)
    return model.weight.detach()


for name, *kind in ("AdamW", AdamW, {}), ("Adam", Adam, {}), ("SGD", SGD, {}), ("momentum", SGD, {"momentum": 0.9}):
    fused, plain = (stepped(*kind, way, permuted, gradient) for way in (True, False))
    same = [stepped(*kind, way, value, gradient) for way in (True, False)]
    print(f"{name}, gradient of other strides: fused is wrong by {apart(fused, plain):.4f}; equal: {apart(*same):.4f}")
    in_memory = stepped(*kind, False, permuted.transpose(1, 2).flatten(), gradient.flatten())
    assert apart(fused, plain) > 1e-3
    assert max(apart(fused.transpose(1, 2).flatten(), in_memory), apart(plain, same[1]), apart(*same)) < 1e-6
    if name == "SGD":
        continue  # it has no state
    fused, plain = (resumed(*kind, way, torch.channels_last) for way in (True, False))
    same = [resumed(*kind, way, torch.contiguous_format) for way in (True, False)]
    print(f"{name}, state of other strides: fused is wrong by {apart(fused, plain):.4f}; equal: {apart(*same):.4f}")
    assert apart(fused, plain) > 1e-4
    assert max(apart(plain, same[1]), apart(*same)) < 1e-6
PY
