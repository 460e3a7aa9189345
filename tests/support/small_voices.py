"""Small random voices that transformers itself writes, for tests that need one on disk."""

import json
from pathlib import Path

import torch
import transformers

ENGLISH_VOCABULARY = "k'zyudhesw–3cp-1jmi flo0bra42n_xvtq56g"
"""Letters in order of id; the first is the blank and the padding too, as in published voices."""


def save_small_voice(folder: Path, seed: int = 0, **parameters: object) -> Path:
    """Save a random model of some 50,000 parameters with an English tokenizer, and return its folder.

    Every parameter is moved off its start, and the last convolution is scaled until the audio does not saturate, so
    that differences anywhere in the model are heard.
    """
    config = transformers.VitsConfig(
        **{
            "vocab_size": len(ENGLISH_VOCABULARY),
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "ffn_dim": 32,
            "flow_size": 16,
            "spectrogram_bins": 17,
            "upsample_initial_channel": 16,
            "upsample_rates": [4, 4],
            "upsample_kernel_sizes": [8, 8],
            "resblock_kernel_sizes": [3, 5],
            "resblock_dilation_sizes": [[1, 3], [1, 3]],
            "duration_predictor_filter_channels": 16,
            "prior_encoder_num_flows": 2,
            "prior_encoder_num_wavenet_layers": 2,
            "posterior_encoder_num_wavenet_layers": 2,
            **parameters,
        }
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.VitsModel(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
            before_tanh: list[torch.Tensor] = []
            hook = model.decoder.conv_post.register_forward_hook(lambda *call: before_tanh.append(call[2]))
            model(torch.randint(config.vocab_size, (1, 20)), speaker_id=0 if config.num_speakers > 1 else None)
            hook.remove()
            model.decoder.conv_post.weight.mul_(0.2 / before_tanh[0].square().mean().sqrt())
    model.save_pretrained(folder)
    vocabulary = folder / "vocab.json"
    vocabulary.write_text(json.dumps({letter: number for number, letter in enumerate(ENGLISH_VOCABULARY)}), "utf-8")
    tokenizer = transformers.VitsTokenizer(str(vocabulary), pad_token="k", phonemize=False, is_uroman=False)
    tokenizer.save_pretrained(folder)
    return folder
