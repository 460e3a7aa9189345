"""Audio to the loudspeaker, by whichever player this machine has."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = ["PLAYERS", "Player", "find_player", "playing"]

# Players that take what comes through a pipe, and whether they want samples alone; {rate} is samples a second.
PLAYERS = (
    ("pacat --playback --format=s16le --channels=1 --rate={rate}", "raw"),
    ("aplay -q -t wav -", "wav"),
    ("play -q -t wav -", "wav"),
    ("ffplay -nodisp -autoexit -loglevel error -i pipe:0", "wav"),
)
# macOS has one that plays files alone.
_FILE_PLAYERS = ("afplay",)


class Player:
    """A player: its command, the format of audio that it wants ("wav" or "raw"), and whether it wants a file."""

    def __init__(self, command: list[str], format: str, wants_file: bool) -> None:
        self.command, self.format, self.wants_file = command, format, wants_file


def find_player(sampling_rate: int) -> Player:
    """The first player that is installed; or `FASTVITS_PLAYER`, a command that plays the WAV that it gets by a pipe.

    Raises OSError where there is none.
    """
    chosen = os.environ.get("FASTVITS_PLAYER")
    if chosen:
        return Player(shlex.split(chosen), "wav", False)
    for command, format in PLAYERS:
        program, *arguments = command.format(rate=sampling_rate).split()
        found = shutil.which(program)
        if found is not None:
            return Player([found, *arguments], format, False)
    for program in _FILE_PLAYERS:
        found = shutil.which(program)
        if found is not None:
            return Player([found], "wav", True)
    names = ", ".join([*(command.split()[0] for command, _ in PLAYERS), *_FILE_PLAYERS])
    raise OSError(f"no player is installed ({names}): install one, or name one in FASTVITS_PLAYER")


@contextlib.contextmanager
def playing(player: Player) -> Iterator[BinaryIO]:
    """What is written to this file is heard, as it comes or, where the player wants a file, when the block ends.

    Waits for the end of the sound. Raises OSError where the player fails, BrokenPipeError where it ends early.
    """
    if player.wants_file:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "speech.wav"
            with open(path, "w+b") as file:
                yield file
            _check(player, subprocess.run([*player.command, str(path)], check=False).returncode)
        return
    try:
        process = subprocess.Popen(player.command, stdin=subprocess.PIPE)
    except OSError as error:
        raise OSError(f"the player {player.command[0]} cannot be started: {error.strerror}") from None
    assert process.stdin is not None
    try:
        yield process.stdin  # type: ignore[misc]
        process.stdin.close()
        status = process.wait()
    except BaseException:
        with contextlib.suppress(OSError):
            process.stdin.close()
        process.terminate()
        process.wait()
        raise
    _check(player, status)


def _check(player: Player, status: int) -> None:
    if status:
        raise OSError(f"the player {player.command[0]} ended with status {status}")
