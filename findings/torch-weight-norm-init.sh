#!/usr/bin/env bash
# torch 2.13.0: initialising the weight of a layer with weight norm does nothing, by either of torch's two weight norms.
#
# The weight is computed anew from its two parts, so writing to `layer.weight` or `layer.weight.data`, as the init_weights
# of HiFi-GAN and VITS do after they put the norm on, is lost without an error: the layer keeps its default values.
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv torch==2.13.0 numpy==2.4.6 <<'PY'
import torch
from torch import nn

x = torch.randn(1, 4, 10)
kept = {}
for norm in (nn.utils.weight_norm, nn.utils.parametrizations.weight_norm):
    layer = norm(nn.Conv1d(4, 4, 3))
    before = layer(x)
    layer.weight.data.normal_(0.0, 100.0)
    nn.init.normal_(layer.weight, 0.0, 100.0)
    with torch.no_grad():
        layer.weight.copy_(torch.zeros(4, 4, 3))
    kept[norm.__module__] = torch.equal(layer(x), before)
for module, same in kept.items():
    print(f"{module}: three ways of initialising, and the output is the same: {same}")
assert list(kept.values()) == [True, True]
layer = nn.Conv1d(4, 4, 3)
nn.init.zeros_(layer.weight)
assert not torch.equal(layer(x), before)
PY
