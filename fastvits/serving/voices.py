"""The voices that a server speaks with: loaded when first asked for, put away when memory is short."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from ..speech.speaker import Speaker

__all__ = ["OPENAI_VOICES", "UnknownVoice", "VoiceStore", "VoiceUnavailable"]

OPENAI_VOICES = (
    "alloy",
    "ash",
    "ballad",
    "cedar",
    "coral",
    "echo",
    "fable",
    "marin",
    "nova",
    "onyx",
    "sage",
    "shimmer",
    "verse",
)
"""The names that OpenAI's clients have built in."""

COPIES = 2
"""A loaded voice is reckoned twice its parameters: they and what is packed from them."""


class UnknownVoice(LookupError):
    """There is no voice of that name here."""


class VoiceUnavailable(RuntimeError):
    """A voice of this server cannot be loaded now, its files being gone or damaged."""


@dataclass
class _Loaded:
    speaker: Speaker
    bytes: int
    users: int = 0


@dataclass
class _Loading:
    """A voice on its way: whoever waits for it is a user of it from the moment when it is there."""

    future: Future[_Loaded]
    users: int = 0
    voice: _Loaded | None = None


class VoiceStore:
    """The voices by name.

    Args:
        sources: names, and what `Speaker` takes for each: a folder, a hub id, a `.onnx` file, a voice at hand.
        aliases: further names for some of them; they are not listed.
        memory: bytes that loaded voices may take; the least recently used one that nobody uses goes first. None: no
            limit. A single voice larger than that is loaded all the same, alone.
        load: what loads a voice.

    Raises:
        ValueError: no voice, or an alias of a voice that is not there.
    """

    def __init__(
        self,
        sources: Mapping[str, str],
        *,
        aliases: Mapping[str, str] | None = None,
        memory: int | None = None,
        load: Callable[[str], Speaker] = Speaker,
    ) -> None:
        if not sources:
            raise ValueError("a server needs at least one voice")
        for alias, name in (aliases or {}).items():
            if name not in sources:
                raise ValueError(f"{alias!r} cannot stand for the voice {name!r}: there are {', '.join(sources)}")
        self._sources = dict(sources)
        self._aliases = dict(aliases or {})
        self._memory = memory
        self._load = load
        self._loaded: OrderedDict[str, _Loaded] = OrderedDict()
        self._lock = threading.Lock()
        self._loading: dict[str, _Loading] = {}
        # Threads of their own: a voice that loads holds up neither other voices nor anything else.
        self._loaders = ThreadPoolExecutor(2, "voices")

    @property
    def names(self) -> list[str]:
        """The voices, in the order in which they were given."""
        return list(self._sources)

    @property
    def known(self) -> list[str]:
        """The voices and their aliases: all that `use` takes."""
        return [*self._sources, *self._aliases]

    @property
    def default(self) -> str:
        """The first voice: what a protocol that names none speaks with."""
        return next(iter(self._sources))

    def loaded(self) -> dict[str, Speaker]:
        """The voices that are in memory now."""
        with self._lock:
            return {name: voice.speaker for name, voice in self._loaded.items()}

    def bytes(self) -> int:
        """What the loaded voices are reckoned to take."""
        with self._lock:
            return sum(voice.bytes for voice in self._loaded.values())

    def resolve(self, name: str) -> str:
        """The voice that a name or an alias means; raises `UnknownVoice`."""
        found = self._aliases.get(name, name)
        if found not in self._sources:
            raise UnknownVoice(f"there is no voice {name!r} here; there are {', '.join(self._sources)}")
        return found

    @contextlib.asynccontextmanager
    async def use(self, name: str) -> AsyncIterator[Speaker]:
        """The voice, in memory for as long as the block lasts; loaded by another thread where it is not there yet.

        Raises `UnknownVoice`, and `VoiceUnavailable` where loading fails.
        """
        voice = self._claim(self.resolve(name))
        if isinstance(voice, _Loading):
            loading = voice
            try:
                voice = await asyncio.shield(asyncio.wrap_future(loading.future))
            except asyncio.CancelledError:
                self._abandon(loading)
                raise
        try:
            yield voice.speaker
        finally:
            self._release(voice)

    def preload(self, name: str) -> Speaker:
        """Load a voice and have it say a word, so that the first listener does not wait for what a first call makes."""
        voice = self._claim(self.resolve(name))
        if isinstance(voice, _Loading):
            voice = voice.future.result()
        try:
            speaker = voice.speaker
            for _ in speaker.stream("a", seed=0, speaker=0 if speaker.num_speakers > 1 else None):
                pass
            return speaker
        finally:
            self._release(voice)

    def _claim(self, name: str) -> _Loaded | _Loading:
        """The voice, or its loading where it is not there; either way with one more user."""
        with self._lock:
            voice = self._loaded.get(name)
            if voice is not None:
                self._loaded.move_to_end(name)
                voice.users += 1
                return voice
            if name not in self._loading:
                self._loading[name] = _Loading(Future())
                self._loaders.submit(self._load_now, name, self._loading[name])
            self._loading[name].users += 1
            return self._loading[name]

    def _load_now(self, name: str, loading: _Loading) -> None:
        try:
            speaker = self._load(self._sources[name])
            speaker.freeze()
            size = COPIES * sum(p.numel() * p.element_size() for p in speaker.model.parameters())
        except Exception as error:  # files that are gone, damaged, or of another kind: the server goes on
            with self._lock:
                del self._loading[name]
            fault = VoiceUnavailable(f"the voice {name!r} cannot be loaded: {error}")
            fault.__cause__ = error
            loading.future.set_exception(fault)
            return
        with self._lock:
            del self._loading[name]
            loading.voice = self._loaded[name] = _Loaded(speaker, size, users=loading.users)
            self._put_away()
        loading.future.set_result(loading.voice)

    def _abandon(self, loading: _Loading) -> None:
        """One of those who wait for a voice waits no more."""
        with self._lock:
            loading.users -= 1
            if loading.voice is not None:
                loading.voice.users -= 1
                self._put_away()

    def _release(self, voice: _Loaded) -> None:
        with self._lock:
            voice.users -= 1
            self._put_away()

    def _put_away(self) -> None:
        """Drop idle voices, the least recently used first, until the rest fits."""
        if self._memory is None:
            return
        for name in list(self._loaded):
            if sum(voice.bytes for voice in self._loaded.values()) <= self._memory or len(self._loaded) == 1:
                return
            if self._loaded[name].users == 0:
                del self._loaded[name]
