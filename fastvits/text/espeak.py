"""The library of espeak-ng, found by `phonemizer` and driven behind one lock.

`phonemizer` finds the library; where `espeakng_loader` is installed its library and data are used, unless the user
named another one (`PHONEMIZER_ESPEAK_LIBRARY` or `EspeakWrapper.set_library`). espeak-ng keeps its state in global
variables, so each backend works on a private copy of the library and behind a lock.

Nothing here is imported before it is needed: the module costs nothing to import and starts nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from .espeak_process import is_apart, read_apart

__all__ = ["INSTALL_HINT", "LOCK", "bundled_library", "import_phonemizer", "spoken_lines"]

INSTALL_HINT = "install the extra `fastvits[voice]`, or espeak-ng and the package `phonemizer`"

# One lock for everything: building a backend swaps class attributes of phonemizer for a moment.
LOCK = threading.RLock()


def import_phonemizer() -> Any:
    """The `EspeakWrapper` class of `phonemizer`; ImportError with what to install when it is missing."""
    try:
        from phonemizer.backend.espeak.wrapper import EspeakWrapper
    except ImportError as error:
        raise ImportError(f"turning text into phonemes needs the package `phonemizer`: {INSTALL_HINT}") from error
    return EspeakWrapper


@contextmanager
def bundled_library() -> Iterator[None]:
    """While it lasts, `phonemizer` uses the library of `espeakng_loader`, if there is one and the user chose no other.

    The choice is a class attribute of phonemizer: it is put back, so that the rest of the process keeps its own.
    """
    import os

    wrapper = import_phonemizer()
    chosen = wrapper._ESPEAK_LIBRARY is not None or "PHONEMIZER_ESPEAK_LIBRARY" in os.environ
    try:
        import espeakng_loader
    except ImportError:
        espeakng_loader = None
    if chosen or espeakng_loader is None:
        yield
        return
    library, data = wrapper._ESPEAK_LIBRARY, wrapper._ESPEAK_DATA_PATH
    wrapper.set_library(espeakng_loader.get_library_path())
    wrapper.set_data_path(espeakng_loader.get_data_path())
    try:
        yield
    finally:
        wrapper.set_library(library)
        wrapper.set_data_path(data)


@lru_cache(maxsize=32)
def _phonemizer_backend(voice: str) -> Any:
    """One `phonemizer` backend a voice. The caller holds the lock.

    phonemizer knows no variants ("en-us+f3"): they change the sound of espeak-ng itself, not its phonemes.
    """
    import_phonemizer()
    import logging

    from phonemizer.backend import EspeakBackend

    # Quiet: phonemizer warns at each text that mixes languages, and that warning tells a speaker nothing.
    logger = logging.getLogger("fastvits.phonemizer")
    logger.setLevel(logging.ERROR)
    with bundled_library():
        try:
            backend = EspeakBackend(voice.partition("+")[0], preserve_punctuation=True, with_stress=True, logger=logger)
        except RuntimeError as error:
            if "not supported" in str(error):
                raise ValueError(f"espeak-ng has no voice {voice!r}") from error
            raise OSError(f"espeak-ng cannot be used ({error}): {INSTALL_HINT}") from error
    if not "".join(backend.phonemize(["a e i o u"])).strip():
        raise ValueError(f"espeak-ng lists the voice {voice!r} but has no dictionary for it: it says nothing")
    return backend


def spoken_lines(lines: Sequence[str], voice: str) -> tuple[list[str], list[list[str]], list[list[str]], list[str]]:
    """What `phonemizer` makes of lines of text, punctuation preserved, stress marked, and what it made it of.

    Args:
        lines: lines with something else than white space in each.
        voice: an espeak-ng voice.

    Returns:
        the phonemes, one a line as a rule (of lines without a word several may become one); of each line the chunks
        between punctuation that espeak-ng read, and the punctuation between them; and the phonemes of all chunks, one
        after another.

    Raises:
        ValueError: espeak-ng knows no such voice; `EspeakDied` where it reads in a process of its own and ends.
        ImportError, OSError: `phonemizer` or espeak-ng is missing.
    """
    if is_apart():
        whole, chunks, marks, of_chunks = read_apart("lines", lines, voice)
        return whole, chunks, marks, of_chunks
    with LOCK:
        backend = _phonemizer_backend(voice)
        from phonemizer.punctuation import Punctuation
        from phonemizer.separator import default_separator

        chunks, marks = backend._phonemize_preprocess(list(lines))
        of_chunks, switches = backend._phonemize_aux(chunks, 0, default_separator, True)
        whole = backend._phonemize_postprocess((list(of_chunks), switches), marks, default_separator, True)
    by_line = [Punctuation().preserve([line]) for line in lines]
    return (
        list(whole),
        [list(own) for own, _ in by_line],
        [[mark.mark for mark in own] for _, own in by_line],
        list(of_chunks),
    )
