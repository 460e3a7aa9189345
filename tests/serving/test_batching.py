"""Calls that several texts share: whose, in which order, and that nobody hears who else was there."""

import asyncio
import threading
import time
from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch

from fastvits import Speaker
from fastvits.serving.engine import Engine, Sharing, sharing_on
from fastvits.serving.scheduler import TooLate
from fastvits.serving.steps import spoken_samples
from fastvits.serving.utterances import CallItem
from fastvits.serving.voices import UnknownVoice, VoiceStore
from tests.serving.test_scheduler import RATE, Heard, hold
from tests.support.small_voices import save_small_voice
from tests.support.tolerances import MODEL_FLOAT32


class Model:
    """A model whose calls are known, and may be held up; what it is given is what it answers, a second of sound."""

    def __init__(self, name="model"):
        self.name, self.calls, self.gate, self.at_once, self.most = name, [], None, 0, 0

    def compute(self, given):
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        self.calls.append(list(given))
        if self.gate is not None:
            assert self.gate.wait(20)
        self.at_once -= 1
        if "bad" in given:
            raise ValueError("no such letter")
        return [np.full(RATE, len(one), np.float32) for one in given]

    def item(self, kind, given):
        return CallItem(kind, (kind, self), self, self.compute, given)

    def text(self, name, pieces=2):
        """The steps of a text: its words, then its pieces, the first one of another size."""
        yield (yield self.item("text", name))[:0]
        for number in range(pieces):
            yield (yield self.item("piece" if number else "first", f"{name}{number}"))


@pytest.fixture
def scheduler(scheduler):
    """One whose model is called once at a time, with up to eight items."""
    return partial(scheduler, batch=8, calls=1)


def submit(one, model, names, **options):
    heard = {name: Heard() for name in names}
    for name, listener in heard.items():
        one.submit(model.text(name), listener, RATE, **options)
    return heard


def test_what_is_ready_shares_a_call(scheduler):
    seen = []
    one, model = (
        scheduler(watch_call=lambda first, item, size, seconds, together: seen.append((item.kind, size))),
        Model(),
    )
    gate = hold(one)
    heard = submit(one, model, "abc")
    gate.set()
    assert all(listener.wait().error is None for listener in heard.values())
    assert model.calls == [["a", "b", "c"], ["a0", "b0", "c0"], ["a1", "b1", "c1"]]
    assert seen == [("text", 3), ("first", 3), ("piece", 3)]
    assert [len(step) for step in heard["a"].steps] == [0, RATE, RATE]


def test_a_batch_has_its_limit_and_takes_the_most_urgent(scheduler):
    one, model = scheduler(batch=2), Model()
    gate = hold(one)
    heard = submit(one, model, "abcde")
    gate.set()
    assert all(listener.wait().error is None for listener in heard.values())
    assert max(map(len, model.calls)) == 2
    # Who came first is heard first; nobody is heard twice before all were heard once.
    order = [name for call in model.calls for name in call if len(name) == 2]
    assert order[:5] == ["a0", "b0", "c0", "d0", "e0"]


def test_who_comes_while_a_call_is_computed_is_in_the_next_one(scheduler):
    one, model = scheduler(workers=2), Model()
    model.gate = threading.Event()
    heard = submit(one, model, "a")
    while not model.calls:
        time.sleep(0.001)
    heard |= submit(one, model, "bc")
    time.sleep(0.05)
    assert model.calls == [["a"]]  # the model is taken, and they wait together
    model.gate.set()
    assert all(listener.wait().error is None for listener in heard.values())
    assert ["b", "c"] in model.calls
    assert model.most == 1


def test_models_never_share_a_call_and_are_computed_side_by_side(scheduler):
    one, models = scheduler(workers=3), [Model("x"), Model("y")]
    barrier = threading.Barrier(2, timeout=20)
    for model in models:
        inner = model.compute
        model.compute = lambda given, inner=inner: (barrier.wait() if given[0] in ("a", "b") else None, inner(given))[1]
    heard = submit(one, models[0], "a") | submit(one, models[1], "b")
    for listener in heard.values():
        assert listener.wait().error is None
    assert [call[0][0] for call in models[0].calls] == ["a"] * 3
    assert [call[0][0] for call in models[1].calls] == ["b"] * 3


