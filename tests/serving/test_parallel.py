"""Several threads at one text: its listener hears everything once and in order, and nobody waits for it longer."""

import asyncio
import threading
import time

import numpy as np
import pytest
import torch

from fastvits import Speaker
from fastvits.serving.engine import Engine
from fastvits.serving.scheduler import TooLate
from fastvits.serving.steps import SIZES, spoken_samples
from fastvits.serving.utterances import MAX_AHEAD, CallItem, Deferred
from fastvits.serving.voices import VoiceStore
from tests.serving.test_scheduler import RATE, Heard, hold
from tests.support.small_voices import save_small_voice


class Pieces:
    """Texts whose pieces, a second of sound each, are computed when they are let: all at once, or one by one."""

    def __init__(self, free=True):
        self.gates, self.free, self.begun, self.at_once, self.most = {}, free, [], 0, 0
        self._lock = threading.Lock()

    def gate(self, name):
        with self._lock:
            return self.gates.setdefault(name, threading.Event())

    def compute(self, given):
        with self._lock:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            self.begun += given
        for name in given:
            assert self.free or self.gate(name).wait(20)
        with self._lock:
            self.at_once -= 1
        if any("bad" in name for name in given):
            raise ValueError("no such letter")
        return [np.full(RATE, int(name[-1]), np.float32) for name in given]

    def text(self, name, pieces=9, bad=None):
        for number in range(pieces):
            given = f"{name}{'bad' if number == bad else ''}{number % 10}"
            yield Deferred(CallItem("piece", "piece", self, self.compute, given), RATE)

    def wait(self, count):
        """What has been begun, once it is so much and nothing more comes."""
        deadline = time.monotonic() + 20
        while len(self.begun) < count and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.05)
        return list(self.begun)


def numbers(heard):
    return [int(step[0]) for step in heard.steps]


@pytest.mark.parametrize(("workers", "batch"), [(1, 1), (2, 1), (4, 1), (1, 3), (2, 4)])
def test_one_text_has_as_many_pieces_computed_as_there_are_threads(scheduler, workers, batch):
    one, model, heard = scheduler(workers, batch=batch), Pieces(free=False), Heard()
    one.submit(model.text("a"), heard, RATE)
    most = min(workers, max(workers, batch))
    begun = model.wait(most)
    assert len(begun) >= most
    assert len(begun) <= max(workers, batch)
    model.free = True
    for name in begun:
        model.gate(name).set()
    assert heard.wait().error is None
    assert numbers(heard) == list(range(9))
    assert model.most <= workers


def test_a_piece_that_is_computed_early_waits_for_those_before_it(scheduler):
    one, model, heard = scheduler(2), Pieces(free=False), Heard()
    one.submit(model.text("a", 3), heard, RATE)
    assert sorted(model.wait(2)) == ["a0", "a1"]
    model.gate("a1").set()
    assert sorted(model.wait(2)) == ["a0", "a1"]  # no third one is on its way to the listener
    assert heard.steps == []
    model.gate("a0").set()
    model.gate("a2").set()
    assert heard.wait().error is None
    assert numbers(heard) == [0, 1, 2]


def test_the_listener_is_never_called_twice_at_once(scheduler):
    one, model, heard, inside = scheduler(4), Pieces(), Heard(), []

    def listen(step, error):
        inside.append(1)
        assert len(inside) == 1
        time.sleep(0.002)
        inside.pop()
        heard(step, error)

    one.submit(model.text("a", 40), listen, RATE)
    model.wait(int(MAX_AHEAD))  # as far ahead as it may be
    deadline = time.monotonic() + 20
    while len(heard.steps) < MAX_AHEAD and time.monotonic() < deadline:
        time.sleep(0.001)
    assert len(heard.steps) == MAX_AHEAD
    assert not inside


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_a_slow_listener_has_bounded_sound_before_it_what_is_being_computed_included(scheduler, workers):
    one, model, heard = scheduler(workers), Pieces(), Heard()
    utterance = one.submit(model.text("a", 100), heard, RATE)
    assert len(model.wait(int(MAX_AHEAD))) == MAX_AHEAD
    utterance.taken(5 * RATE)
    assert len(model.wait(int(MAX_AHEAD) + 5)) == MAX_AHEAD + 5
    for _ in range(100):
        utterance.taken(RATE)
    assert heard.wait().error is None
    assert numbers(heard) == [number % 10 for number in range(100)]


def test_cancelling_with_two_pieces_on_their_way_ends_the_text_with_them(scheduler):
    closed, ended = threading.Event(), []
    one = scheduler(2, watch=lambda utterance, error: ended.append((utterance.cancelled, error)))
    model, heard = Pieces(free=False), Heard()

    def steps():
        try:
            yield from model.text("a")
        finally:
            closed.set()

    utterance = one.submit(steps(), heard, RATE)
    assert len(model.wait(2)) == 2
    utterance.cancel()
    assert not closed.is_set()
    model.gate("a1").set()
    assert not closed.wait(0.05)
    model.gate("a0").set()
    assert closed.wait(20)
    assert one.drain(20)
    assert heard.steps == []
    assert not heard.over.is_set()
    assert sorted(model.begun) == ["a0", "a1"]
    assert ended == [(True, None)]


