"""A corpus in parts, for many machines: which rows fall to which part, and which part a process of a cluster has."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Shard"]

MAX_SHARDS = 99_999


@dataclass(frozen=True)
class Shard:
    """One of so many parts of a corpus, each row falling to one of them by a hash of its id.

    Where a row stands in the manifest does not matter, and every machine comes to the same result.

    Attributes:
        number: which one, from 1.
        count: how many there are.

    Raises:
        ValueError: a number or a count that cannot be.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_SHARDS:
            raise ValueError(f"there are 1 to {MAX_SHARDS} shards, not {self.count}")
        if not 1 <= self.number <= self.count:
            raise ValueError(f"the shards of {self.count} are 1/{self.count} to {self.count}/{self.count}, not {self}")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"{self.number:05d}-of-{self.count:05d}"

    @classmethod
    def of(cls, given: Shard | str | None, environment: Mapping[str, str] | None = None) -> Shard | None:
        """A shard as people write it.

        Args:
            given: "3/8"; "auto", what the environment says; "auto/8", where it says which one but not how many there
                are, as Kubernetes' does; a shard; None.
            environment: in place of the process's own.

        Raises:
            ValueError: none of these, or an environment that does not say.
        """
        if given is None or isinstance(given, Shard):
            return given
        found = re.fullmatch(r"(auto|[0-9]{1,9})(?:/([0-9]{1,9}))?", given) if isinstance(given, str) else None
        if found is None or (found[1] != "auto" and found[2] is None):
            raise ValueError(f'a shard is I/N such as "3/8", "auto" or "auto/N", not {given!r}')
        if found[1] != "auto":
            return cls(int(found[1]), int(found[2]))
        count = None if found[2] is None else int(found[2])
        return from_environment(os.environ if environment is None else environment, count)

    def takes(self, name: str) -> bool:
        """Whether the row of this id falls to it. Ids that differ only in their letters' case fall to the same one."""
        digest = hashlib.sha256(name.casefold().encode(errors="surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1


def from_environment(environment: Mapping[str, str], count: int | None = None) -> Shard:
    """The shard of this process, as torchrun, Slurm or a Kubernetes job with indexes tell it.

    Args:
        environment: variables.
        count: how many there are; None: the environment says so.

    Raises:
        ValueError: it does not say, or says what cannot be.
    """

    def number(name: str) -> int:
        text = environment.get(name, "")
        if re.fullmatch(r"[0-9]{1,9}", text) is None:
            raise ValueError(f"{name} must be a whole number, got {text!r}: give the shard as I/N")
        return int(text)

    found: tuple[str, int, int | None] | None = None
    if "RANK" in environment and "WORLD_SIZE" in environment:
        found = "torchrun (RANK, WORLD_SIZE)", number("RANK"), number("WORLD_SIZE")
    elif "SLURM_ARRAY_TASK_ID" in environment or "SLURM_STEP_NUM_TASKS" in environment:
        place, places = 0, 1
        if "SLURM_ARRAY_TASK_ID" in environment:
            least, most = number("SLURM_ARRAY_TASK_MIN"), number("SLURM_ARRAY_TASK_MAX")
            step = number("SLURM_ARRAY_TASK_STEP") if "SLURM_ARRAY_TASK_STEP" in environment else 1
            place, places = (number("SLURM_ARRAY_TASK_ID") - least) // step, number("SLURM_ARRAY_TASK_COUNT")
            if (most - least) // step + 1 != places:
                raise ValueError("the Slurm array has gaps: give the shard as I/N")
        if "SLURM_STEP_NUM_TASKS" in environment:  # which srun sets, and the batch script alone does not have
            tasks = number("SLURM_STEP_NUM_TASKS")
            place, places = place * tasks + number("SLURM_PROCID"), places * tasks
        found = "Slurm", place, places
    elif "JOB_COMPLETION_INDEX" in environment:
        found = "Kubernetes (JOB_COMPLETION_INDEX)", number("JOB_COMPLETION_INDEX"), None
    if found is None:
        raise ValueError(
            "no shard can be told here: neither RANK and WORLD_SIZE (torchrun), nor SLURM_ARRAY_TASK_ID or "
            "SLURM_STEP_NUM_TASKS (Slurm), nor JOB_COMPLETION_INDEX (Kubernetes) is set; give it as I/N"
        )
    who, place, told = found
    if told is None and count is None:
        raise ValueError(f"{who} does not say how many shards there are: give auto/N")
    if told is not None and count is not None and told != count:
        raise ValueError(f"{who} says that there are {told} shards, not {count}")
    count = told if count is None else count
    assert count is not None
    if place >= count:
        raise ValueError(f"{who} counts from 0 and says {place}, but there are {count} shards")
    return Shard(place + 1, count)
