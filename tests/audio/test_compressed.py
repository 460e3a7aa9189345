"""MP3, Opus, AAC and FLAC: decoded by others, they are what went in, sample for sample in length."""

import io
import os
import sys
import threading

import av
import numpy as np
import pytest
import soundfile

from fastvits.audio.compressed import CompressedWriter
from fastvits.audio.files import AudioWriter, audio_format, write_audio
from tests.support.tolerances import COMPRESSED_AUDIO

RATE = 22050
SECONDS = np.arange(int(RATE * 1.31)) / RATE
TONE = (0.4 * np.sin(2 * np.pi * 300 * SECONDS * (1 + 0.3 * SECONDS)) * np.hanning(len(SECONDS))).astype(np.float32)


def relative(actual, expected):
    return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("suffix", ["mp3", "ogg", "opus"])
def test_what_is_written_is_read_by_another_library(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    write_audio(path, TONE, RATE, audio_format(path))
    audio, rate = soundfile.read(path, dtype="float32")
    assert rate == (RATE if suffix == "mp3" else 24000)
    assert len(audio) == pytest.approx(len(TONE) * rate / RATE, abs=2)
    expected = np.interp(np.arange(len(audio)) * RATE / rate, np.arange(len(TONE)), TONE)
    gain = audio @ expected / (expected @ expected)  # LAME turns what it encodes down a little
    assert 0.9 < gain < 1.1
    assert relative(audio / gain, expected) <= COMPRESSED_AUDIO[suffix]
    assert path.stat().st_size < 2 * len(TONE) / 2


@pytest.mark.parametrize("format", ["mp3", "ogg", "aac", "flac"])
def test_pieces_go_into_a_pipe_as_they_come(format):
    read, write = os.pipe()
    received = []

    def receive():
        with open(read, "rb") as file:
            received.append(file.read())

    reader = threading.Thread(target=receive)
    reader.start()
    with open(write, "wb") as file, CompressedWriter(file, RATE, format) as writer:
        for start in range(0, len(TONE), 1001):
            writer.write(TONE[start : start + 1001])
        writer.write(TONE[:0])
        assert writer.samples == len(TONE)
    reader.join()
    with av.open(io.BytesIO(received[0])) as container:
        frames = list(container.decode(audio=0))
    seconds = sum(frame.samples / frame.sample_rate for frame in frames)
    # A stream of AAC, and one of MP3 that nobody can go back in, says nothing of the encoder's delay.
    assert len(TONE) / RATE - 0.03 <= seconds <= len(TONE) / RATE + (0.2 if format in ("aac", "mp3") else 0.03)


def test_nothing_at_all_can_be_written(tmp_path):
    write_audio(tmp_path / "a.mp3", TONE[:0], RATE, "mp3")


def test_formats_by_name():
    names = ["a.wav", "a.FLAC", "a.raw", "a.pcm", "a.mp3", "a.ogg", "a.opus", "a.aac", "-", "/dev/stdout"]
    expected = ["wav", "flac", "raw", "raw", "mp3", "ogg", "opus", "aac", "wav", "wav"]
    assert [audio_format(name) for name in names] == expected
    for name in ("a.m4a", "a.txt", "a.wma"):
        with pytest.raises(ValueError, match=rf"files that end with \.wav, .*\.aac, not to {name}"):
            audio_format(name)


def test_without_the_package_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with open(tmp_path / "a.mp3", "wb") as file, pytest.raises(ImportError, match=r"install `fastvits\[audio\]`"):
        AudioWriter(file, RATE, "mp3")
