"""Very short texts of the bundled voice: no click at either end, no last sound cut off, no clipping."""

import numpy as np
import pytest

import fastvits
from tests.support.tolerances import EDGE_SAMPLE, LOUDEST_PEAK, QUIET_END, QUIET_START

TEXTS = [
    "Yes",
    "No.",
    "A.",
    "I",
    "Hi!",
    "Stop",
    "Up",
    "Kick.",
    "Left",
    "Fish",
    "Buzz!",
    "Watch",
    "Milk",
    "Breathe.",
    "Rich",
    "Ten",
]


@pytest.fixture(scope="module")
def speaker():
    return fastvits.Speaker(device="cpu")


@pytest.mark.parametrize("seed", [0, 5])
def test_short_texts_begin_and_end_in_silence(speaker, seed):
    millisecond = speaker.sampling_rate // 1000
    for text, speech in zip(TEXTS, speaker.synthesize(TEXTS, seed=seed), strict=True):
        audio = np.abs(speech.audio)
        assert audio[0] <= EDGE_SAMPLE, text
        assert audio[-1] <= EDGE_SAMPLE, text
        assert audio[: 5 * millisecond].max() <= QUIET_START, text
        assert np.sqrt(np.square(audio[-30 * millisecond :]).mean()) <= QUIET_END, text
        assert QUIET_START < audio.max() <= LOUDEST_PEAK, text


def test_joins_have_no_step(speaker):
    """Where sentences and silence meet, no sample leaps further than the neighbours' own."""
    pieces = [one.audio_with_pause for one in speaker.sentences("Yes. No! Kick. Buzz.", seed=3, sentence_silence=0.25)]
    assert all(len(piece) > round(0.25 * speaker.sampling_rate) for piece in pieces[:-1])
    whole = np.concatenate(pieces)
    leaps = np.abs(np.diff(whole))
    position = 0
    for piece in pieces[:-1]:
        position += len(piece)
        for join in (position - round(0.25 * speaker.sampling_rate), position):
            assert leaps[join - 1] <= EDGE_SAMPLE
