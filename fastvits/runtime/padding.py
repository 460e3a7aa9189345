"""Padded sizes: the lengths that captured graphs are made for.

A size is rounded up to one of four steps an octave (…, 64, 80, 96, 112, 128, 160, …), so that padding is less than a
quarter of a tensor's steps, and every length up to `2**k` is served by some `4 k` graphs. `lengths` mask the padding
in every op, and kernels skip tiles beyond them, so that padding costs little and changes no sample.
"""

STEPS_PER_OCTAVE = 4

MIN_TOKENS = 16
"""The smallest padded `T_text`."""

MIN_FRAMES = 32
"""The smallest padded `T_frames`."""


def padded_size(size: int, minimum: int = 1) -> int:
    """`size` (at least 1) rounded up, and no less than `minimum`; sizes up to 8 stay."""
    if size <= minimum:
        return minimum
    step = max((1 << ((size - 1).bit_length() - 1)) // STEPS_PER_OCTAVE, 1)
    return -(-size // step) * step


def padded_sizes(first: int, last: int, minimum: int = 1) -> list[int]:
    """All padded sizes from that of `first` to that of `last`, both inclusive."""
    sizes = [padded_size(first, minimum)]
    while sizes[-1] < padded_size(last, minimum):
        sizes.append(padded_size(sizes[-1] + 1, minimum))
    return sizes
