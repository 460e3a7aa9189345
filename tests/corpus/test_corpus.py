"""Corpora: manifests in, audio and a manifest out, the same whatever the batches, and safe against being killed."""

import csv
import io
import json
import random
import signal
import sys
import time
import wave

import numpy
import pytest
import soundfile

import fastvits
from fastvits.cli import main
from fastvits.corpus import BadItem, Failure, item_seed, read_manifest
from fastvits.progress import ProgressLine, clock
from tests.corpus.forked import forked_runs
from tests.support.small_voices import save_small_voice

TEXTS = ["Hello", "My dog is cute. So is mine", "Two words", "A longer sentence comes last of all"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_small_voice(tmp_path_factory.mktemp("voice"))


@pytest.fixture(scope="module")
def say(folder):
    return fastvits.pipeline(model=folder, device="cpu")


@pytest.fixture(scope="module")
def speakers_folder(tmp_path_factory):
    return save_small_voice(tmp_path_factory.mktemp("speakers"), num_speakers=3, speaker_embedding_size=8)


def audio(path):
    with wave.open(str(path)) as file:
        return numpy.frombuffer(file.readframes(file.getnframes()), "<i2").astype(int)


def rows(output):
    return {row["id"]: row for row in map(json.loads, (output / "manifest.jsonl").read_text().splitlines())}


def items(count, start=0):
    return [{"id": f"item{number}", "text": TEXTS[number % 4]} for number in range(start, start + count)]


def test_each_item_is_what_the_pipeline_says(say, tmp_path):
    given = [*items(3), {"id": "own", "text": "Own seed", "seed": 5, "rate": 0.8}, "A plain text"]
    report = fastvits.synthesize(given, tmp_path, model=say, batch_size=3, sentence_silence=0.3)
    assert (report.done, report.skipped, report.failures) == (5, 0, [])
    written = rows(tmp_path)
    assert list(sorted(written)) == ["000005", "item0", "item1", "item2", "own"]
    assert written["own"]["seed"] == 5
    assert written["item1"]["seed"] == item_seed("item1")
    total = 0
    for row in written.values():
        options = {"seed": row["seed"], "speaking_rate": row["speaking_rate"], "sentence_silence": 0.3}
        expected = numpy.concatenate([one.audio_with_pause for one in say.sentences(row["text"], **options)])
        actual = audio(tmp_path / row["file"])
        assert row["samples"] == len(actual) == len(expected)
        assert row["seconds"] == pytest.approx(len(actual) / 16000, abs=1e-6)
        # A batch adds in another order, which moves a sample by no more than its last bit.
        assert numpy.abs(actual - expected * 32767.0).max() <= 1.5
        total += len(actual)
    assert report.audio_seconds == pytest.approx(total / 16000)
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".wav") == sorted(
        row["file"] for row in written.values()
    )


def test_the_audio_does_not_depend_on_batches_or_order(say, tmp_path):
    given = items(6)
    fastvits.synthesize(given, tmp_path / "a", model=say, batch_size=1)
    fastvits.synthesize(reversed(given), tmp_path / "b", model=say, batch_size=5)
    for name in rows(tmp_path / "a"):
        first, second = (audio(tmp_path / run / f"{name}.wav") for run in "ab")
        assert first.shape == second.shape
        assert numpy.abs(first - second).max() <= 1


