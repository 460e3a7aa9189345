"""Recordings are read as other readers read them, brought to one channel and one rate, and cut as asked."""

import struct
import wave

import numpy as np
import pytest
import soundfile

from fastvits.audio.reading import audio_info, mixed_down, read_audio, resampled, trimmed
from tests.support.tolerances import RESAMPLED_SINE


def tone(seconds, rate, hertz=440.0):
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize("kind", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT"])
@pytest.mark.parametrize("channels", [1, 2])
def test_wav_files_of_all_widths_are_read_as_soundfile_reads_them(tmp_path, kind, channels):
    samples = np.stack([tone(0.1, 8000), tone(0.1, 8000, 300)][:channels])
    soundfile.write(tmp_path / "a.wav", samples.T, 8000, subtype=kind)
    read, rate = read_audio(tmp_path / "a.wav")
    expected, _ = soundfile.read(tmp_path / "a.wav", dtype="float32", always_2d=True)
    assert rate == 8000
    np.testing.assert_array_equal(read, expected.T)
    assert audio_info(tmp_path / "a.wav") == (800, 8000, channels)


def test_flac_is_read(tmp_path):
    soundfile.write(tmp_path / "a.flac", tone(0.1, 8000), 8000)
    read, _ = read_audio(tmp_path / "a.flac")
    assert read.shape == (1, 800)
    assert audio_info(tmp_path / "a.flac").seconds == pytest.approx(0.1)


def test_files_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "text.wav").write_text("no audio")
    with pytest.raises(OSError, match=r"text\.wav cannot be read as audio"):
        read_audio(tmp_path / "text.wav")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        audio_info(tmp_path / "none.wav")
    with wave.open(str(tmp_path / "cut.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(struct.pack("<100h", *range(100)))
    content = (tmp_path / "cut.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(content[:-50])
    with pytest.raises(OSError, match="cut off: it holds 150 of 200 bytes"):
        read_audio(tmp_path / "cut.wav")


def test_stereo_is_refused_or_mixed_down_as_asked():
    stereo = np.stack([np.ones(4, np.float32), np.zeros(4, np.float32)])
    with pytest.raises(ValueError, match="2 channels"):
        mixed_down(stereo, mix=False)
    np.testing.assert_array_equal(mixed_down(stereo, mix=True), np.full(4, 0.5, np.float32))
    np.testing.assert_array_equal(mixed_down(stereo[:1], mix=False), np.ones(4, np.float32))


@pytest.mark.parametrize(("old", "new"), [(8000, 22050), (44100, 16000)])
def test_a_tone_is_the_same_tone_at_another_rate(old, new):
    made = resampled(tone(0.5, old), old, new)
    expected = tone(0.5, new)
    assert abs(len(made) - len(expected)) <= 1
    inner = slice(len(expected) // 4, 3 * len(expected) // 4)
    assert np.abs(made[inner] - expected[inner]).max() <= RESAMPLED_SINE


def test_silence_is_cut_off_the_ends_but_for_a_margin():
    sound = np.concatenate([np.zeros(4000), tone(0.5, 8000), np.zeros(8000)]).astype(np.float32)
    cut = trimmed(sound, 8000, 40, margin_seconds=0.05)
    assert 4000 + 2 * 400 <= len(cut) <= 4000 + 2 * 400 + 2 * 200
    np.testing.assert_array_equal(trimmed(np.zeros(100, np.float32), 8000, 40), np.zeros(100))
