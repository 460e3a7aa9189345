"""Length buckets: the padded sizes that captured graphs are made for.

A size is rounded up to one of four steps an octave (…, 64, 80, 96, 112, 128, 160, …), so that padding is less than a
quarter of a tensor's steps, and every length up to `2**k` is served by some `4 k` graphs. `lengths` mask the padding
in every op, and kernels skip tiles beyond them, so that a bucket costs little and changes no sample.
"""

STEPS_PER_OCTAVE = 4

LEAST_TOKENS = 16
"""The smallest bucket of `T_text`."""

LEAST_FRAMES = 32
"""The smallest bucket of `T_frames`."""


def bucket(size: int, least: int = 1) -> int:
    """`size` (at least 1) rounded up to its bucket, no less than `least`; sizes up to 8 are buckets themselves."""
    if size <= least:
        return least
    step = max((1 << ((size - 1).bit_length() - 1)) // STEPS_PER_OCTAVE, 1)
    return -(-size // step) * step


def buckets(first: int, last: int, least: int = 1) -> list[int]:
    """All buckets from that of `first` to that of `last`, both inclusive."""
    sizes = [bucket(first, least)]
    while sizes[-1] < bucket(last, least):
        sizes.append(bucket(sizes[-1] + 1, least))
    return sizes
