"""A small speech recogniser (pocketsphinx) and the sentences that it is given, of plain words that it knows."""

from collections.abc import Iterable

import jiwer
import numpy as np
import pocketsphinx

SENTENCES = [
    "the cat sat on the floor and looked at the window",
    "we will meet you in the city tomorrow morning",
    "she gave him the money and went back to work",
    "there are seven days in a week and twelve months in a year",
    "my brother wants to buy a new car next summer",
    "the children are playing in the garden with a ball",
    "he did not know what to say about the problem",
    "please open the door and turn on the light",
    "the government said that the price of oil would go up",
    "i would like a cup of coffee and a piece of bread",
    "the train to london leaves at nine in the evening",
    "many people believe that the world is getting better",
    "our teacher told us a story about a king and a queen",
    "the water in the river is cold at this time of the year",
    "you should never talk to people like that again",
    "they built a big house on the hill near the sea",
    "the doctor asked me how many hours i sleep at night",
    "this book is about the history of the american people",
    "it is hard to find a good job in a small town",
    "the company will open two hundred new stores this year",
]


def heard(waveforms: Iterable[np.ndarray], sampling_rate: int) -> list[str]:
    """The words of each waveform `[T_samples]`, resampled by its spectrum and brought to full loudness.

    One recogniser, a new one, hears them in this order.
    """
    decoder = pocketsphinx.Decoder(samprate=16000, loglevel="FATAL", maxhmmpf=3000, maxwpf=10)
    texts = []
    for waveform in waveforms:
        spectrum = np.fft.rfft(waveform.astype(np.float64))
        samples = len(waveform) * 16000 // sampling_rate
        resampled = np.fft.irfft(spectrum[: samples // 2 + 1], samples) * samples / len(waveform)
        decoder.start_utt()
        decoder.process_raw((resampled * 32767 / np.abs(resampled).max()).astype(np.int16).tobytes(), full_utt=True)
        decoder.end_utt()
        texts.append(decoder.hyp().hypstr if decoder.hyp() else "")
    return texts


def word_error_rate(spoken: list[str], heard: list[str]) -> float:
    """Words that are wrong, missing or too many, as a share of those spoken."""
    return float(jiwer.wer(spoken, heard))
