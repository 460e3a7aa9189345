"""Two voices in one process, ten threads: noise of their own, nobody else's sound, and no file from before."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastvits
from tests.support.small_voices import save_small_voice
from tests.support.tolerances import PIPELINE_PARITY_FLOAT32

TEXT = "and so it was, once more"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("two voices")
    return [save_small_voice(root / str(seed), seed=seed) for seed in (1, 2)]


@pytest.fixture(scope="module")
def speakers(folders):
    return [fastvits.Speaker(folder, device="cpu") for folder in folders]


def relative_rms(actual, expected):
    assert actual.shape == expected.shape
    return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


def say(job):
    speaker, text, seed = job
    (speech,) = speaker.synthesize([text], seed=seed)
    return speech.audio


def test_two_of_one_voice_have_noise_of_their_own(folders):
    first, second = (fastvits.Speaker(folders[0], device="cpu") for _ in range(2))
    sounds = [say((speaker, TEXT, None)) for speaker in (first, second, first, second)]
    for number, sound in enumerate(sounds):
        for other in sounds[:number]:
            assert sound.shape != other.shape or not np.array_equal(sound, other)
    assert np.array_equal(say((first, TEXT, 5)), say((second, TEXT, 5)))


def test_threads_of_two_voices_hear_their_own(speakers):
    jobs = [
        (speakers[number % 2], f"{TEXT} {['one', 'two', 'three', 'four', 'five'][number // 2]}", number)
        for number in range(10)
    ]
    alone = [say(job) for job in jobs]
    assert relative_rms(say((speakers[0], TEXT, 0))[:500], say((speakers[1], TEXT, 0))[:500]) > 0.01
    with ThreadPoolExecutor(10) as pool:
        together = list(pool.map(say, jobs * 2))
    for sound, expected in zip(together, alone * 2, strict=True):
        assert relative_rms(sound, expected) <= PIPELINE_PARITY_FLOAT32
    with ThreadPoolExecutor(10) as pool:
        unseeded = list(pool.map(say, [(speakers[number % 2], TEXT, None) for number in range(10)]))
    for number, sound in enumerate(unseeded):
        assert not any(np.array_equal(sound, other) for other in unseeded[:number])


def test_a_replaced_voice_is_heard_at_once(folders, speakers, tmp_path):
    folder = tmp_path / "voice"
    folder.mkdir()
    for source, speaker in zip(folders, speakers, strict=True):
        for file in source.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        assert np.array_equal(say((fastvits.Speaker(folder, device="cpu"), TEXT, 3)), say((speaker, TEXT, 3)))
