"""Small checkpoints in the layouts of the programs that train VITS, written as they write them.

The network is Piper's training code, which keeps the names of the original VITS: a party of its own that also says what
each checkpoint has to sound like.
"""

import json
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from piper.train.vits.models import SynthesizerTrn

from fastvits.checkpoints.original import SYMBOLS

SMALL: dict[str, Any] = {
    "inter_channels": 16,
    "hidden_channels": 16,
    "filter_channels": 32,
    "n_heads": 2,
    "n_layers": 2,
    "kernel_size": 3,
    "p_dropout": 0.1,
    "resblock": "1",
    "resblock_kernel_sizes": [3, 5],
    "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5]],
    "upsample_rates": [8, 8, 4],
    "upsample_initial_channel": 16,
    "upsample_kernel_sizes": [16, 16, 8],
}
SECOND_TYPE: dict[str, Any] = {"resblock": "2", "resblock_dilation_sizes": [[1, 2], [2, 6]]}
WINDOW = 128
HOP = 256
IDS = [0, 5, 0, 7, 0, 9, 0, 11, 0, 3, 0, 20, 0, 1, 0, 16, 0]


class Said(NamedTuple):
    """What a program made of `IDS` without noise."""

    durations: list[int]
    latents: np.ndarray  # [flow_size, T_frames]
    audio: np.ndarray


def train(vocab_size: int = len(SYMBOLS), *, speakers: int = 1, **changes: Any) -> SynthesizerTrn:
    """A small network off its start, whose audio does not saturate."""
    options = {**SMALL, **({"gin_channels": 8, "n_speakers": speakers} if speakers > 1 else {}), **changes}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(7)
        network = SynthesizerTrn(vocab_size, WINDOW // 2 + 1, 32, **options).eval()
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        if hasattr(network.dp, "flows"):
            network.dp.flows[0].m.fill_(-1.2)  # some frames for each token
        else:
            network.dp.proj.bias.fill_(1.2)
        network.dec.conv_post.weight.mul_(0.05)
    return network


def speak(network: SynthesizerTrn, speaker: int | None = None) -> Said:
    """What the training program's own code says."""
    sid = None if speaker is None else torch.tensor([speaker])
    with torch.no_grad():
        audio, attention, _, (latents, *_) = network.infer(
            torch.tensor([IDS]), torch.tensor([len(IDS)]), sid=sid, noise_scale=0.0, noise_scale_w=0.0
        )
    return Said(attention.sum((1, 2))[0].long().tolist(), latents[0].numpy(), audio.reshape(-1).numpy())


def write_original(folder: Path, network: SynthesizerTrn, **changes: Any) -> Path:
    """`G_7.pth` and config.json of the original VITS."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(
        {"model": network.state_dict(), "iteration": 7, "optimizer": {}, "learning_rate": 2e-4}, folder / "G_7.pth"
    )
    config: dict[str, Any] = {
        "train": {"segment_size": 8192},
        "data": {
            "training_files": "filelists/train.txt.cleaned",
            "text_cleaners": ["english_cleaners2"],
            "sampling_rate": 22050,
            "filter_length": WINDOW,
            "hop_length": HOP,
            "add_blank": True,
            "n_speakers": network.n_speakers if network.n_speakers > 1 else 0,
        },
        "model": {**SMALL, **({"gin_channels": 8} if network.n_speakers > 1 else {})},
    }
    for section, values in changes.items():
        config[section] = {**config[section], **values}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder / "G_7.pth"


def write_mms(folder: Path, network: SynthesizerTrn, symbols: str, *, uroman: bool = False) -> Path:
    """The same with the vocab.txt of MMS-TTS."""
    path = write_original(
        folder, network, data={"training_files": "train.ltr.uroman" if uroman else "train.ltr", "text_cleaners": []}
    )
    (folder / "vocab.txt").write_text("".join(f"{symbol}\n" for symbol in symbols), encoding="utf-8")
    return path


def write_piper(folder: Path, network: SynthesizerTrn, **hyperparameters: Any) -> Path:
    """`last.ckpt` of Lightning and config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "state_dict": {f"model_g.{name}": tensor for name, tensor in network.state_dict().items()},
        "pytorch-lightning_version": "2.6.6",
        "epoch": 1,
        "global_step": 2,
        "hyper_parameters": {
            **SMALL,
            "num_symbols": network.n_vocab,
            "num_speakers": network.n_speakers,
            **hyperparameters,
        },
    }
    torch.save(content, folder / "last.ckpt")
    settings = {
        "audio": {"sample_rate": 22050},
        "espeak": {"voice": "en-us"},
        "phoneme_id_map": {symbol: [number] for number, symbol in enumerate("_^$ abdehilnost.,ˈəɪʊː")},
        "num_symbols": network.n_vocab,
        "num_speakers": network.n_speakers,
    }
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder / "last.ckpt"


def coqui_name(name: str) -> str:
    """Coqui's name of a parameter of the original VITS."""
    for theirs, ours in (
        ("enc_p.", "text_encoder."), ("enc_q.", "posterior_encoder."), ("dec.cond.", "waveform_decoder.cond_layer."),
        ("dec.", "waveform_decoder."), ("dp.", "duration_predictor."),
    ):  # fmt: skip
        if name.startswith(theirs):
            name = ours + name.removeprefix(theirs)
            break
    name = re.sub(r"(duration_predictor\.(?:post_)?flows\.0\.)m$", r"\1translation", name)
    name = re.sub(r"(duration_predictor\.(?:post_)?flows\.0\.)logs$", r"\1log_scale", name)
    number = re.match(r"(flow\.flows|duration_predictor\.(?:post_)?flows)\.(\d+)\.", name)
    if number is not None:
        index = int(number[2]) // 2 if number[1].startswith("flow") else (int(number[2]) + 1) // 2
        name = f"{number[1]}.{index}.{name[number.end() :]}"
    return name.replace("weight_g", "parametrizations.weight.original0").replace(
        "weight_v", "parametrizations.weight.original1"
    )


def write_coqui(
    folder: Path, network: SynthesizerTrn, *, characters: dict[str, Any] | None = None, **arguments: Any
) -> Path:
    """`model_file.pth` and config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {coqui_name(name): tensor for name, tensor in network.state_dict().items()}
    torch.save({"config": {}, "model": state, "optimizer": None, "step": 7}, folder / "model_file.pth")
    config = {
        "model": "vits",
        "audio": {"sample_rate": 22050, "hop_length": math.prod(SMALL["upsample_rates"])},
        "model_args": {
            "num_chars": network.n_vocab,
            "hidden_channels": SMALL["hidden_channels"],
            "resblock_dilation_sizes_decoder": SMALL["resblock_dilation_sizes"],
            "upsample_rates_decoder": SMALL["upsample_rates"],
            "upsample_kernel_sizes_decoder": SMALL["upsample_kernel_sizes"],
            "inference_noise_scale_dp": 0.8,
            **arguments,
        },
        "characters": {
            "characters_class": "TTS.tts.utils.text.characters.VitsCharacters",
            "pad": "<PAD>",
            "punctuations": "!,.? ",
            "characters": "abcdefghijklmnopqrstuvwxyz",
            "phonemes": None,
        },
        "text_cleaner": "basic_cleaners",
        "use_phonemes": False,
        "add_blank": True,
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder / "model_file.pth"
