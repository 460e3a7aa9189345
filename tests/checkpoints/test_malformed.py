"""Checkpoints that are damaged, that disagree with themselves, or that are no VITS: one sentence, and no folder."""

import json
import os
import pickle
import random
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fastvits.checkpoints import convert
from fastvits.checkpoints.foreign import refuse_foreign_parts
from tests.support import training_checkpoints as programs
from tests.support.mutations import outcome, write_sources

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return programs.write_original(tmp_path_factory.mktemp("original"), programs.train())


def refused(path: Path, folder: Path) -> str:
    """The one sentence that a conversion ends with; nothing is left behind."""
    before = sorted(folder.parent.iterdir())
    with pytest.raises((ValueError, OSError)) as caught:
        convert(path, folder)
    assert sorted(folder.parent.iterdir()) == before
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


def changed(path: Path, folder: Path, change: Callable[[dict[str, Tensor]], None]) -> Path:
    """A copy of a checkpoint with other weights."""
    content = torch.load(path, weights_only=True)
    change(content["model"])
    torch.save(content, folder / path.name)
    (folder / "config.json").write_bytes(path.with_name("config.json").read_bytes())
    return folder / path.name


def put(name: str, tensor: Any) -> Callable[[dict[str, Any]], None]:
    return lambda state: state.__setitem__(name, tensor)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("dec.conv_post.weight"), r"lacks decoder\.conv_post\.weight"),
        (lambda state: state.pop("flow.flows.0.enc.in_layers.0.weight_g"), "lacks flow.flows.0.wavenet.in_layers.0"),
        (lambda state: state.pop("enc_q.pre.weight"), r"no tensor enc_q\.pre\.weight"),
        (put("dec.strange.weight", torch.ones(2)), "dec.strange.weight that has no place"),
        (put("enc_p.encoder.ffn_layers.5.conv_1.bias", torch.ones(32)), "layers.5.feed_forward.conv_1.bias"),
        (put("enc_p.proj.bias", torch.ones(3)), r"project\.bias has the shape \[3\]; expected \[32\]"),
        (put("dec.conv_pre.bias", torch.full((16,), float("nan"))), "not finite"),
        (put("dec.conv_pre.bias", torch.ones(16, dtype=torch.int64)), "holds int64"),
        (put("dec.conv_pre.bias", torch.ones(1).expand(16)), "in a form that is not read"),
        (put("dec.conv_pre.bias", "a text"), "which is no tensor with a name"),
        (put("emb_g.weight", torch.ones(1, 8)), "a speaker table of one speaker that its decoder does not hear"),
        (put("enc_p.emb.weight", torch.ones(7)), r"shape \[7\]; expected 2 dimensions"),
        (put("enc_p.bert_proj.weight", torch.ones(2)), "BERT's features"),
        (put("flow.flows.0.pre_transformer.conv.weight", torch.ones(2)), "a flow with a transformer"),
    ],
)
def test_weights_that_are_no_vits_are_refused(
    original: Path, tmp_path: Path, change: Callable[[dict[str, Tensor]], None], message: str
) -> None:
    (tmp_path / "theirs").mkdir()
    assert re.search(message, refused(changed(original, tmp_path / "theirs", change), tmp_path / "ours"))


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("model", {"n_layers": 3}, "says n_layers 3, the checkpoint has 2"),
        ("model", {"hidden_channels": 192}, "says hidden_channels 192, the checkpoint has 16"),
        ("model", {"resblock": "2"}, "says resblock 2, the checkpoint has 1"),
        ("model", {"upsample_rates": [8, 8]}, "the checkpoint 3 stages"),
        ("model", {"upsample_rates": "8, 8, 4"}, "upsample_rates as a list of positive whole numbers"),
        ("model", {"upsample_rates": [8, 8, 10**12]}, "upsample_rates as a list of positive whole numbers"),
        ("model", {"resblock_dilation_sizes": [[1, 3]]}, "the checkpoint 6 in all"),
        ("data", {"n_speakers": 109}, "says n_speakers 109, the checkpoint has no speakers"),
        ("data", {"hop_length": 300}, "says hop_length 300, its upsampling rates make 256"),
        ("data", {"filter_length": 1024}, "says filter_length 1024, the posterior encoder reads 65 bins"),
        ("data", {"sampling_rate": "fast"}, "sampling_rate as a positive whole number, got 'fast'"),
        ("data", {"text_cleaners": ["japanese_cleaners"]}, "cleaned by 'japanese_cleaners'"),
        ("data", {"text_cleaners": None}, "names no text_cleaners"),
    ],
)
def test_a_configuration_that_disagrees_is_refused(
    original: Path, tmp_path: Path, section: str, values: dict[str, Any], message: str
) -> None:
    (tmp_path / "theirs").mkdir()
    path = changed(original, tmp_path / "theirs", lambda state: None)
    config = json.loads(path.with_name("config.json").read_text("utf-8"))
    config[section].update(values)
    path.with_name("config.json").write_text(json.dumps(config), encoding="utf-8")
    assert message in refused(path, tmp_path / "ours")