def test_a_fault_of_one_item_ends_it_alone(scheduler):
    one, model = scheduler(), Model()
    gate = hold(one)
    heard = submit(one, model, ["good", "bad", "fine"])
    gate.set()
    assert str(heard["bad"].wait().error) == "no such letter"
    for name in ("good", "fine"):
        assert heard[name].wait().error is None
        assert [len(step) for step in heard[name].steps] == [0, RATE, RATE]


def test_a_call_that_forgets_an_item_is_a_fault_and_nobody_waits_for_ever(scheduler):
    one, model = scheduler(), Model()
    model.compute = lambda given: []
    gate = hold(one)
    heard = submit(one, model, "ab")
    gate.set()
    for listener in heard.values():
        assert "gave 0 answers" in str(listener.wait().error)


def test_who_is_cancelled_is_in_no_later_call(scheduler):
    one, model, ended = scheduler(), Model(), Heard()
    model.gate = threading.Event()
    utterances = {name: one.submit(model.text(name), Heard() if name == "b" else ended, RATE) for name in "ba"}
    while not model.calls:
        time.sleep(0.001)
    utterances["b"].cancel()
    model.gate.set()
    ended.wait()
    assert one.drain(20)
    assert not any(name.startswith("b") for call in model.calls[1:] for name in call)


def test_a_deadline_ends_one_of_a_batch(scheduler):
    one, model = scheduler(), Model()
    gate = hold(one)
    late = submit(one, model, "a", timeout=0.05)
    heard = submit(one, model, "bc")
    time.sleep(0.1)
    gate.set()
    assert isinstance(late["a"].wait().error, TooLate)
    assert all(listener.wait().error is None for listener in heard.values())
    assert model.calls[0] == ["b", "c"]


def test_draining_finishes_what_shares_calls(scheduler):
    one, model = scheduler(workers=2), Model()
    gate = hold(one)
    heard = submit(one, model, "abcd")
    one.refuse()
    gate.set()
    assert one.drain(20)
    assert all(listener.error is None and len(listener.steps) == 3 for listener in heard.values())


def test_a_listener_or_a_watcher_that_fails_stops_no_thread(scheduler, caplog):
    def watch(*told):
        raise RuntimeError("no room for figures")

    one, model = scheduler(watch=watch, watch_call=watch), Model()

    def deaf(step, error):
        raise RuntimeError("gone")

    one.submit(model.text("a"), deaf, RATE)
    heard = submit(one, model, "b")
    assert heard["b"].wait().error is None
    assert one.drain(20)
    assert "counting a call failed" in caplog.text


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("voices")
    return {
        "one": str(save_small_voice(root / "one")),
        "many": str(save_small_voice(root / "many", seed=1, num_speakers=3, speaker_embedding_size=8)),
    }


REQUESTS = [
    ("one", "hello my dog is cute. it is quick, and it jumps.", {"seed": 1}),
    ("one", "six", {"seed": 2, "speaking_rate": 0.2, "noise_scale": 0.1}),
    ("many", "one two three. four", {"seed": 3, "speaker": 0, "noise_scale_duration": 0.2}),
    ("many", "the fox jumps over it", {"seed": 4, "speaker": 2, "speaking_rate": 0.5}),
    ("one", "a long way home " * 3, {"seed": 5, "speaking_rate": 0.2, "noise_scale": 0.0}),
    ("many", "and home again", {"seed": 6, "speaker": 1, "noise_scale": 1.0, "speaking_rate": 0.3}),
    ("many", "two voices", {"seed": 7, "speaker": 1}),
]
BAD = [
    ("one", "漢字", {"seed": 1}, ValueError),
    ("many", "hello", {"seed": 1, "speaker": 9}, ValueError),
    ("none", "hello", {}, UnknownVoice),
    ("one", "too slow " * 20, {"seed": 1, "speaking_rate": 1e-4}, ValueError),
]


