#!/usr/bin/env bash
# transformers 5.23.0 with torch 2.13.0: the weight norm that VITS applies cannot be removed by its own methods.
#
# Norms are put on by torch.nn.utils.parametrizations, and taken off by the older torch.nn.utils.remove_weight_norm,
# which does not know them: ValueError. VitsWaveNet.remove_weight_norm fails before that, with AttributeError: it asks
# for a `speaker_embedding_size` that was never set.
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv torch==2.13.0 transformers==5.23.0 numpy==2.4.6 <<'PY'
from transformers import VitsConfig, VitsModel

model = VitsModel(VitsConfig(hidden_size=32, num_hidden_layers=2, ffn_dim=64, flow_size=32, upsample_initial_channel=64))


def failure(module):
    try:
        module.remove_weight_norm()
    except (AttributeError, ValueError) as error:
        return f"{type(error).__name__}: {error}".partition("(")[0]
    return "nothing"


model.decoder.apply_weight_norm()
decoder, wavenet = failure(model.decoder), failure(model.flow.flows[0].wavenet)
print("decoder, after apply_weight_norm:", decoder)
print("WaveNet, as it was made:", wavenet)
assert decoder == "ValueError: weight_norm of 'weight' not found in ParametrizedConvTranspose1d", decoder
assert wavenet == "AttributeError: 'VitsWaveNet' object has no attribute 'speaker_embedding_size'", wavenet
PY
