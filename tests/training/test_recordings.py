"""Layouts of data are understood, and all of the data is looked at before anything is trained."""

import json

import numpy as np
import pytest
import soundfile

from fastvits import VitsConfig, VitsTokenizer, synthesize
from fastvits.training.inspection import inspect_clips
from fastvits.training.recordings import Clip, Problem, read_clips
from fastvits.training.settings import TrainingSettings
from tests.support.small_voices import save_small_voice


def tone(seconds, rate=16000):
    return 0.3 * np.sin(np.arange(round(seconds * rate)) / 20)


def write(path, seconds=1.0, rate=16000, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.stack([tone(seconds, rate)] * channels, axis=1), rate)


def test_ljspeech(tmp_path):
    write(tmp_path / "wavs" / "LJ001.wav")
    (tmp_path / "metadata.csv").write_text("LJ001|Mr. Smith|Mister Smith\nLJ002|only one\n|x\n", "utf-8")
    first, second, bad = read_clips(tmp_path)
    assert first == Clip("LJ001", tmp_path / "wavs" / "LJ001.wav", "Mister Smith")
    assert second.text == "only one"
    assert isinstance(bad, Problem)


def test_vctk(tmp_path):
    for speaker in ("p225", "p226"):
        write(tmp_path / "wav48_silence_trimmed" / speaker / f"{speaker}_001_mic1.flac")
        (tmp_path / "txt" / speaker).mkdir(parents=True)
        (tmp_path / "txt" / speaker / f"{speaker}_001.txt").write_text("Please call Stella.\n")
    clips = list(read_clips(tmp_path))
    assert [clip.speaker for clip in clips] == ["p225", "p226"]
    assert all(clip.file.is_file() and clip.text == "Please call Stella." for clip in clips)


def test_manifests_of_ones_own(tmp_path):
    rows = [{"audio": "a.wav", "text": "one", "speaker": 3}, {"file": "b.wav", "text": "two", "id": "B"}, {"text": "x"}]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\nno json\n")
    one, two, nameless, broken = read_clips(tmp_path / "data.jsonl")
    assert (one.id, one.file, one.speaker) == ("a", tmp_path / "a.wav", "3")
    assert (two.id, two.text, two.speaker) == ("B", "two", None)
    assert "names no file" in nameless.message
    assert broken.message.startswith("is no JSON")
    (tmp_path / "data.csv").write_text("path;text;speaker\na.wav;one;x\nb.wav;two\n")
    one, short = read_clips(tmp_path / "data.csv")
    assert (one.text, one.speaker) == ("one", "x")
    assert short.message == "has 2 columns, but the header has 3"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "nothing", "does not exist"),
        (lambda folder: folder, "holds no data that is understood"),
        (lambda folder: (folder / "a.txt").write_text("x") and folder / "a.txt", "is no manifest"),
        (lambda folder: (folder / "a.csv").write_text("id,text\n") and folder / "a.csv", "needs the columns text and"),
    ],
)
def test_what_is_no_data_is_refused(tmp_path, make, message):
    with pytest.raises((OSError, ValueError), match=message):
        list(read_clips(make(tmp_path)))


@pytest.fixture(scope="module")
def voice(tmp_path_factory):
    folder = save_small_voice(tmp_path_factory.mktemp("voice") / "voice", num_speakers=3, speaker_embedding_size=8)
    return VitsTokenizer.from_pretrained(folder), VitsConfig.from_pretrained(folder)


def test_one_report_names_everything_that_cannot_be_used(tmp_path, voice):
    tokenizer, config = voice
    for name, seconds, channels in [("good", 1.0, 1), ("short", 0.1, 1), ("long", 5.0, 1), ("stereo", 1.0, 2)]:
        write(tmp_path / f"{name}.wav", seconds, channels=channels)
    write(tmp_path / "crowded.wav", 0.4)
    soundfile.write(tmp_path / "silent.wav", np.zeros(16000), 16000)
    (tmp_path / "broken.wav").write_text("no sound")

    def clip(name, text="hello dog", speaker="a"):
        return Clip(name, tmp_path / f"{name}.wav", text, speaker)

    clips = [clip(name) for name in ("good", "short", "long", "stereo", "silent", "broken", "gone", "good")]
    clips += [Clip("empty", tmp_path / "good.wav", "", "a")]
    clips += [Clip("letters", tmp_path / "good.wav", "héllo €", "a"), Clip("who", tmp_path / "good.wav", "hi", "z")]
    clips += [clip("crowded", text="a very long text that nobody could say as quickly as that " * 5)]
    clips += [Problem("line 7", "unreadable row", "is no JSON")]
    settings = TrainingSettings(min_seconds=0.3, max_seconds=4.0)
    report = inspect_clips(clips, tokenizer, config, {"a": 1}, settings, tmp_path / "prepared")
    assert [example.id for example in report.examples] == ["good"]
    assert report.examples[0].speaker == 1
    assert {problem.id: problem.kind for problem in report.problems} == {
        "short": "too short",
        "long": "too long",
        "stereo": "unusable sound",
        "silent": "unusable sound",
        "broken": "unreadable file",
        "gone": "unreadable file",
        "good": "id that is there twice",
        "empty": "no text",
        "letters": "unknown characters",
        "who": "unknown speaker",
        "crowded": "more tokens than frames",
        "line 7": "unreadable row",
    }
    text = str(report)
    assert text.startswith("1 clips can be used, 0.0 minutes")
    assert "too short (1):\n  short: lasts 0.10 s, less than 0.3 s" in text
    assert "the vocabulary lacks" in text


def test_any_rate_becomes_the_voices_and_is_kept(tmp_path, voice):
    tokenizer, config = voice
    write(tmp_path / "a.wav", 1.0, rate=44100, channels=2)
    settings = TrainingSettings(mix_down=True)
    clips = [Clip("a", tmp_path / "a.wav", "hello", None)]
    (example,) = inspect_clips(clips, tokenizer, config, {}, settings, tmp_path / "prepared").examples
    assert example.samples == 16000
    assert example.frames == 16000 // config.hop_length
    written = example.file.stat().st_mtime_ns
    (again,) = inspect_clips(clips, tokenizer, config, {}, settings, tmp_path / "prepared").examples
    assert again == example
    assert again.file.stat().st_mtime_ns == written


def test_what_synthesize_writes_is_data(tmp_path):
    folder = save_small_voice(tmp_path / "voice")
    synthesize(["hello my dog", "a very good dog"], tmp_path / "data", model=folder)
    tokenizer, config = VitsTokenizer.from_pretrained(folder), VitsConfig.from_pretrained(folder)
    settings = TrainingSettings(trim_decibels=60)
    report = inspect_clips(read_clips(tmp_path / "data"), tokenizer, config, {}, settings, tmp_path / "prepared")
    assert sorted(example.text for example in report.examples) == ["a very good dog", "hello my dog"]