@pytest.mark.parametrize(("workers", "calls"), [(1, None), (3, 1)])
def test_a_texts_samples_are_the_same_alone_and_in_a_crowd(folders, workers, calls):
    expected = [spoken_samples(Speaker(folders[voice]), text, **options) for voice, text, options in REQUESTS]
    engine = Engine(VoiceStore(folders), workers=workers, threads=workers, batch=4, calls=calls)

    async def ask(voice, text, options):
        async with engine.speak(voice, text, **options) as spoken:
            return np.concatenate([step async for step in spoken if isinstance(step, np.ndarray)])

    async def refused(voice, text, options, error):
        with pytest.raises(error):
            await ask(voice, text, options)

    async def leave(voice, text, options):
        async with engine.speak(voice, text, **options):
            pass

    async def everybody():
        crowd = [ask(*one) for one in REQUESTS * 2]
        others = [refused(*one) for one in BAD] + [leave(*one) for one in REQUESTS]
        return (await asyncio.gather(*crowd, *others))[: len(crowd)]

    try:
        gates = [hold(engine.scheduler) for _ in range(workers)]
        for gate in gates:
            threading.Timer(0.5, gate.set).start()  # by then all of them wait
        for samples, alone in zip(asyncio.run(everybody()), expected * 2, strict=True):
            assert samples.shape == alone.shape
            assert np.linalg.norm(samples - alone) <= MODEL_FLOAT32 * np.linalg.norm(alone)
        assert engine.scheduler.drain(20)
        value = engine.metrics.registry.get_sample_value
        for step in ("text", "piece"):
            count, total = (value(f"fastvits_batch_size_{name}", {"step": step}) for name in ("count", "sum"))
            assert total > count, step  # some calls were shared
            assert value("fastvits_batch_size_bucket", {"step": step, "le": "4.0"}) == count
    finally:
        engine.scheduler.close()


def test_what_is_ready_is_divided_among_calls_at_the_same_time(scheduler):
    one, model = scheduler(workers=2, calls=2), Model()
    model.gate = threading.Event()
    gates = [hold(one), hold(one)]
    heard = submit(one, model, "abcd")
    for gate in gates:
        gate.set()
    deadline = time.monotonic() + 20
    while len(model.calls) < 2 and time.monotonic() < deadline:
        time.sleep(0.001)
    model.gate.set()
    assert all(listener.wait().error is None for listener in heard.values())
    assert sorted(map(len, model.calls[:2])) in ([1, 3], [2, 2])  # the first may go before the last was read
    assert model.most == 2


def test_who_comes_late_is_read_before_later_pieces_of_a_crowd(scheduler):
    one, model = scheduler(batch=2), Model()
    gate = hold(one)
    heard = {name: Heard() for name in "abcdef"}
    for name, listener in heard.items():
        one.submit(model.text(name, pieces=20), listener, RATE)
    gate.set()
    deadline = time.monotonic() + 20
    while len(model.calls) < 15 and time.monotonic() < deadline:
        time.sleep(0.0001)
    late = submit(one, model, "z")
    late["z"].wait()
    for listener in heard.values():
        listener.wait()
    asked = next(number for number, call in enumerate(model.calls) if "z" in call)
    heard_at = next(number for number, call in enumerate(model.calls) if "z0" in call)
    assert heard_at - asked <= 1


def test_defaults_go_by_the_device():
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)
    assert sharing_on(cpu).calls is None
    assert sharing_on(gpu).calls == 1
    assert sharing_on(gpu).batch > sharing_on(cpu).batch >= 1
    assert sharing_on(cpu, 7) == Sharing(7, None)


def test_calls_are_counted_by_kind(scheduler):
    seen = Counter()
    one, model = (
        scheduler(batch=1, watch_call=lambda first, item, size, *rest: seen.update([(item.kind, size)])),
        Model(),
    )
    heard = submit(one, model, "ab")
    for listener in heard.values():
        listener.wait()
    assert seen == {("text", 1): 2, ("first", 1): 2, ("piece", 1): 2}
