"""Whether the shapes of an op's arguments fit each other: checked alike before every implementation.

Kernels read out of bounds where shapes do not fit, and torch broadcasts what was not meant so. A check compares sizes
and reads no value: it takes some microseconds and waits for no GPU. It raises one ValueError that names the argument,
its form and what was given.

A form is an argument's name and axes, `"weight [K, C_in, C_out]"`.
"""

from torch import Tensor


def axes(tensor: Tensor, form: str) -> tuple[int, ...]:
    """The sizes of `tensor`, as many as the form has axes."""
    sizes = tensor.shape
    if len(sizes) != form.count(",") + 1:
        raise ValueError(_mismatch(tensor, form, (None,) * len(sizes)))
    return sizes


def expect(tensor: Tensor | None, form: str, *sizes: int | None) -> None:
    """Raise unless `tensor` has these sizes, None for any; nothing is asked of an argument that was not given."""
    if tensor is None or tensor.shape == sizes:
        return
    found = tensor.shape
    # Not any(): a generator takes longer than the comparisons.
    fits = len(found) == len(sizes)
    for size, actual in zip(sizes, found, strict=False):
        fits = fits and (size is None or size == actual)
    if not fits:
        raise ValueError(_mismatch(tensor, form, sizes))


def expect_each(tensor: Tensor | None, form: str, count: int, *sizes: int | None) -> None:
    """As `expect`, where the first axis may also have the size 1: one for all `count`."""
    if tensor is None or (tensor.shape[:1] == (1,) and tensor.shape[1:] == sizes):
        return
    expect(tensor, form, count, *sizes)


def expect_taps(kernel_size: int, dilation: int) -> None:
    """Raise unless a convolution has a tap, and taps follow one another."""
    if kernel_size < 1 or dilation < 1:
        raise ValueError(f"K and dilation must be at least 1, got K = {kernel_size} and a dilation of {dilation}")


def expect_even_padding(kernel_size: int, dilation: int) -> None:
    """As `expect_taps`, and raise unless `(K - 1) * dilation` steps of padding can be split evenly."""
    expect_taps(kernel_size, dilation)
    if (kernel_size - 1) * dilation % 2:
        raise ValueError(f"(K - 1) * dilation must be even, got K = {kernel_size} and a dilation of {dilation}")


def _mismatch(tensor: Tensor, form: str, sizes: tuple[int | None, ...]) -> str:
    name, _, listed = form.partition(" ")
    names = [axis.removesuffix(" or 1") for axis in listed[1:-1].split(", ")]
    fixed = [f"{axis} = {size}" for axis, size in zip(names, sizes, strict=False) if size is not None]
    return f"{name} must be {listed}{' with ' if fixed else ''}{', '.join(fixed)}, got {tuple(tensor.shape)}"
