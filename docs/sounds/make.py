"""Say `hello.txt` into `hello.mp3` with the bundled voice: `python docs/sounds/make.py`."""

from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
SEED = 7


def spoken() -> tuple[np.ndarray[Any, Any], int]:
    """What `fastvits say --file docs/sounds/hello.txt --seed 7` says: float32 samples, and how many a second."""
    from fastvits import pipeline

    say = pipeline()
    text = (HERE / "hello.txt").read_text(encoding="utf-8").strip()
    return np.concatenate([one.audio_with_pause for one in say.sentences(text, seed=SEED)]), say.sampling_rate


if __name__ == "__main__":
    import soundfile

    samples, rate = spoken()
    soundfile.write(HERE / "hello.mp3", samples, rate, format="MP3", subtype="MPEG_LAYER_III")
    print(f"{HERE / 'hello.mp3'}: {len(samples) / rate:.1f} s, {(HERE / 'hello.mp3').stat().st_size} bytes")
