#!/usr/bin/env bash
# safetensors 0.8.0: the numpy writer stores a transposed array in the order of its memory, under the new shape.
#
# What is read back has the right shape and the wrong numbers, without a word; the torch writer refuses such a tensor.
# Weights are transposed wherever a checkpoint is converted. 0.7.0 stored them rightly:
# https://github.com/safetensors/safetensors/issues/825
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv safetensors==0.8.0 numpy==2.4.6 <<'PY'
import numpy as np
from safetensors.numpy import load, save

weight = np.arange(6, dtype=np.float32).reshape(2, 3).T
back = load(save({"weight": weight}))["weight"]
print("written:", weight.tolist())
print("read:   ", back.tolist())
assert back.shape == weight.shape and not np.array_equal(back, weight)
assert back.tolist() == [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]
assert np.array_equal(load(save({"weight": np.ascontiguousarray(weight)}))["weight"], weight)
PY
