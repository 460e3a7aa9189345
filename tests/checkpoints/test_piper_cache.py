"""The cache of converted Piper voices."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fastvits import VitsConfig, VitsModel
from fastvits.checkpoints.piper import convert
from fastvits.voices import folders as voices
from tests.checkpoints.piper_exports import add_tensor, changed_copy


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FASTVITS_CACHE", os.fspath(tmp_path / "cache"))
    return tmp_path / "cache" / "voices"


def test_a_voice_is_converted_once(cache: Path, small_voice: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = voices.voice_folder(os.fspath(small_voice))
    assert isinstance(folder, Path)
    assert [folder] == list(cache.iterdir())
    assert VitsModel.from_pretrained(folder).config.vocab_size == 40
    monkeypatch.setattr("fastvits.checkpoints.piper.convert", None)
    assert voices.voice_folder(small_voice) == folder
    monkeypatch.setattr("fastvits.checkpoints.piper.CONVERTER_VERSION", -1)
    with pytest.raises(TypeError):
        voices.voice_folder(small_voice)


def test_a_changed_voice_is_another_voice(cache: Path, small_voice: Path, tmp_path: Path) -> None:
    quick = changed_copy(small_voice, tmp_path, lambda graph: None, inference={"length_scale": 0.5})
    first, second = voices.voice_folder(small_voice), voices.voice_folder(quick)
    assert first != second
    assert VitsConfig.from_pretrained(second).speaking_rate == 2.0


def test_a_failed_conversion_leaves_nothing(cache: Path, small_voice: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no place"):
        voices.voice_folder(changed_copy(small_voice, tmp_path, add_tensor("dec.extra.weight", 3)))
    assert list(cache.iterdir()) == []


def test_two_processes_share_the_cache(cache: Path, small_voice: Path) -> None:
    code = (
        "import sys, types; package = types.ModuleType('fastvits'); package.__path__ = ['fastvits'];"
        "sys.modules['fastvits'] = package; import fastvits.checkpoints.piper, onnx; from fastvits import voices;"
        "sys.stdout.write('.'); sys.stdout.flush(); sys.stdin.read(1); print(voices.voice_folder(sys.argv[1]))"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, os.fspath(small_voice)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.read(1) == "."
    answers = []
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        answers.append(process.communicate(timeout=60)[0].strip())
        assert process.returncode == 0
    assert len(set(answers)) == 1
    assert [os.fspath(folder) for folder in cache.iterdir()] == answers[:1]


def test_the_losing_process_takes_the_folder_that_is_there(
    cache: Path, small_voice: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert_and_be_late(path: Path, folder: Path) -> Path:
        convert(path, folder)
        shutil.copytree(folder, folder.parent / f"{path.stem}-{voices._key(path)}")
        return folder

    monkeypatch.setattr("fastvits.checkpoints.piper.convert", convert_and_be_late)
    folder = voices.voice_folder(small_voice)
    assert list(cache.iterdir()) == [folder]


def test_other_names_of_a_voice(cache: Path, joe: Path, tmp_path: Path) -> None:
    assert voices.voice_folder(joe) == joe
    assert voices.voice_folder("facebook/mms-tts-eng") == "facebook/mms-tts-eng"
    assert "en_US-joe-medium" in os.fspath(voices.voice_folder())
    for missing in ("./nowhere", "/nowhere/at/all", tmp_path / "nowhere", "some/where/else", "nowhere.onnx", ""):
        with pytest.raises(FileNotFoundError, match="there is no voice"):
            voices.voice_folder(missing)
    file = tmp_path / "notes.txt"
    file.touch()
    with pytest.raises(ValueError, match="is a file, but no voice"):
        voices.voice_folder(file)


def test_a_cache_that_cannot_be_written_is_named(
    small_voice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FASTVITS_CACHE", os.fspath(tmp_path / "file"))
    with pytest.raises(OSError, match="set FASTVITS_CACHE to a folder that can be written to"):
        voices.voice_folder(small_voice)


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [
        ("linux", "XDG_CACHE_HOME", "{home}/fastvits"),
        ("linux", None, "{home}/.cache/fastvits"),
        ("darwin", None, "{home}/Library/Caches/fastvits"),
        ("win32", "LOCALAPPDATA", "{home}/fastvits"),
        ("win32", None, "{home}/AppData/Local/fastvits"),
    ],
)
def test_the_cache_lies_where_the_platform_wants_it(
    platform: str, variable: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FASTVITS_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", os.fspath(tmp_path))
    monkeypatch.setattr(sys, "platform", platform)
    if variable is not None:
        monkeypatch.setenv(variable, os.fspath(tmp_path))
    assert voices.cache_folder() == Path(expected.format(home=tmp_path))
