"""The number of threads changes nothing that is heard."""

from collections.abc import Callable, Iterator, Sequence

import pytest
import torch

from fastvits import VitsModel, VitsModelOutput
from fastvits.models import pieces
from fastvits.runtime import workers
from fastvits.voices import voice_folder
from tests.support.models import CONFIGURATIONS, SMALL, own_model, random_ids, relative_rms
from tests.support.tolerances import MODEL_FLOAT32, REAL_VOICE_FLOAT32

FRAMES = 3
"""Of each token: with fewer, too little is left to cut into pieces for four threads."""


@pytest.fixture(scope="module", params=["bundled voice", "other blocks"])
def model(request: pytest.FixtureRequest) -> VitsModel:
    if request.param == "bundled voice":
        loaded = VitsModel.from_pretrained(voice_folder())
        assert isinstance(loaded, VitsModel)
        return loaded
    return own_model(SMALL)


@pytest.fixture(autouse=True)
def unwatched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine that is found as busy as it was found last, and where pieces pay, whatever it is; with its threads when
    all is over."""
    monkeypatch.setattr(workers, "_threads_pay", lambda dtype: True)
    monkeypatch.setattr(workers, "BUSY", -1.0)
    monkeypatch.setattr(workers, "QUIET", 1e9)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=["quiet", "busy"])
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_busy", request.param == "busy")


quiet_and_busy = pytest.mark.usefixtures("machine")


def tolerance(model: VitsModel) -> float:
    return REAL_VOICE_FLOAT32 if model.config.hidden_size == 192 else MODEL_FLOAT32


def speak(model: VitsModel, number: int, batch: int) -> VitsModelOutput:
    torch.set_num_threads(number)
    ids, mask = random_ids(3, 50), torch.ones(3, 50, dtype=torch.long)
    mask[1, 30:] = 0
    mask[2, 9:] = 0
    durations = FRAMES * mask
    with torch.inference_mode():
        output = model(ids[:batch], mask[:batch], seed=[1, 2, 3][:batch], durations=durations[:batch])
    assert isinstance(output, VitsModelOutput)
    return output


@quiet_and_busy
@pytest.mark.parametrize("batch", [1, 3])
def test_samples_are_the_same_with_any_number(model: VitsModel, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    helped: list[int] = []
    real = pieces.spread

    def counted(jobs: Sequence[Callable[[], None]]) -> None:
        if workers.workers() > 1:
            helped.append(len(jobs))
        real(jobs)

    monkeypatch.setattr(pieces, "spread", counted)
    one = speak(model, 1, batch)
    assert not helped
    for number in (2, 4):
        several, again = speak(model, number, batch), speak(model, number, batch)
        assert helped
        helped.clear()
        assert torch.equal(several.waveform, again.waveform)
        assert torch.equal(several.sequence_lengths, one.sequence_lengths)
        for item, length in enumerate(one.sequence_lengths.tolist()):
            assert relative_rms(several.waveform[item, :length], one.waveform[item, :length]) < tolerance(model)
            assert not several.waveform[item, length:].any()


@pytest.mark.parametrize("batch", [1, 3])
def test_nothing_is_cut_for_threads_where_that_does_not_pay(
    model: VitsModel, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = speak(model, 2, batch)
    monkeypatch.setattr(workers, "_threads_pay", lambda dtype: False)
    monkeypatch.setattr(pieces, "spread", lambda jobs: pytest.fail(f"{len(jobs)} jobs for threads"))
    whole, again = speak(model, 2, batch), speak(model, 2, batch)
    assert torch.equal(whole.waveform, again.waveform)
    assert torch.equal(whole.sequence_lengths, cut.sequence_lengths)
    for item, length in enumerate(whole.sequence_lengths.tolist()):
        assert relative_rms(whole.waveform[item, :length], cut.waveform[item, :length]) < tolerance(model)


@quiet_and_busy
def test_predicted_lengths_do_not_depend_on_it(model: VitsModel) -> None:
    ids = random_ids(1, 60)
    found = []
    for number in (1, 2, 4):
        torch.set_num_threads(number)
        with torch.no_grad():
            found.append(model(ids, seed=5).durations)
    assert all(torch.equal(durations, found[0]) for durations in found)


@quiet_and_busy
@pytest.mark.parametrize("number", [2, 4])
def test_items_and_streams_are_the_plain_call(model: VitsModel, number: int) -> None:
    batch = speak(model, number, 3)
    alone = speak(model, number, 1)
    length = int(alone.sequence_lengths[0])
    assert relative_rms(batch.waveform[0, :length], alone.waveform[0]) < tolerance(model)
    ids, durations = random_ids(3, 50)[:1], torch.full((1, 50), FRAMES)
    pieces = list(model.stream(ids, seed=1, durations=durations, chunk_frames=15 * FRAMES))
    assert relative_rms(torch.cat(pieces, 1), alone.waveform) < tolerance(model)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_busy_machine_hears_the_same_bits(model: VitsModel, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for number in range(4):
        monkeypatch.setattr(workers, "_busy", number % 2 == 0)
        found.append(speak(model, 2, batch).waveform)
    assert all(torch.equal(one, found[0]) for one in found)


@quiet_and_busy
@pytest.mark.parametrize("reverse", [True, False])
@pytest.mark.parametrize("share", [None, 0.9, 0.1], ids=["unpadded", "padded in one", "all padding but one"])
@pytest.mark.parametrize("configuration", ["small", "wavenet-dilation-3"])
def test_the_flow_in_pieces_is_the_whole(
    configuration: str, share: float | None, reverse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is cut off behind each coupling."""
    whole = own_model(CONFIGURATIONS[configuration]).flow
    jobs: list[int] = []
    real = pieces.spread

    def counted(given: Sequence[Callable[[], None]]) -> None:
        jobs.append(len(given))
        real(given)

    monkeypatch.setattr(pieces, "spread", counted)
    frames = 13 * whole.reach
    x = torch.randn(1, frames, SMALL["flow_size"], generator=torch.Generator().manual_seed(0))
    lengths = None if share is None else torch.tensor([int(share * frames)])
    found = []
    for number in (1, 2, 4):
        torch.set_num_threads(number)
        with torch.inference_mode():
            found.append(whole.transform(x, lengths, reverse=reverse))
    assert jobs == [2, 4]
    assert all(relative_rms(one, found[0]) < MODEL_FLOAT32 for one in found)


@pytest.mark.parametrize("number", [1, 2])
def test_a_model_without_a_flow_speaks_with_any_number(number: int) -> None:
    torch.set_num_threads(number)
    model = own_model(SMALL | {"prior_encoder_num_flows": 0})
    with torch.inference_mode():
        output = model(random_ids(1, 50), seed=1, durations=torch.full((1, 50), FRAMES))
    assert isinstance(output, VitsModelOutput)
    assert output.spectrogram is not None
    assert output.spectrogram.shape == (1, SMALL["flow_size"], 50 * FRAMES)
    assert output.waveform.std() > 0
