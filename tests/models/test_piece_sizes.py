"""Where streams are cut, and that it is not heard."""

import math

import pytest
import torch

from fastvits.models.streaming import PieceSizes, decoded, next_windows
from fastvits.speech.speaker import Speaker
from tests.support.models import relative_rms
from tests.support.small_voices import save_small_voice
from tests.support.tolerances import MODEL_FLOAT32

SHARED = PieceSizes(chunk=100, first=16, shared=60, first_flow=64, flow=128)


def cut(sizes: PieceSizes, count: int) -> list[int]:
    """The frames of all pieces of `count`."""
    pieces = [0]
    while sum(pieces) < count:
        pieces.append(sizes.of(sum(pieces), count))
    return pieces[1:]


@pytest.mark.parametrize(
    ("sizes", "count", "pieces"),
    [
        (PieceSizes(100, 16), 10, [10]),
        (PieceSizes(100, 16), 250, [16, 100, 100, 34]),
        (SHARED, 24, [24]),
        (SHARED, 25, [16, 9]),
        (SHARED, 75, [16, 59]),
        (SHARED, 76, [16, 30, 30]),
        (SHARED, 216, [16, 100, 100]),
        (SHARED, 217, [16, 67, 67, 67]),
    ],
)
def test_pieces_are_alike(sizes: PieceSizes, count: int, pieces: list[int]) -> None:
    assert cut(sizes, count) == pieces


@pytest.mark.parametrize("count", range(1, 600, 7))
def test_no_piece_is_longer_than_it_may_be(count: int) -> None:
    pieces = cut(SHARED, count)
    assert sum(pieces) == count
    assert max(pieces) <= 100
    assert len(pieces) == 1 or min(pieces) >= 9


@pytest.mark.parametrize(
    ("start", "first", "last", "count", "made"),
    [
        (0, 0, 40, 300, 64),  # as far as it should
        (0, 0, 90, 300, 90),  # as far as it has to
        (0, 0, 40, 79, 79),  # to the end, rather than to leave 15 frames
        (0, 0, 40, 80, 64),
        (16, 50, 100, 300, 178),
        (16, 50, 300, 300, 300),
    ],
)
def test_the_flow_goes_ahead(start: int, first: int, last: int, count: int, made: int) -> None:
    assert SHARED.made(start, first, last, count) == made


@pytest.mark.parametrize("sizes", [SHARED, PieceSizes(40, 5), PieceSizes(50, 7, 1, 1, 90), PieceSizes(10**6, 10**6)])
def test_cuts_are_not_heard(sizes: PieceSizes, tmp_path_factory: pytest.TempPathFactory) -> None:
    speaker = Speaker(save_small_voice(tmp_path_factory.mktemp("voice")), device="cpu")
    encoding, options = speaker.encode("hello my dog is cute"), {"seed": 3, "speaking_rate": 0.2}
    (whole,) = speaker.synthesize([encoding], **options)
    (stream,) = speaker.begin_together([encoding], [options], sizes=sizes)
    pieces = stream._pieces
    assert pieces is not None
    made, hop = [], math.prod(speaker.model.config.upsample_rates)
    while most := pieces.frames:
        (window,) = next_windows([pieces])
        (piece,) = decoded([window])
        assert piece.shape[1] == window.samples <= most * hop
        made.append(piece)
    audio = torch.cat(made, 1)[0]
    assert relative_rms(audio, torch.from_numpy(whole.audio)) <= MODEL_FLOAT32
