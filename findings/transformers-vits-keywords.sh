#!/usr/bin/env bash
# transformers 5.23.0 with torch 2.13.0: VitsModel takes keywords that it does not know, and ignores them.
#
# `model(input_ids=ids, noise_scale=0.0)` sounds as without: the noise scale is an attribute of the model, and what
# nobody reads is swallowed by **kwargs. So are names that do not exist at all.
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv torch==2.13.0 transformers==5.23.0 numpy==2.4.6 <<'PY'
import torch
from transformers import VitsConfig, VitsModel

torch.manual_seed(0)
model = VitsModel(VitsConfig(hidden_size=32, num_hidden_layers=2, ffn_dim=64, flow_size=32, upsample_initial_channel=64))
model = model.eval()
ids = torch.randint(1, 38, (1, 30))


def speak(**keywords):
    torch.manual_seed(1)
    with torch.no_grad():
        return model(input_ids=ids, **keywords).waveform


plain = speak()
print("noise_scale=0.0 changes nothing:", torch.equal(plain, speak(noise_scale=0.0)))
print("no_such_keyword=1 changes nothing:", torch.equal(plain, speak(no_such_keyword=1)))
assert torch.equal(plain, speak(noise_scale=0.0))
assert torch.equal(plain, speak(no_such_keyword=1))
model.noise_scale = 0.0
assert not torch.equal(plain, speak())
PY
