#!/usr/bin/env bash
# transformers 5.23.0 with torch 2.13.0: in a padded batch of VITS the end of a shorter item is not what it is alone.
#
# Both noise scales are 0, so nothing is random. The item's length is right, but the decoder has no mask: biases of the
# padding reach back into the last 13 latent frames. Here the first sample that differs by more than 1e-4 is some 2,000
# samples before the item's end; all before it agree.
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv torch==2.13.0 transformers==5.23.0 numpy==2.4.6 <<'PY'
import torch
from transformers import VitsConfig, VitsModel

torch.manual_seed(0)
model = VitsModel(VitsConfig(hidden_size=32, num_hidden_layers=2, ffn_dim=64, flow_size=32, upsample_initial_channel=64))
model = model.eval()
model.noise_scale = model.noise_scale_duration = 0.0
with torch.no_grad():
    for parameter in model.decoder.parameters():
        # Fresh biases are next to 0; those of a trained voice are not.
        parameter.add_(0.02 * torch.randn_like(parameter))
short, long = torch.randint(1, 38, (1, 20)), torch.randint(1, 38, (1, 40))
batch, mask = torch.zeros(2, 40, dtype=torch.int64), torch.zeros(2, 40, dtype=torch.int64)
batch[0], mask[0] = long[0], 1
batch[1, :20], mask[1, :20] = short[0], 1
with torch.no_grad():
    alone = model(input_ids=short).waveform[0]
    both = model(input_ids=batch, attention_mask=mask)
length = int(both.sequence_lengths[1])
assert length == len(alone)
distance = (both.waveform[1, :length] - alone).abs()
from_the_end = length - int((distance > 1e-4).nonzero().min())
relative = (distance.norm() / alone.norm()).item()
print(f"{from_the_end} samples before the end they begin to differ; relative RMS {relative:.3f}")
assert 256 < from_the_end <= 13 * 256
assert relative > 0.01
PY