def test_a_second_run_does_what_is_missing_or_changed(say, tmp_path):
    given = items(4)
    fastvits.synthesize(given, tmp_path, model=say)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.wav")}
    (tmp_path / "item1.wav").unlink()
    with open(tmp_path / "item2.wav", "r+b") as file:
        file.truncate(100)
    given[3]["text"] = "Another text"
    (tmp_path / ".partial-0123").write_bytes(b"left over")
    with open(tmp_path / "manifest.jsonl", "ab") as file:
        file.write(b'{"id": "item9", "file": "torn')
    report = fastvits.synthesize([*given, *items(1, 4)], tmp_path, model=say)
    assert (report.done, report.skipped) == (4, 1)
    written = (tmp_path / "manifest.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["id"] for line in written) == [f"item{number}" for number in range(5)]
    assert rows(tmp_path)["item3"]["text"] == "Another text"
    assert (tmp_path / "item0.wav").stat().st_mtime_ns == before["item0.wav"]
    assert not list(tmp_path.glob(".partial-*"))
    assert fastvits.synthesize(given, tmp_path, model=say).done == 0
    # Other settings make other audio.
    assert fastvits.synthesize(given, tmp_path, model=say, noise_scale=0.1).done == 4


def test_bad_rows_are_reported_and_the_rest_goes_on(say, tmp_path):
    given = [
        "Good",
        {"id": "a/b", "text": "Path"},
        {"id": "empty", "text": " "},
        {"text": 3},
        {"id": "rate", "text": "Rate", "rate": 0},
        {"id": "seed", "text": "Seed", "seed": "x"},
        {"id": "speaker", "text": "Speaker", "speaker": 4},
        {"id": "letters", "text": "\u6f22\u5b57"},
        7,
        Failure(10, None, "is no JSON"),
        {"id": "GOOD", "text": "Fine"},
        {"id": "good", "text": "Same name on some systems"},
        # Far too long: it spoils its batch, and the others do not suffer.
        {"id": "slow", "text": "Slow", "rate": 1e-9},
        {"id": "last", "text": "Last"},
        {"id": "half", "text": "Half a \ud800 pair"},
        {"id": "huge", "text": "Huge", "rate": 10**400},
    ]
    seen = []
    report = fastvits.synthesize(given, tmp_path, model=say, on_failure=seen.append)
    assert report.done == 3
    assert set(rows(tmp_path)) == {"000001", "GOOD", "last"}
    assert seen == report.failures
    messages = {failure.row: failure.message for failure in seen}
    assert sorted(messages) == [2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 15, 16]
    assert not (tmp_path / "half.wav").exists()
    for row, message in {
        2: "no file name",
        3: "text is empty",
        4: "text must be a string",
        5: "rate must be finite and > 0",
        6: "seed must be a whole number",
        7: "speaker 4 is out of range",
        8: "no character that this voice can say",
        9: "must be a text or a mapping",
        12: "stands in an earlier row",
        13: "max_frames",
        15: "text is not UTF-8",
        16: "rate must be a number",
    }.items():
        assert message in messages[row]
    assert str(seen[1]) == "row 3 (empty): text is empty"
    with pytest.raises(BadItem, match=r"row 2: .*no file name"):
        fastvits.synthesize(given, tmp_path / "strict", model=say, strict=True)


def test_timestamps_stand_in_the_manifest(say, tmp_path):
    text = "Hello dog. Two words"
    fastvits.synthesize([{"id": "a", "text": text, "seed": 3}], tmp_path, model=say, timestamps=True)
    row = rows(tmp_path)["a"]
    words = [span for span in row["timestamps"] if span["kind"] == "word"]
    assert [text[span["text_start"] : span["text_end"]] for span in words] == ["Hello", "dog.", "Two", "words"]
    assert all(0 <= span["start"] <= span["end"] <= row["seconds"] + 1e-6 for span in row["timestamps"])
    assert words[2]["start"] - words[1]["end"] >= 0.2  # the pause between the sentences


def test_speakers_by_number(speakers_folder, tmp_path):
    given = [{"id": str(number), "text": "Hello", "speaker": number, "seed": 1} for number in (0, 1)]
    given += [{"id": "default", "text": "Hello", "seed": 1}, {"id": "text", "text": "Hello", "seed": 1, "speaker": "1"}]
    fastvits.synthesize(given, tmp_path, model=speakers_folder, device="cpu", speaker=1)
    found = {name: audio(tmp_path / f"{name}.wav") for name in rows(tmp_path)}
    for name in ("default", "text"):
        assert found[name].shape == found["1"].shape
        assert numpy.abs(found[name] - found["1"]).max() <= 1
    assert found["0"].shape != found["1"].shape or numpy.abs(found["0"] - found["1"]).max() > 10
    report = fastvits.synthesize([{"text": "No speaker"}], tmp_path / "b", model=speakers_folder, device="cpu")
    assert "has no speaker" in report.failures[0].message


def test_manifests_in_every_form(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(
        b'\xef\xbb\xbf{"id": 7, "text": "One"}\n\n{broken\n["x"]\n{"text": "\xff"}\n{"text": "Two"}'
    )
    found = list(read_manifest(tmp_path / "a.jsonl"))
    assert found[0] == {"id": 7, "text": "One", "row": 1}
    assert [row.row for row in found[1:4]] == [3, 4, 5]
    assert "is no JSON" in found[1].message
    assert "must be a JSON object" in found[2].message
    assert found[3].message == "is not UTF-8"
    assert found[4] == {"text": "Two", "row": 6}
    text = io.StringIO()
    csv.writer(text, delimiter=";").writerows(
        [["ID", "text ", "note"], ["a", "One; two\nthree", "x"], ["b", "short"], []]
    )
    (tmp_path / "a.csv").write_text(text.getvalue(), newline="")
    found = list(read_manifest(tmp_path / "a.csv"))
    assert found[0] == {"id": "a", "text": "One; two\nthree", "note": "x", "row": 1}
    assert (found[1].row, found[1].message) == (2, "has 2 columns, but the header has 3")
    assert len(found) == 2
    (tmp_path / "a.tsv").write_text("text\tseed\nOne, two\t5\n")
    assert list(read_manifest(tmp_path / "a.tsv")) == [{"text": "One, two", "seed": "5", "row": 1}]
    stream = io.BytesIO(b"Eins\n\n  Zwei  \n")
    assert list(read_manifest(stream)) == [{"text": "Eins", "row": 1}, {"text": "Zwei", "row": 3}]
    (tmp_path / "b.csv").write_text("name,sentence\nx,y\n")
    with pytest.raises(ValueError, match="no column 'text'; its header names name, sentence"):
        list(read_manifest(tmp_path / "b.csv"))
    (tmp_path / "b.csv").write_text("text,id,text\nx,y,z\n")
    with pytest.raises(ValueError, match="the CSV has more than one column 'text'"):
        list(read_manifest(tmp_path / "b.csv"))
    long = "word " * 40_000  # longer than a field may be by default
    (tmp_path / "b.csv").write_text(f"text,id\n{long},y\n")
    assert list(read_manifest(tmp_path / "b.csv")) == [{"text": long, "id": "y", "row": 1}]
    (tmp_path / "b.jsonl").write_text("[" * 200_000 + '\n{"text": "Next"}\n')
    deep, following = read_manifest(tmp_path / "b.jsonl")
    assert isinstance(deep, Failure)
    assert following == {"text": "Next", "row": 2}
    with pytest.raises(ValueError, match="unknown manifest format"):
        list(read_manifest(tmp_path / "b.csv", "xml"))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"items": "a text"}, TypeError, "items must be an iterable"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"format": "mp3"}, ValueError, "format must be 'wav' or 'flac'"),
        ({"seed": -1}, ValueError, "seed"),
        ({"noise_scale": -1}, ValueError, "noise_scale"),
        ({"sentence_silence": -1}, ValueError, "sentence_silence"),
        ({"speaker": 4}, ValueError, "speaker 4 is out of range: allowed is 0 to 0"),
        ({"max_length": 1}, ValueError, "max_length"),
        ({"speed": 1}, TypeError, "speed"),
        ({"device": "cpu"}, TypeError, "device"),
    ],
)
def test_a_wrong_argument_is_refused(say, tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        fastvits.synthesize(**{"items": ["a"], "output_dir": tmp_path / "out", "model": say, **arguments})
    assert not (tmp_path / "out").exists()


def test_two_runs_do_not_write_to_one_folder(say, tmp_path):
    def more():
        yield "One"
        with pytest.raises(OSError, match="another run is writing"):
            fastvits.synthesize(["Two"], tmp_path, model=say)

    assert fastvits.synthesize(more(), tmp_path, model=say).done == 1


def test_the_command_as_a_user_would(folder, tmp_path, capsys):
    manifest = tmp_path / "texts.csv"
    manifest.write_text("id,text,rate\nfirst,Hello my dog,1.5\nsecond,Hello my dog,\nthird,\u6f22,\n")
    command = ["synthesize", str(manifest), "--output-dir", str(tmp_path / "out"), "--voice", str(folder)]
    assert main([*command, "--format", "flac"]) == 1
    shown = capsys.readouterr()
    assert shown.out.splitlines()[0].startswith("done:    2 (")
    assert shown.out.splitlines()[1:] == ["skipped: 0 (there already)", "failed:  1"]
    assert "fastvits: row 3 (third): text has no character that this voice can say\n" in shown.err
    assert "100% [########################] 3/3" in shown.err
    lengths = {row["id"]: row["samples"] for row in rows(tmp_path / "out").values()}
    assert lengths["first"] < lengths["second"]
    for name, length in lengths.items():
        assert len(soundfile.read(tmp_path / "out" / f"{name}.flac")[0]) == length
    manifest.write_text("id,text,rate\nfirst,Hello my dog,1.5\n")
    assert main([*command, "--format", "flac", "--quiet"]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines() == ["done:    0 (0:00 of audio in 0:00)", "skipped: 1 (there already)", "failed:  0"]
    assert shown.err == ""
    manifest.write_text("id,text\nfirst,\nsecond,Hello\n")
    assert main([*command, "--strict"]) == 1
    assert "fastvits: error: row 1 (first): text is empty\n" in capsys.readouterr().err
    manifest.write_text("")
    assert main(command) == 2
    capsys.readouterr()


def test_flac_without_its_package_is_one_line(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    (tmp_path / "a.txt").write_text("Hello\n")
    command = ["synthesize", str(tmp_path / "a.txt"), "--output-dir", str(tmp_path / "o"), "--voice", str(folder)]
    assert main([*command, "--format", "flac", "--quiet"]) == 1
    assert "install `fastvits[flac]`" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_killed_ten_times_at_random_every_item_is_there_once(folder, say, tmp_path):
    given = [{"id": f"item{n}", "text": "One two three. Four" if n % 3 else "Five six"} for n in range(132)]
    chance = random.Random(0)
    output = tmp_path / "out"
    killed = 0
    counts = []
    with forked_runs(folder) as runs:
        for _ in range(40):
            runs.start(given, output)
            if killed < 10:
                # Wait for some more files, and then for a moment that has nothing to do with them.
                target = len(list(output.glob("*.wav"))) + chance.randrange(4)
                deadline = time.monotonic() + 60
                while len(list(output.glob("*.wav"))) < target and time.monotonic() < deadline:
                    time.sleep(0.001)
                time.sleep(chance.random() * 0.05)
                runs.kill()
            status = runs.wait()
            killed += status == -signal.SIGKILL
            manifest = output / "manifest.jsonl"
            lines = manifest.read_bytes().split(b"\n") if manifest.exists() else [b""]
            complete = [json.loads(line) for line in lines[:-1]]
            counts.append(len(complete))
            for row in complete:  # whatever the manifest names is whole
                assert len(audio(output / row["file"])) == row["samples"]
            if status == 0:
                break
    assert killed == 10
    assert counts == sorted(counts)
    written = [json.loads(line) for line in (output / "manifest.jsonl").read_text().splitlines()]
    assert sorted(row["id"] for row in written) == sorted(f"item{number}" for number in range(132))
    assert {path.name for path in output.glob("*.wav")} == {row["file"] for row in written}
    assert not list(output.glob(".partial-*"))
    row = next(row for row in written if row["id"] == "item7")
    expected = numpy.concatenate([one.audio_with_pause for one in say.sentences(row["text"], seed=row["seed"])])
    assert numpy.abs(audio(output / row["file"]) - expected * 32767.0).max() <= 1.5


def test_the_progress_line():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    line = ProgressLine(10, terminal, width=10)
    line.begun -= 20
    line.update(5, 4, 100.0, 1)
    assert terminal.getvalue() == (
        "\r\x1b[K 50% [#####.....] 5/10, 1:40 of audio, real-time factor 0.200, 0:25 left, 1 failed"
    )
    line.message("row 3: no")
    assert terminal.getvalue().endswith("\r\x1b[Krow 3: no\n")
    log = io.StringIO()
    line = ProgressLine(None, log)
    line.update(1, 1, 0.0, 0)
    assert log.getvalue() == ""  # a log gets a line every ten seconds
    line.update(2, 2, 0.0, 0, last=True)
    assert log.getvalue() == "2 done, 0:00 of audio\n"
    assert [clock(seconds) for seconds in (0, 59.6, 3601)] == ["0:00", "1:00", "1:00:01"]
