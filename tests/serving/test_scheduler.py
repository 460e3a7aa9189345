"""Who speaks next, with utterances whose steps are known."""

import threading
import time

import numpy as np
import pytest

from fastvits.serving.scheduler import Busy, Draining, Scheduler, TooLate
from fastvits.serving.utterances import MAX_AHEAD

RATE = 100


class Heard:
    """A listener that keeps what it hears."""

    def __init__(self):
        self.steps, self.error, self.over = [], None, threading.Event()

    def __call__(self, step, error):
        if step is None:
            self.error = error
            self.over.set()
        else:
            self.steps.append(step)

    def wait(self):
        assert self.over.wait(20), "the utterance did not end"
        return self


def pieces(count, journal=None, name="", gate=None, seconds=1.0):
    """Steps of a second each, which write into a journal when they are computed."""
    for number in range(count):
        if gate is not None:
            assert gate.wait(20)
        if journal is not None:
            journal.append(f"{name}{number}")
        yield np.full(int(RATE * seconds), number, np.float32)


def hold(one):
    """Keep the only thread of a scheduler busy until the event that is returned is set."""
    gate, begun = threading.Event(), threading.Event()

    def steps():
        begun.set()
        assert gate.wait(20)
        yield np.zeros(1, np.float32)

    one.submit(steps(), Heard(), RATE)
    assert begun.wait(20)
    return gate


def test_steps_come_in_order_and_whole(scheduler):
    one = scheduler(workers=3)
    heard = [Heard() for _ in range(5)]
    for listener in heard:
        one.submit(pieces(7), listener, RATE)
    for listener in heard:
        assert [step[0] for step in listener.wait().steps] == list(range(7))
        assert listener.error is None


def test_who_was_not_heard_yet_goes_first(scheduler):
    one, journal = scheduler(), []
    gate = hold(one)
    heard = [Heard(), Heard(), Heard()]
    for name, listener in zip("abc", heard, strict=True):
        one.submit(pieces(3, journal, name), listener, RATE)
    gate.set()
    for listener in heard:
        listener.wait()
    assert journal[:3] == ["a0", "b0", "c0"]


def test_then_who_runs_out_of_sound_first(scheduler):
    one, journal = scheduler(), []
    gate = hold(one)
    long_pieces, short_pieces = Heard(), Heard()
    one.submit(pieces(2, journal, "long", seconds=10), long_pieces, RATE)
    one.submit(pieces(5, journal, "short", seconds=1), short_pieces, RATE)
    gate.set()
    long_pieces.wait()
    short_pieces.wait()
    # After its first 10 seconds the first one waits until the other has as much.
    assert journal == ["long0", "short0", "short1", "short2", "short3", "short4", "long1"]


def test_a_slow_listener_holds_nobody_and_takes_bounded_memory(scheduler):
    one, journal = scheduler(), []
    slow, quick = Heard(), Heard()
    utterance = one.submit(pieces(100, journal, "slow"), slow, RATE)
    deadline = time.monotonic() + 20
    while len(slow.steps) < MAX_AHEAD and time.monotonic() < deadline:
        time.sleep(0.01)
    one.submit(pieces(3, journal, "quick"), quick, RATE)
    quick.wait()
    time.sleep(0.05)
    assert len(slow.steps) == MAX_AHEAD
    assert not slow.over.is_set()
    utterance.taken(5 * RATE)
    while len(slow.steps) < MAX_AHEAD + 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(slow.steps) == MAX_AHEAD + 5


def test_a_cancelled_utterance_computes_nothing_more(scheduler):
    ended = []
    one = scheduler(watch=lambda utterance, error: ended.append((utterance.label, utterance.cancelled, error)))
    journal, gate = [], hold(one)
    heard = Heard()
    utterance = one.submit(pieces(9, journal, "x"), heard, RATE, label="x")
    utterance.cancel()
    utterance.cancel()
    gate.set()
    assert one.drain(20)
    assert journal == []
    assert not heard.over.is_set()
    assert ("x", True, None) in ended


