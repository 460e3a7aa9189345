"""What the commands write: the format that a name asks for, as loud as wanted, by the right speaker."""

import json
import wave

import numpy as np
import pytest
import soundfile

from fastvits.cli import main
from tests.support.small_voices import save_small_voice

TEXT = "Hello my dog is cute"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_small_voice(tmp_path_factory.mktemp("voice"))


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    return save_small_voice(
        tmp_path_factory.mktemp("named"),
        num_speakers=3,
        speaker_embedding_size=8,
        piper={"speaker_id_map": {"anna": 0, "2": 1, "bert": 2}, "default_speaker_id": 1},
    )


def samples(path):
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(int)


def say(folder, path, *arguments, text=TEXT):
    return main(["say", text, "--voice", str(folder), "--seed", "1", "--output", str(path), *map(str, arguments)])


@pytest.mark.parametrize(("suffix", "magic"), [("mp3", b"ID3"), ("ogg", b"OggS"), ("opus", b"OggS")])
def test_a_name_asks_for_its_format(folder, tmp_path, suffix, magic):
    path = tmp_path / f"a.{suffix}"
    assert say(folder, path) == 0
    assert path.read_bytes().startswith(magic)
    assert say(folder, tmp_path / "a.wav") == 0
    audio, rate = soundfile.read(path)
    expected = samples(tmp_path / "a.wav")
    assert len(audio) / rate == pytest.approx(len(expected) / 16000, abs=0.001)
    assert np.abs(audio).max() == pytest.approx(np.abs(expected).max() / 32767, rel=0.2)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("a.m4a", [], "audio is written to files that end with .wav, .flac, .raw, .pcm, .mp3, .ogg, .opus, .aac"),
        ("a.mp3", ["--format", "wav"], "--format wav does not fit the name"),
        ("a.wav", ["--format", "raw"], "--format raw does not fit the name"),
        ("a.wav", ["--normalize", "peak", "--stream"], "--normalize needs whole sentences"),
        ("a.wav", ["--volume", "-1"], "--volume: must be 0 or more"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_spoken(folder, tmp_path, capsys, name, arguments, message):
    try:
        status = say(folder, tmp_path / name, *arguments)
    except SystemExit as exit_:
        status = exit_.code
    assert status == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_other_names_take_a_format(folder, tmp_path):
    assert say(folder, tmp_path / "a.dat", "--format", "wav") == 0
    assert (tmp_path / "a.dat").read_bytes()[:4] == b"RIFF"


def test_volume_and_peak(folder, tmp_path, caplog):
    assert say(folder, tmp_path / "plain.wav") == 0
    assert say(folder, tmp_path / "half.wav", "--volume", 0.5, "--stream") == 0
    plain, half = samples(tmp_path / "plain.wav"), samples(tmp_path / "half.wav")
    assert np.abs(half - plain / 2).max() <= 1
    assert say(folder, tmp_path / "peak.wav", "--normalize", "peak", text="Hello. And a second one") == 0
    peak = samples(tmp_path / "peak.wav")
    gap = np.flatnonzero(np.convolve(peak == 0, np.ones(3000, int), "valid") == 3000)[0] + 1000
    assert [np.abs(peak[:gap]).max(), np.abs(peak[gap:]).max()] == [32767, 32767]
    assert not [record for record in caplog.records if "clipped" in record.getMessage()]
    assert say(folder, tmp_path / "loud.wav", "--volume", 100) == 0
    (message,) = [text for text in (record.getMessage() for record in caplog.records) if "clipped" in text]
    assert message == (
        f"{np.count_nonzero(np.abs(samples(tmp_path / 'loud.wav')) == 32767)} samples were too loud and are clipped: "
        "lower --volume."
    )


def test_a_corpus_is_as_loud_as_wanted(folder, tmp_path):
    (tmp_path / "a.txt").write_text(f"{TEXT}\n")
    command = ["synthesize", str(tmp_path / "a.txt"), "--output-dir", str(tmp_path / "out"), "--voice", str(folder)]
    assert main([*command, "--quiet"]) == 0
    plain = samples(tmp_path / "out" / "000001.wav")
    assert main([*command, "--quiet", "--normalize", "peak", "--volume", "0.5"]) == 0
    scaled = samples(tmp_path / "out" / "000001.wav")
    assert np.abs(scaled).max() in (16383, 16384)
    assert np.abs(scaled - plain * (16383.5 / np.abs(plain).max())).max() <= 40


def test_speakers_of_rows(named, tmp_path, capsys):
    rows = [
        {"id": "default", "text": TEXT, "seed": 1},
        {"id": "number", "text": TEXT, "seed": 1, "speaker_id": 1},
        {"id": "name", "text": TEXT, "seed": 1, "speaker": "name:2"},
        {"id": "same", "text": TEXT, "seed": 1, "speaker": "bert", "speaker_id": 2},
        {"id": "both", "text": TEXT, "speaker": "anna", "speaker_id": 2},
        {"id": "wrong", "text": TEXT, "speaker_id": "anna"},
        {"id": "absent", "text": TEXT, "speaker_id": 3},
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    output = tmp_path / "out"
    command = ["synthesize", str(tmp_path / "a.jsonl"), "--output-dir", str(output), "--voice", str(named), "--quiet"]
    assert main(command) == 1
    shown = capsys.readouterr().err
    assert "row 5 (both): speaker and speaker_id differ: give one of them" in shown
    assert "row 6 (wrong): speaker_id must be a whole number, got 'anna'" in shown
    assert "row 7 (absent): speaker 3 is out of range: allowed is 0 to 2" in shown
    written = {row["id"]: row for row in map(json.loads, (output / "manifest.jsonl").read_text().splitlines())}
    assert {name: row["speaker"] for name, row in written.items()} == {"default": 1, "number": 1, "name": 1, "same": 2}
    assert len({(output / f"{name}.wav").stat().st_size for name in ("default", "number", "name")}) == 1


def test_say_speaks_as_a_piper_voice_s_own_speaker(named, tmp_path, caplog):
    assert say(named, tmp_path / "a.wav") == 0
    messages = [record.getMessage() for record in caplog.records]
    assert (
        "The voice has 3 speakers, and none is named: speaker 1 speaks, as in Piper. There are anna, 2, bert."
        in messages
    )
    assert say(named, tmp_path / "b.wav", "--speaker", "id:1") == 0
    np.testing.assert_array_equal(samples(tmp_path / "a.wav"), samples(tmp_path / "b.wav"))
    caplog.clear()
    assert say(named, tmp_path / "b.wav", "--speaker", "2") == 0
    assert "Speaker '2' is a name in this voice, that of speaker 1: write id:2" in caplog.text
