"""Checkpoints of every family: the network says what the program that trained it says, and text becomes its ids."""

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch
from piper.train.vits.models import MultiPeriodDiscriminator
from safetensors.torch import load_file, save_file

from fastvits import VitsConfig, VitsModel, VitsTokenizer
from fastvits.checkpoints import convert, read
from fastvits.checkpoints.coqui_text import vocabulary_and_tokenizer
from fastvits.checkpoints.discriminator import discriminator_state, expected_shapes
from fastvits.checkpoints.names import original_name, our_name
from fastvits.checkpoints.original import SYMBOLS
from fastvits.weights.parts import absent_parts, on_meta_device
from tests.support import training_checkpoints as programs
from tests.support.small_voices import save_small_voice
from tests.support.tolerances import MODEL_FLOAT32

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

COQUI_SYMBOLS = 1 + 5 + 26 + 1


def relative_rms(actual: np.ndarray, expected: np.ndarray) -> float:
    assert actual.shape == expected.shape
    difference = actual.astype(np.float64) - expected
    return float(np.sqrt(np.square(difference).mean() / np.square(expected.astype(np.float64)).mean()))


def assert_says(folder: Path, expected: programs.Said, speaker: int | None = None) -> VitsModel:
    model = VitsModel.from_pretrained(folder)
    with torch.no_grad():
        output = model(torch.tensor([programs.IDS]), speaker_id=speaker, noise_scale=0.0, noise_scale_duration=0.0)
    assert output.durations[0].tolist() == expected.durations
    assert len(set(expected.durations)) > 1
    assert relative_rms(output.spectrogram[0].numpy(), expected.latents) <= MODEL_FLOAT32
    assert relative_rms(output.waveform[0].numpy(), expected.audio) <= MODEL_FLOAT32
    return model


@pytest.mark.parametrize(
    ("speakers", "changes"), [(1, {}), (3, programs.SECOND_TYPE), (1, {"use_sdp": False}), (2, {"use_sdp": False})]
)
def test_an_original_checkpoint_says_what_its_code_says(tmp_path: Path, speakers: int, changes: dict[str, Any]) -> None:
    network = programs.train(speakers=speakers, **changes)
    path = programs.write_original(tmp_path / "theirs", network, model=changes)
    voice = convert(path, tmp_path / "ours")
    assert voice.family == "original VITS checkpoint"
    for speaker in range(speakers) if speakers > 1 else [None]:
        assert_says(tmp_path / "ours", programs.speak(network, speaker), speaker)
    config = VitsConfig.from_pretrained(tmp_path / "ours")
    assert (config.sampling_rate, config.spectrogram_bins, config.num_speakers) == (22050, 65, speakers)
    assert not absent_parts(config, load_file(tmp_path / "ours" / "model.safetensors"))
    tokenizer = VitsTokenizer.from_pretrained(tmp_path / "ours")
    said = "".join(tokenizer.convert_ids_to_tokens(tokenizer("Dr. Café & Co.")["input_ids"])[1::2])
    assert said == "dˈɑːktɚ kˈæfeɪ ænd kˈʌmpəni"  # expanded, then in ASCII, then phonemes


def test_symbols_are_the_originals() -> None:
    assert len(SYMBOLS) == 178
    assert hashlib.sha256("".join(SYMBOLS).encode()).hexdigest()[:16] == "3e81afeec2d0906d"


def test_an_mms_checkpoint_brings_its_symbols(tmp_path: Path) -> None:
    symbols = "kabcdefghij lmnopqrstuvwxyz'"
    network = programs.train(len(symbols))
    path = programs.write_mms(tmp_path / "eng", network, symbols, uroman=False)
    assert convert(path, tmp_path / "ours").family == "MMS-TTS checkpoint"
    assert_says(tmp_path / "ours", programs.speak(network))
    tokenizer = VitsTokenizer.from_pretrained(tmp_path / "ours")
    assert (tokenizer.language, tokenizer.is_uroman) == ("eng", False)
    # Each symbol between blanks of id 0, the first symbol too, two in a row, at the end.
    expected = [symbols.index(letter) for letter in "bookkeeper k"]
    ids = tokenizer("Bookkeeper K?")["input_ids"]
    assert ids[1::2] == expected
    assert set(ids[::2]) == {0}
    batch = tokenizer(["bk", "a longer text"], padding=True, return_tensors="pt")
    with torch.no_grad():
        assert VitsModel.from_pretrained(tmp_path / "ours")(**batch).sequence_lengths.shape == (2,)
    path = programs.write_mms(tmp_path / "ell", network, symbols, uroman=True)
    assert read(path).tokenizer["is_uroman"]