def test_cancelling_during_a_step_closes_the_steps_behind_it(scheduler):
    one, closed, begun, gate = scheduler(), threading.Event(), threading.Event(), threading.Event()

    def steps():
        try:
            begun.set()
            assert gate.wait(20)
            yield np.zeros(1, np.float32)
            pytest.fail("a second step was computed")
        finally:
            closed.set()

    utterance = one.submit(steps(), Heard(), RATE)
    assert begun.wait(20)
    utterance.cancel()
    gate.set()
    assert closed.wait(20)
    assert one.drain(20)


def test_a_fault_ends_its_utterance_and_no_other(scheduler):
    def faulty():
        yield np.zeros(RATE, np.float32)
        raise ValueError("no such letter")

    one, bad, good = scheduler(workers=2), Heard(), Heard()
    one.submit(faulty(), bad, RATE)
    one.submit(pieces(4), good, RATE)
    assert str(bad.wait().error) == "no such letter"
    assert len(bad.steps) == 1
    assert good.wait().error is None
    assert len(good.steps) == 4


def test_what_is_no_exception_ends_its_utterance_and_no_thread(scheduler):
    def panics():
        yield np.zeros(RATE, np.float32)
        raise SystemExit("a panic")

    one, bad, good = scheduler(), Heard(), Heard()
    one.submit(panics(), bad, RATE)
    assert str(bad.wait().error) == "SystemExit: a panic"
    one.submit(pieces(2), good, RATE)
    assert good.wait().error is None


def test_a_deadline_ends_what_waits(scheduler):
    one, heard = scheduler(), Heard()
    gate = hold(one)
    one.submit(pieces(3), heard, RATE, timeout=0.05)
    time.sleep(0.1)
    gate.set()
    assert isinstance(heard.wait().error, TooLate)
    assert heard.steps == []


def test_a_deadline_ends_a_listener_that_takes_nothing(scheduler):
    one, heard = scheduler(), Heard()
    one.submit(pieces(1000), heard, RATE, timeout=0.3)
    assert isinstance(heard.wait().error, TooLate)
    assert len(heard.steps) == MAX_AHEAD


def test_waiting_for_a_listener_is_no_time_of_the_text(scheduler):
    one, heard = scheduler(), Heard()
    utterance = one.submit(pieces(100), heard, RATE, timeout=1.0)
    deadline = time.monotonic() + 20
    begun, taken = time.monotonic(), 0
    while time.monotonic() < begun + 1.6:  # longer than the timeout, taking a second of sound now and then
        if len(heard.steps) - taken >= MAX_AHEAD:
            taken += 1
            utterance.taken(RATE)
        time.sleep(0.1)
    assert not heard.over.is_set()
    while not heard.over.is_set() and time.monotonic() < deadline:
        utterance.taken((len(heard.steps) - taken) * RATE)
        taken = len(heard.steps)
        time.sleep(0.001)
    assert heard.error is None
    assert len(heard.steps) == 100


def test_a_full_queue_says_when_to_come_again(scheduler):
    one = scheduler(max_queue=2)
    gate = hold(one)
    one.submit(pieces(1), Heard(), RATE)
    with pytest.raises(Busy, match="2 texts are waiting") as refused:
        one.submit(pieces(1), Heard(), RATE)
    assert 1 <= refused.value.retry_after <= 60
    gate.set()
    assert one.drain(20)


def test_draining_finishes_what_was_taken_and_takes_nothing_new(scheduler):
    one, heard = scheduler(), Heard()
    gate = hold(one)
    one.submit(pieces(3), heard, RATE)
    assert not one.drain(0.01)
    with pytest.raises(Draining):
        one.submit(pieces(1), Heard(), RATE)
    gate.set()
    assert one.drain(20)
    assert len(heard.wait().steps) == 3


@pytest.mark.parametrize("name", ["workers", "max_queue", "threads"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_sizes_are_whole_numbers(name, value):
    with pytest.raises(ValueError, match=name):
        Scheduler(**{"workers": 1, name: value})
