"""What a server counts and times, for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .scheduler import TooLate

if TYPE_CHECKING:
    from .scheduler import Scheduler
    from .utterances import Utterance
    from .voices import VoiceStore

__all__ = ["Metrics"]

_SECONDS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)
_TOGETHER = (1, 2, 4, 8, 16, 32, 64, 128)
_FACTORS = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0)


class Metrics:
    """The figures of one server, in a registry of its own."""

    def __init__(self, scheduler: Scheduler, voices: VoiceStore) -> None:
        import prometheus_client as prometheus

        self._prometheus = prometheus
        self.registry = prometheus.CollectorRegistry()
        common: dict[str, Any] = {"registry": self.registry, "namespace": "fastvits"}
        by_voice: dict[str, Any] = {**common, "labelnames": ["voice"]}
        self.first_sound = prometheus.Histogram(
            "first_sound_seconds", "From a text's arrival to its first samples", buckets=_SECONDS, **by_voice
        )
        self.queue = prometheus.Histogram(
            "queue_seconds", "From a text's arrival to its first step", buckets=_SECONDS, **by_voice
        )
        self.steps = prometheus.Histogram(
            "step_seconds",
            "A step, by what it is: a sentence is read, its durations are computed (text), then the latents of a piece "
            "(flow) and the piece itself",
            buckets=_SECONDS,
            **{**common, "labelnames": ["voice", "step"]},
        )
        self.batch = prometheus.Histogram(
            "batch_size",
            "Steps that share a call of the model, by what they are",
            buckets=_TOGETHER,
            **{**common, "labelnames": ["step"]},
        )
        self.together = prometheus.Histogram(
            "texts_together", "Texts that had a step computed when one began", buckets=_TOGETHER, **common
        )
        self.real_time_factor = prometheus.Histogram(
            "real_time_factor",
            "Seconds from a text's first samples to its last, a second of sound",
            buckets=_FACTORS,
            **by_voice,
        )
        self.audio = prometheus.Counter("audio_seconds", "Sound computed", **by_voice)
        self.utterances = prometheus.Counter(
            "utterances",
            "Texts by how they ended: spoken, cancelled, late, failed",
            **{**common, "labelnames": ["voice", "outcome"]},
        )
        self.requests = prometheus.Counter(
            "requests",
            "HTTP requests by route and status",
            **{**common, "labelnames": ["route", "status"]},
        )
        waiting = prometheus.Gauge("queue_length", "Texts that wait or are spoken", **common)
        waiting.set_function(lambda: float(len(scheduler)))
        loaded = prometheus.Gauge("loaded_voices", "Voices in memory", **common)
        loaded.set_function(lambda: float(len(voices.loaded())))
        memory = prometheus.Gauge("loaded_voices_bytes", "What the voices in memory are reckoned to take", **common)
        memory.set_function(lambda: float(voices.bytes()))

    def utterance(self, voice: str, utterance: Utterance, sampling_rate: int, error: BaseException | None) -> None:
        """Count an utterance that has ended."""
        seconds = utterance.samples / sampling_rate
        outcome = "spoken"
        if utterance.cancelled:
            outcome = "cancelled"
        elif error is not None:
            outcome = "late" if isinstance(error, TooLate) else "failed"
        self.utterances.labels(voice, outcome).inc()
        self.audio.labels(voice).inc(seconds)
        if utterance.begun is not None:
            self.queue.labels(voice).observe(utterance.begun - utterance.arrived)
        if utterance.first_sound is not None:
            self.first_sound.labels(voice).observe(utterance.first_sound - utterance.arrived)
            if outcome == "spoken" and utterance.finished is not None and seconds:
                self.real_time_factor.labels(voice).observe((utterance.finished - utterance.first_sound) / seconds)

    def call(self, voice: str, step: str, size: int, seconds: float, together: int) -> None:
        """Count a call: a step of `size` texts."""
        self.steps.labels(voice, step).observe(seconds)
        self.batch.labels(step).observe(size)
        self.together.observe(together)

    def render(self) -> tuple[bytes, str]:
        """The page for Prometheus, and its media type."""
        return self._prometheus.generate_latest(self.registry), self._prometheus.CONTENT_TYPE_LATEST
