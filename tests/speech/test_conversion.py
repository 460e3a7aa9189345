"""A recording in another voice: the published steps, and what is asked of it."""

import numpy as np
import pytest
import soundfile
import torch
import transformers

from fastvits import VitsModel
from fastvits.audio.spectrogram import linear_spectrogram
from fastvits.cli import main
from tests.support.models import CONFIGURATIONS, own_model, relative_rms
from tests.support.small_voices import save_small_voice
from tests.support.tolerances import MODEL_FLOAT32, MODEL_FLOAT64


def waveforms(batch, samples, dtype=torch.float64):
    return torch.rand(batch, samples, generator=torch.Generator().manual_seed(0), dtype=dtype) - 0.5


def test_conversion_is_transformers_modules_in_the_published_order():
    model = own_model(CONFIGURATIONS["multi-speaker"]).double()
    theirs = transformers.VitsModel(transformers.VitsConfig(**CONFIGURATIONS["multi-speaker"])).double().eval()
    theirs.load_state_dict(model.state_dict())
    waveform = waveforms(1, 40 * 8)
    output = model.convert(waveform, 1, 4, noise_scale=0)
    spectrogram = linear_spectrogram(waveform, 64, 8)
    with torch.no_grad():
        source, target = (theirs.embed_speaker(torch.tensor([one])).unsqueeze(-1) for one in (1, 4))
        mask = torch.ones(1, 1, 40, dtype=torch.float64)
        _, mean, _ = theirs.posterior_encoder(spectrogram, mask, source)
        latents = theirs.flow(theirs.flow(mean, mask, source), mask, target, reverse=True)
        expected = theirs.decoder(latents, target)[:, 0]
    assert relative_rms(output.waveform, expected) <= MODEL_FLOAT64
    assert output.sequence_lengths.tolist() == [40 * 8]
    assert relative_rms(model.convert(spectrogram, 1, 4, noise_scale=0).waveform, expected) <= MODEL_FLOAT64


def test_an_item_sounds_the_same_alone_and_in_a_batch():
    model = own_model(CONFIGURATIONS["multi-speaker"])
    waveform = waveforms(2, 320, torch.float32)
    together = model.convert(waveform, [0, 1], [2, 3], lengths=[320, 200], seed=[5, 6])
    alone = model.convert(waveform[1, :200], 1, 3, seed=6)
    assert relative_rms(together.waveform[1:, :200], alone.waveform) <= MODEL_FLOAT32
    assert not together.waveform[1, 200:].any()
    other = model.convert(waveform[1, :200], 1, 3, seed=7)
    assert not torch.equal(other.waveform, alone.waveform)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((torch.zeros(300, dtype=torch.int64), 0, 1), {}, TypeError, "floating-point"),
        ((torch.zeros(1, 32, 9), 0, 1), {}, ValueError, "33 bins"),
        ((torch.full((300,), float("nan")), 0, 1), {}, ValueError, "finite"),
        ((torch.zeros(300), 0, 9), {}, ValueError, "out of range"),
        ((torch.zeros(300), 0), {}, ValueError, "5 speakers"),
        ((torch.zeros(300), 0, 1), {"lengths": [301]}, ValueError, "lengths"),
        ((torch.zeros(300), 0, 1), {"noise_scale": -1}, ValueError, "noise_scale"),
        ((torch.zeros(20), 0, 1), {}, ValueError, "at least"),
    ],
)
def test_what_cannot_be_converted_is_refused(arguments, options, error, message):
    model = own_model(CONFIGURATIONS["multi-speaker"])
    with pytest.raises(error, match=message):
        model.convert(*arguments, **options)


def test_the_command_converts_a_file_of_another_rate(tmp_path, capsys):
    voice = save_small_voice(tmp_path / "voice", num_speakers=3, speaker_embedding_size=8)
    rate = VitsModel.from_pretrained(voice).config.sampling_rate
    soundfile.write(tmp_path / "in.wav", 0.3 * np.sin(np.arange(rate) / 10), 2 * rate)
    command = ["revoice", str(tmp_path / "in.wav"), "--voice", str(voice), "--output", str(tmp_path / "out.wav")]
    assert main([*command, "--from", "0", "--to", "2", "--seed", "1"]) == 0
    made, its_rate = soundfile.read(tmp_path / "out.wav")
    assert its_rate == rate
    assert abs(len(made) - rate // 2) <= 16
    assert main(command) == 2
    assert "say which by --from and --to" in capsys.readouterr().err
    VitsModel.from_pretrained(voice, inference_only=True).save_pretrained(tmp_path / "mute")
    command[3] = str(tmp_path / "mute")
    assert main([*command, "--from", "0", "--to", "2"]) == 2
    assert "no posterior encoder" in capsys.readouterr().err
