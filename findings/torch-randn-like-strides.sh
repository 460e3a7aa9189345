#!/usr/bin/env bash
# torch 2.13.0: with one seed, randn_like of two equal tensors gives different values where their strides differ.
#
# Numbers are drawn in the order of memory, and the result keeps the strides of the tensor that it is like. So a model
# that transposes before it draws, or calls contiguous(), has other noise from the same seed.
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv torch==2.13.0 numpy==2.4.6 <<'PY'
import torch


def drawn(like):
    torch.manual_seed(0)
    return torch.randn_like(like)


transposed = torch.zeros(1, 3, 4).transpose(1, 2)
contiguous = transposed.contiguous()
assert torch.equal(transposed, contiguous)
one, other = drawn(transposed), drawn(contiguous)
print("equal tensors, equal seeds, equal draws:", torch.equal(one, other))
print("in the order of memory they are equal:", torch.equal(one.transpose(1, 2).flatten(), other.flatten()))
assert not torch.equal(one, other)
assert torch.equal(one.transpose(1, 2).flatten(), other.flatten())
PY