def test_other_symbols_have_to_be_listed(tmp_path: Path) -> None:
    path = programs.write_original(tmp_path / "theirs", programs.train(12))
    assert "put them into a vocab.txt" in refused(path, tmp_path / "ours")
    path.with_name("vocab.txt").write_text("a\nb\n", encoding="utf-8")
    assert "has 2 lines, the checkpoint 12 symbols" in refused(path, tmp_path / "ours")


@pytest.mark.parametrize("name", ["config.json", "G_7.pth"])
def test_missing_and_truncated_files_are_named(original: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "theirs").mkdir()
    path = changed(original, tmp_path / "theirs", lambda state: None)
    file = path.with_name(name)
    content = file.read_bytes()
    for length in (0, 1, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:length])
        assert name in refused(path, tmp_path / "ours")
    file.unlink()
    assert name in refused(path, tmp_path / "ours")


class _Command:
    """What a pickle runs where it is let: it makes a folder."""

    def __init__(self, function: Callable[..., Any], *arguments: Path) -> None:
        self.call = function, tuple(map(str, arguments))

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def test_nothing_in_a_pickle_is_run(original: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    path, mark = changed(original, tmp_path / "theirs", lambda state: None), tmp_path / "mark"
    content = torch.load(path, weights_only=True)
    command = _Command(shutil.copytree, tmp_path / "theirs", mark)
    content["optimizer"] = command  # beside the weights it is not looked at
    torch.save(content, path)
    convert(path, tmp_path / "ours")
    content["model"]["dec.conv_pre.bias"] = command
    torch.save(content, path)
    assert "no tensor with a name" in refused(path, tmp_path / "other")
    content["model"]["dec.conv_pre.bias"] = _Command(os.mkdir, mark)  # of a module that torch never lets in
    torch.save(content, path)
    assert "nothing in it was run" in refused(path, tmp_path / "other")
    path.write_bytes(pickle.dumps(command))  # no archive, as torch's files were before 1.6
    assert "G_7.pth" in refused(path, tmp_path / "other")
    assert not mark.exists()


def test_an_archive_that_unpacks_into_much_more_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "G_7.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 10_000_000)
    assert "would unpack into 10000000" in refused(path, tmp_path / "ours")


def test_a_table_that_holds_itself_is_refused(tmp_path: Path) -> None:
    table: dict[str, Any] = {}
    table["enc_p.emb.weight"] = table
    torch.save({"model": table}, tmp_path / "G_7.pth")
    (tmp_path / "config.json").write_text('{"data": {}, "model": {}}', encoding="utf-8")
    assert "no tensor with a name" in refused(tmp_path / "G_7.pth", tmp_path / "ours")


def test_damaged_files_end_in_one_sentence(tmp_path: Path) -> None:
    # `python -m bench.fuzz_checkpoints --count 10000` tries more of them.
    sources = write_sources(tmp_path / "theirs")
    (tmp_path / "out").mkdir()
    kinds = set()
    for family, source in sources.items():
        for number in range(4):
            kind, said = outcome(source, tmp_path / "out" / "voice", random.Random(f"{family} {number}"))
            assert kind != "fault", f"{family} {number}: {said}"
            kinds.add(kind)
    assert "ValueError" in kinds


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("dec.subband_conv_post.weight_g", "inverse Fourier transform"),
        ("enc_p.ja_bert_proj.weight", "BERT"),
        ("enc_p.tone_emb.weight", "tones"),
        ("emb_l.weight", "languages"),
        ("tts.generator.text_encoder.encoder.encoders.0.conv_module.norm.weight", "Conformer"),
        ("sdp.pre.weight", "two duration predictors"),
        ("enc_p.emb_pitch.weight", "pitch"),
    ],
)
def test_other_models_are_refused_by_their_part(name: str, part: str) -> None:
    with pytest.raises(ValueError, match=part):
        refuse_foreign_parts(["enc_p.emb.weight", name], "model.pth")
    refuse_foreign_parts(["enc_p.emb.weight", "flow.flows.0.enc.in_layers.0.weight_g"], "model.pth")


def test_what_is_no_voice_is_said(tmp_path: Path) -> None:
    torch.save({"weights": torch.ones(2)}, tmp_path / "other.pth")
    assert "expected 'model' (original VITS, MMS-TTS, Coqui) or 'state_dict'" in refused(
        tmp_path / "other.pth", tmp_path / "ours"
    )
    torch.save({"model": {"layer.weight": torch.ones(2)}}, tmp_path / "other.pth")
    assert "holds no VITS" in refused(tmp_path / "other.pth", tmp_path / "ours")
    (tmp_path / "empty").mkdir()
    assert "holds no voice" in refused(tmp_path / "empty", tmp_path / "ours")
    assert "there is no voice" in refused(tmp_path / "nowhere", tmp_path / "ours")