@pytest.mark.parametrize("speakers", [1, 2])
def test_a_checkpoint_of_pipers_training_says_what_its_code_says(tmp_path: Path, speakers: int) -> None:
    network = programs.train(40, speakers=speakers, **programs.SECOND_TYPE)
    # What old checkpoints have: paths, lists as text.
    path = programs.write_piper(
        tmp_path / "theirs",
        network,
        dataset=PurePosixPath("/data"),
        **programs.SECOND_TYPE,
        upsample_rates="(8, 8, 4)",
    )
    voice = convert(path, tmp_path / "ours")
    assert voice.family == "Piper checkpoint of training"
    speaker = speakers - 1 if speakers > 1 else None
    model = assert_says(tmp_path / "ours", programs.speak(network, speaker), speaker)
    assert model.config.resblock_type == 2
    assert VitsTokenizer.from_pretrained(tmp_path / "ours").frontend == "piper"


def test_a_coqui_checkpoint_says_what_its_network_says(tmp_path: Path) -> None:
    network = programs.train(COQUI_SYMBOLS)
    path = programs.write_coqui(tmp_path / "theirs", network)
    assert convert(path, tmp_path / "ours").family == "Coqui VITS checkpoint"
    assert_says(tmp_path / "ours", programs.speak(network))
    tokenizer = VitsTokenizer.from_pretrained(tmp_path / "ours")
    ids = tokenizer("Ab,  c")["input_ids"]
    assert tokenizer.blank_id == COQUI_SYMBOLS - 1  # the last id
    assert ids[::2] == [COQUI_SYMBOLS - 1] * 6
    letters = ["<PAD>", *"!,.? ", *"abcdefghijklmnopqrstuvwxyz"]
    assert ids[1::2] == [letters.index(symbol) for symbol in ["a", "b", ",", " ", "c"]]


# What coqui-tts 0.28.0 looks up of a text, by its cleaner and phonemizer (espeak-ng).
COQUI_READS = [
    (
        "multilingual_cleaners",
        None,
        "She said: “I can't; I won't.” Then (quietly) she left…",
        "she said, “i can't, i won't.” then quietly she left…",
    ),
    (
        "french_cleaners",
        None,
        "She said: “I can't; I won't.” Then (quietly) she left…",
        "she said, “i can't, i won't.” then quietly she left…",
    ),
    ("basic_turkish_cleaners", None, "İstanbul'da IŞIK var.", "istanbul'da ışık var."),
    ("uroman_cleaners", None, "Привет, как дела?", "privet, kak dela?"),
    (
        "multilingual_phoneme_cleaners",
        "en-us",
        "Kick the bucket, Kathryn; take a book back.",
        "kˈɪk ðə bˈʌkɪt, kˈæθɹɪn, tˈeɪk ɐ bˈʊk bˈæk.",
    ),
    (
        "no_cleaners",
        "en-us",
        "She said: “I can't; I won't.” Then (quietly) she left…",
        "ʃiː sˈɛd: “aɪ kˈænt; aɪ wˈoʊnt.” ðˈɛn kwˈaɪətli ʃiː lˈɛft…",
    ),
]


@pytest.mark.parametrize(("cleaner", "language", "text", "read"), COQUI_READS)
def test_coquis_texts_are_read_as_it_reads_them(
    cleaner: str, language: str | None, text: str, read: str, tmp_path: Path
) -> None:
    symbols = sorted(set(read))
    said = {
        "characters": {"pad": "_", "punctuations": "", "characters": "".join(symbols), "phonemes": None},
        "text_cleaner": cleaner,
        "use_phonemes": language is not None,
        "phoneme_language": language,
    }
    vocabulary, settings = vocabulary_and_tokenizer(said, len(symbols) + 2, tmp_path)
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    tokenizer = VitsTokenizer.from_pretrained(tmp_path)
    assert "".join(tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])[1::2]) == read


def test_coquis_speakers_come_along(tmp_path: Path) -> None:
    network = programs.train(COQUI_SYMBOLS, speakers=3)
    path = programs.write_coqui(tmp_path / "named", network, speakers_file="/train/speakers.json")
    path.with_name("speakers.json").write_text(json.dumps({"anna": 0, "bert": 1, "7": 2}), encoding="utf-8")
    voice = convert(path, tmp_path / "ours")
    assert voice.config["speaker_id_map"] == {"anna": 0, "bert": 1, "7": 2}
    assert_says(tmp_path / "ours", programs.speak(network, 2), 2)

    # d-vectors in a file of their own, and a duration predictor that does not hear the speaker
    vectors = torch.nn.functional.normalize(torch.randn(2, 8, generator=torch.Generator().manual_seed(0)))
    with torch.no_grad():
        network.emb_g.weight[:2] = vectors
        network.dp.cond.weight.zero_()
        network.dp.cond.bias.zero_()
    expected = programs.speak(network, 1)
    state = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(("emb_g", "dp.cond"))}
    network.state_dict = lambda: state  # type: ignore[method-assign]
    path = programs.write_coqui(
        tmp_path / "vectors", network, use_d_vector_file=True, d_vector_file=["/train/d.json"], d_vector_dim=8
    )
    clips = {f"{i}": {"name": f"s{i % 2}", "embedding": (vectors[i % 2] * 2).tolist()} for i in range(4)}
    path.with_name("d.json").write_text(json.dumps(clips), encoding="utf-8")
    convert(path, tmp_path / "table")
    assert_says(tmp_path / "table", expected, 1)


