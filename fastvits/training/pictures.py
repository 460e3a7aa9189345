"""Pictures of a training run, made of numbers alone: matrices as PNG images, curves as SVG."""

import html
import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

__all__ = ["alignment_matrix", "coloured", "curves_svg", "png"]

_STOPS = np.array([[0.05, 0.03, 0.20], [0.33, 0.07, 0.43], [0.68, 0.19, 0.39], [0.94, 0.45, 0.18], [0.98, 0.95, 0.65]])
"""Colours from the lowest to the highest value, in RGB."""
_LINES = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf")


def coloured(matrix: np.ndarray, lowest: float | None = None, highest: float | None = None) -> np.ndarray:
    """A matrix `[rows, columns]` as an image `[rows, columns, 3]` of bytes, its first row at the bottom."""
    low = float(matrix.min()) if lowest is None else lowest
    high = float(matrix.max()) if highest is None else highest
    place = np.clip((matrix[::-1] - low) / max(high - low, 1e-12), 0, 1) * (len(_STOPS) - 1)
    below = np.minimum(place.astype(int), len(_STOPS) - 2)
    share = (place - below)[..., None]
    return np.rint(255 * ((1 - share) * _STOPS[below] + share * _STOPS[below + 1])).astype(np.uint8)


def alignment_matrix(durations: Sequence[int]) -> np.ndarray:
    """The path `[tokens, frames]` of durations in frames: 1 where a token is heard."""
    tokens = np.repeat(np.arange(len(durations)), durations)
    path = np.zeros((len(durations), len(tokens)), np.float32)
    path[tokens, np.arange(len(tokens))] = 1
    return path


def png(image: np.ndarray) -> bytes:
    """An image `[rows, columns, 3]` of bytes as a PNG file."""
    rows, columns, _ = image.shape
    lines = np.zeros((rows, 1 + 3 * columns), np.uint8)  # each line begins with its filter, none
    lines[:, 1:] = image.reshape(rows, -1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    body = zlib.compress(lines.tobytes(), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def curves_svg(title: str, curves: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Curves of (step, value) points in one picture with axes; points that are not finite are left out."""
    width, height, left, right, top, bottom = 560, 260, 64, 12, 28, 34
    finite = {name: [(x, y) for x, y in points if np.isfinite(y)] for name, points in curves.items() if len(points) > 0}
    points = [point for curve in finite.values() for point in curve]
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="11">',
        f'<text x="{left}" y="16" font-size="13" font-weight="bold">{html.escape(title)}</text>',
    ]
    if not points:
        return "\n".join([*lines, f'<text x="{left}" y="60">nothing yet</text>', "</svg>\n"])
    xs, ys = [x for x, _ in points], [y for _, y in points]
    low_x, high_x = min(xs), max(max(xs), min(xs) + 1)
    margin = 0.05 * (max(ys) - min(ys)) or 0.05 * abs(max(ys)) or 1.0
    low_y, high_y = min(ys) - margin, max(ys) + margin

    def place(x: float, y: float) -> str:
        across = left + (x - low_x) / (high_x - low_x) * (width - left - right)
        down = top + (high_y - y) / (high_y - low_y) * (height - top - bottom)
        return f"{across:.1f},{down:.1f}"

    for share in (0, 0.25, 0.5, 0.75, 1):
        value = low_y + share * (high_y - low_y)
        x0, y0 = place(low_x, value).split(",")
        lines.append(f'<line x1="{x0}" y1="{y0}" x2="{width - right}" y2="{y0}" stroke="#ddd"/>')
        lines.append(f'<text x="{left - 6}" y="{float(y0) + 4:.1f}" text-anchor="end">{value:.4g}</text>')
        step = low_x + share * (high_x - low_x)
        x0, y0 = place(step, low_y).split(",")
        lines.append(f'<text x="{x0}" y="{float(y0) + 15:.1f}" text-anchor="middle">{step:.0f}</text>')
    for place_in_key, (name, curve) in enumerate(finite.items()):
        colour = _LINES[place_in_key % len(_LINES)]
        path = " ".join(place(x, y) for x, y in curve)
        lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        x = left + 130 * place_in_key + 140
        lines.append(f'<rect x="{x}" y="8" width="10" height="3" fill="{colour}"/>')
        lines.append(f'<text x="{x + 14}" y="14">{html.escape(name)}</text>')
    return "\n".join([*lines, "</svg>\n"])
