"""What a run tells: TensorBoard events on the way, and a page of curves, pictures and sounds that opens anywhere."""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..audio.files import write_audio
from ..storage import replacing, write_text
from .pictures import alignment_matrix, coloured, curves_svg, png

__all__ = ["Events", "Sample", "write_report", "write_sample"]

Row = Mapping[str, float]
"""A line of the history: `step`, and losses by name."""


class Sample:
    """A clip held back, as the voice has it at some step.

    Args:
        name: the clip's id.
        text: what is said in it.
        durations: frames of each token, as aligned.
        recorded, rebuilt: log mel spectrograms `[mel_bins, T_frames]` of the recording and of what the decoder makes of
            its latents.
        sounds: waveforms `[T_samples]` by what they are.
    """

    def __init__(
        self,
        name: str,
        text: str,
        durations: Sequence[int],
        recorded: np.ndarray,
        rebuilt: np.ndarray,
        sounds: Mapping[str, np.ndarray],
    ) -> None:
        self.name, self.text, self.sounds = name, text, sounds
        low, high = float(recorded.min()), float(recorded.max())
        self.pictures = {
            "alignment": coloured(alignment_matrix(durations)),
            "mel of the recording": coloured(recorded, low, high),
            "mel rebuilt": coloured(rebuilt, low, high),
        }


class Events:
    """TensorBoard's event files, in `OUTPUT/events`.

    Args:
        folder: the run's folder.
        step: events of later steps, of a run that was cut off, are dropped.

    Raises:
        ImportError: `tensorboard` is not installed.
    """

    def __init__(self, folder: Path, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError(
                "TensorBoard events need the package `tensorboard`: install `fastvits[train]`, or train without them"
            ) from error
        self._writer: Any = SummaryWriter(str(folder / "events"), purge_step=step + 1 if step else None)

    def losses(self, group: str, row: Row, learning_rate: float | None = None) -> None:
        """The losses of a step, as `GROUP/NAME`."""
        step = int(row["step"])
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(f"{group}/{name}", value, step)
        if learning_rate is not None:
            self._writer.add_scalar("learning rate", learning_rate, step)

    def sample(self, sample: Sample, step: int, sampling_rate: int) -> None:
        """The pictures and sounds of a clip held back."""
        for name, picture in sample.pictures.items():
            self._writer.add_image(f"{sample.name}/{name}", picture, step, dataformats="HWC")
        for name, sound in sample.sounds.items():
            self._writer.add_audio(f"{sample.name}/{name}", sound[None], step, sample_rate=sampling_rate)

    def flush(self) -> None:
        """Bring the events to the disk."""
        self._writer.flush()

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()


def write_sample(folder: Path, sample: Sample, step: int, sampling_rate: int) -> None:
    """Pictures and sounds as files in `OUTPUT/samples/step-00001000`."""
    place = folder / "samples" / f"step-{step:08d}"
    place.mkdir(parents=True, exist_ok=True)
    stem = "".join(character if character.isalnum() or character in "-_." else "_" for character in sample.name)
    for name, picture in sample.pictures.items():
        with replacing(place / f"{stem}-{name.replace(' ', '-')}.png") as temporary:
            temporary.write_bytes(png(picture))
    for name, sound in sample.sounds.items():
        with replacing(place / f"{stem}-{name}.wav") as temporary:
            write_audio(temporary, sound, sampling_rate)


def write_report(
    folder: Path,
    *,
    title: str,
    facts: Mapping[str, str],
    training: Sequence[Row],
    validation: Sequence[Row],
    samples: Sequence[Sample],
    sampling_rate: int,
    notes: Sequence[str],
) -> Path:
    """`OUTPUT/report.html`: facts of the run, loss curves, and the last samples, all in one file."""
    names = sorted({name for row in [*training, *validation] for name in row if name != "step"})
    parts = [
        "<!doctype html><html><head><meta charset='utf-8'>",
        f"<title>{html.escape(title)}</title>",
        "<style>body{font-family:sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem}"
        "td{padding:.1rem .8rem .1rem 0}img{image-rendering:pixelated;width:100%;max-height:16rem}"
        ".curves{display:flex;flex-wrap:wrap;gap:1rem}</style></head><body>",
        f"<h1>{html.escape(title)}</h1><table>",
        *(f"<tr><td>{html.escape(key)}</td><td>{html.escape(value)}</td></tr>" for key, value in facts.items()),
        "</table>",
    ]
    if notes:
        parts += ["<h2>What happened</h2><ul>", *(f"<li>{html.escape(note)}</li>" for note in notes), "</ul>"]
    parts.append("<h2>Losses</h2><div class='curves'>")
    for name in names:
        curves = {
            kind: [(row["step"], row[name]) for row in rows if name in row]
            for kind, rows in (("training", training), ("validation", validation))
        }
        parts.append(curves_svg(name, {kind: points for kind, points in curves.items() if points}))
    parts.append("</div>")
    for sample in samples:
        parts.append(f"<h2>{html.escape(sample.name)}</h2><p>{html.escape(sample.text)}</p>")
        for name, sound in sample.sounds.items():
            parts.append(
                f"<p>{html.escape(name)}<br><audio controls src='{_wav_address(sound, sampling_rate)}'></audio></p>"
            )
        for name, picture in sample.pictures.items():
            encoded = base64.b64encode(png(picture)).decode()
            parts.append(f"<p>{html.escape(name)}<br><img alt='' src='data:image/png;base64,{encoded}'></p>")
    parts.append("</body></html>\n")
    file = folder / "report.html"
    write_text(file, "\n".join(parts))
    return file


def _wav_address(sound: np.ndarray, sampling_rate: int) -> str:
    from ..audio.files import AudioWriter

    stream = io.BytesIO()
    with AudioWriter(stream, sampling_rate) as writer:
        writer.write(sound)
    return f"data:audio/wav;base64,{base64.b64encode(stream.getvalue()).decode()}"