@pytest.mark.parametrize("first", ["good", "bad"])
def test_a_fault_in_the_second_of_two_pieces_is_told_behind_the_first(scheduler, first):
    one, model, heard = scheduler(2), Pieces(free=False), Heard()
    one.submit(model.text("a", bad=1), heard, RATE)
    assert sorted(model.wait(2)) == ["a0", "abad1"]
    order = ["a0", "abad1"] if first == "good" else ["abad1", "a0"]
    model.gate(order[0]).set()
    time.sleep(0.05)
    assert not (first == "bad" and heard.over.is_set())
    model.free = True
    for name in ("a0", "abad1", "a2"):
        model.gate(name).set()
    assert str(heard.wait().error) == "no such letter"
    assert numbers(heard) == [0]
    assert one.drain(20)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_a_fault_of_the_steps_comes_behind_what_they_had_computed_before(scheduler, workers):
    def steps():
        yield from model.text("a", 3)
        raise ValueError("no such word")

    one, model, heard = scheduler(workers), Pieces(), Heard()
    one.submit(steps(), heard, RATE)
    assert str(heard.wait().error) == "no such word"
    assert numbers(heard) == [0, 1, 2]


def test_a_deadline_passes_while_pieces_are_on_their_way(scheduler):
    one, model, heard = scheduler(3), Pieces(free=False), Heard()
    one.submit(model.text("a", 2), heard, RATE, timeout=0.1)
    assert len(model.wait(2)) == 2
    time.sleep(0.1)
    model.gate("a0").set()
    model.gate("a1").set()
    assert isinstance(heard.wait().error, TooLate)
    assert heard.steps == []
    assert one.drain(20)


def test_somebodys_first_piece_goes_before_further_ones_of_who_is_ahead(scheduler):
    one, model = scheduler(), Pieces()
    gate, heard = hold(one), {name: Heard() for name in "abc"}
    for name, listener in heard.items():
        one.submit(model.text(name, 3), listener, RATE)
    gate.set()
    for listener in heard.values():
        assert listener.wait().error is None
    assert model.begun[:3] == ["a0", "b0", "c0"]


def test_pieces_of_one_text_may_share_a_call(scheduler):
    sizes = []
    one = scheduler(batch=4, calls=1, watch_call=lambda first, item, size, *rest: sizes.append(size))
    model, heard = Pieces(), Heard()
    one.submit(model.text("a", 8), heard, RATE)
    assert heard.wait().error is None
    assert numbers(heard) == list(range(8))
    assert max(sizes) == 4


def test_draining_waits_for_pieces_on_their_way(scheduler):
    one, model, heard = scheduler(2), Pieces(free=False), Heard()
    one.submit(model.text("a", 4), heard, RATE)
    assert len(model.wait(2)) == 2
    assert not one.drain(0.01)
    model.free = True
    for name in list(model.begun):
        model.gate(name).set()
    assert one.drain(20)
    assert numbers(heard) == [0, 1, 2, 3]


def test_closing_with_pieces_on_their_way_ends_the_threads(scheduler):
    one, model, heard = scheduler(2), Pieces(free=False), Heard()
    one.submit(model.text("a"), heard, RATE)
    assert len(model.wait(2)) == 2
    closing = threading.Thread(target=one.close)
    closing.start()
    for name in list(model.begun):
        model.gate(name).set()
    closing.join(20)
    assert not closing.is_alive()
    assert len(one) == 0
    assert heard.steps == []


def test_many_texts_with_many_threads_come_whole(scheduler):
    one, model, heard = scheduler(4), Pieces(), [Heard() for _ in range(20)]
    for listener in heard:
        one.submit(model.text("a", 9), listener, RATE)
    for listener in heard:
        assert listener.wait().error is None
        assert numbers(listener) == list(range(9))


REQUESTS = [
    ("hello my dog is cute. it is quick, and it jumps.", {"seed": 1, "speaking_rate": 0.1}),
    ("six", {"seed": 2, "speaking_rate": 0.5}),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(save_small_voice(tmp_path_factory.mktemp("voice")))


@pytest.fixture(scope="module")
def expected(folder):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    speaker = Speaker(folder)
    said = [spoken_samples(speaker, text, **options) for text, options in REQUESTS]
    torch.set_num_threads(before)
    assert len(said[0]) > 4 * SIZES.chunk * np.prod(speaker.model.config.upsample_rates)
    return said


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_samples_are_bit_for_bit_the_same_alone_and_in_a_crowd(folder, expected, workers):
    engine = Engine(VoiceStore({"one": folder}), workers=workers, threads=workers)

    async def ask(text, options):
        async with engine.speak("one", text, **options) as spoken:
            return np.concatenate([step async for step in spoken if isinstance(step, np.ndarray)])

    async def alone_and_in_a_crowd():
        alone = [await ask(*one) for one in REQUESTS]
        return [*alone, *await asyncio.gather(*(ask(*one) for one in REQUESTS * 2))]

    try:
        for samples, right in zip(asyncio.run(alone_and_in_a_crowd()), expected * 3, strict=True):
            np.testing.assert_array_equal(samples, right)
    finally:
        engine.scheduler.close()