def test_a_table_of_one_speaker_becomes_part_of_the_biases(tmp_path: Path) -> None:
    network = programs.train(COQUI_SYMBOLS, speakers=2)
    expected = programs.speak(network, 1)
    state = {**network.state_dict(), "emb_g.weight": network.emb_g.weight[1:].detach()}
    network.state_dict = lambda: state  # type: ignore[method-assign]
    network.n_speakers = 1
    for family, path in (
        ("coqui", programs.write_coqui(tmp_path / "coqui", network)),
        ("original", programs.write_original(tmp_path / "original", network)),
    ):
        path.parent.joinpath("vocab.txt").write_text("\n".join(map(chr, range(97, 97 + COQUI_SYMBOLS))), "utf-8")
        voice = convert(path, tmp_path / f"{family}-ours")
        assert "speaker_id_map" not in voice.config
        model = assert_says(tmp_path / f"{family}-ours", expected)
        assert model.config.num_speakers == 1


def test_coquis_plain_predictor_has_another_epsilon(tmp_path: Path) -> None:
    network = programs.train(COQUI_SYMBOLS, use_sdp=False)
    network.dp.norm_1.eps = network.dp.norm_2.eps = 1e-4
    convert(programs.write_coqui(tmp_path / "theirs", network), tmp_path / "ours")
    assert_says(tmp_path / "ours", programs.speak(network))


def test_half_precision_is_kept(tmp_path: Path) -> None:
    path = programs.write_original(tmp_path / "theirs", programs.train().half())
    convert(path, tmp_path / "ours")
    assert {tensor.dtype for tensor in load_file(tmp_path / "ours" / "model.safetensors").values()} == {torch.float16}
    assert VitsModel.from_pretrained(tmp_path / "ours").dtype == torch.float16


# Key lists that the programs themselves wrote, at their standard sizes: how many names, and a hash of them.
WRITTEN = {
    "original": ({}, 838, "9ab1338c3b4043cf"),
    "original, 109 speakers": ({"num_speakers": 109, "speaker_embedding_size": 256}, 858, "95cce43a73433d37"),
    "original, plain": ({"use_stochastic_duration_prediction": False}, 564, "d9f3e396d3649911"),
    "Coqui": ({}, 949 - 111, "2085ab4de5ec6007"),
    "Coqui, 5 speakers": ({"num_speakers": 5, "speaker_embedding_size": 64}, 969 - 111, "72d5a0959c88bd2e"),
    "Piper, medium": ({"resblock_type": 2, "upsample_rates": [8, 8, 4], "upsample_kernel_sizes": [16, 16, 8],
                       "resblock_dilation_sizes": [[1, 2], [2, 6], [3, 12]]}, 673, "c251b133402d709f"),
}  # fmt: skip


@pytest.mark.parametrize("layout", WRITTEN)
def test_names_are_those_that_the_programs_write(layout: str) -> None:
    changes, count, digest = WRITTEN[layout]
    names = []
    for ours in on_meta_device(VitsModel, VitsConfig(**changes), []).state_dict():
        name = original_name(ours)
        assert our_name(name, plain_durations="plain" in layout) == ours
        name = name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        )
        normed = name.startswith(("dec.ups.", "dec.resblocks.")) and name.endswith(".weight")
        names += [name.removesuffix("weight") + part for part in ("weight_g", "weight_v")] if normed else [name]
    if layout.startswith("Coqui"):
        names = list(map(programs.coqui_name, names))
    assert len(names) == len(set(names)) == count
    assert hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:16] == digest


def test_discriminators_are_read_in_either_spelling(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = MultiPeriodDiscriminator().state_dict()
    spelt = {
        name.replace("weight_g", "parametrizations.weight.original0").replace(
            "weight_v", "parametrizations.weight.original1"
        ): tuple(tensor.shape)
        for name, tensor in theirs.items()
    }
    assert spelt == expected_shapes()
    assert len(theirs) == 111
    monkeypatch.setattr("fastvits.checkpoints.discriminator.PERIODS", ())  # those of periods have 41 M parameters
    zeros = {
        name: torch.zeros(tensor.shape, dtype=torch.float16)
        for name, tensor in theirs.items()
        if name.startswith("discriminators.0.")
    }
    state = discriminator_state(zeros, "D_7.pth")
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == expected_shapes()
    del zeros["discriminators.0.conv_post.bias"]
    with pytest.raises(ValueError, match=r"D_7\.pth lacks discriminators\.0\.conv_post\.bias"):
        discriminator_state(zeros, "D_7.pth")


def test_a_training_checkpoint_with_its_discriminator_loads(tmp_path: Path) -> None:
    folder = save_small_voice(tmp_path / "voice")
    state = load_file(folder / "model.safetensors")
    critic = {"discriminator.discriminators.0.convs.0.weight": torch.ones(2), "discriminator.final.bias": torch.ones(1)}
    save_file(state | critic, folder / "model.safetensors", metadata={"format": "pt"})
    model = VitsModel.from_pretrained(folder)
    assert not any(name.startswith("discriminator") for name in model.state_dict())
    assert model.state_dict().keys() == state.keys()
