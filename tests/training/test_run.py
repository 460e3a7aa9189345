"""A run of training: it learns, it can be stopped at any moment, and what it makes is a voice like any other."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import fastvits.training.run as run_module
from fastvits import VitsModel, VitsTokenizer, synthesize
from fastvits.audio.files import write_audio
from fastvits.cli import main
from fastvits.training import checkpoints
from fastvits.training.discriminator import PeriodDiscriminator, VitsDiscriminator
from fastvits.training.run import NotTrainable, TrainingFailed, UnusableData, train
from fastvits.training.settings import TrainingSettings
from tests.support.small_voices import save_small_voice
from tests.support.tolerances import AVERAGED_PROCESSES, FOLDED_DECODER_FLOAT32, HALF_PRECISION_LOSSES

ROOT = Path(__file__).parents[2]
STILL = {
    "hidden_dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "duration_predictor_dropout": 0.0,
    "layerdrop": 0.0,
}


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """A small voice, one without dropout, and a folder of what the first one says."""
    folder = tmp_path_factory.mktemp("material")
    save_small_voice(folder / "voice")
    save_small_voice(folder / "still", **STILL)
    words = ["new", "old", "big", "sad", "bad", "red", "two", "tall", "fat", "thin"]
    synthesize([f"hello my {word} dog is a good dog" for word in words], folder / "data", model=folder / "voice")
    return folder


def narrow():
    """Two discriminators of few channels: the same code on a hundredth of the weights."""
    made = VitsDiscriminator(())
    made.discriminators = torch.nn.ModuleList(PeriodDiscriminator(p, (4, 8, 8, 16, 16)) for p in (2, 3))
    return made


@pytest.fixture(autouse=True)
def narrow_discriminators(monkeypatch):
    monkeypatch.setattr(run_module, "VitsDiscriminator", narrow)


def settings(**changes):
    return TrainingSettings(
        **{"steps": 4, "batch_size": 4, "validation_interval": 2, "checkpoint_interval": 2, "samples": 1, **changes}
    )


def state_of(folder):
    state = checkpoints.load_newest(folder)
    assert state is not None
    return state


def assert_equal(one, other):
    """Nested dictionaries and lists of tensors and numbers are the same to the last bit."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for first, second in zip(one, other, strict=True):
            assert_equal(first, second)
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    else:
        assert one == other


def test_the_command_trains_a_voice_that_speaks_and_that_transformers_loads(material, tmp_path, capsys):
    output = tmp_path / "out"
    command = ["train", str(material / "data"), "--from", str(material / "voice"), "--output", str(output)]
    assert main([*command, "--steps", "2", "--batch-size", "2", "--checkpoint-interval", "2", "--samples", "1"]) == 0
    told = capsys.readouterr()
    assert "10 clips can be used" in told.err
    assert "updates: 2" in told.out
    assert main(["say", "hello dog", "--voice", str(output), "--seed", "1", "--output", str(tmp_path / "a.wav")]) == 0
    assert (tmp_path / "a.wav").stat().st_size > 1000
    for name in ("report.html", "discriminator.safetensors", "config.json", "model.safetensors", "vocab.json"):
        assert (output / name).is_file(), name
    assert "<svg" in (output / "report.html").read_text()
    assert list((output / "events").glob("events.out.tfevents.*"))
    assert {path.suffix for path in (output / "samples" / "step-00000002").iterdir()} == {".png", ".wav"}

    # What was saved is what was trained, its weight norm folded; transformers speaks as we do.
    state = state_of(output)
    gain = state["generator"]["decoder.upsampler.0.parametrizations.weight.original0"]
    direction = state["generator"]["decoder.upsampler.0.parametrizations.weight.original1"]
    mine, theirs = VitsModel.from_pretrained(output), transformers.VitsModel.from_pretrained(output).eval()
    weight = mine.decoder.upsampler[0].weight
    expected = direction.double() * gain.double() / direction.double().norm(dim=(1, 2), keepdim=True)
    assert (weight - expected).norm() <= FOLDED_DECODER_FLOAT32 * expected.norm()
    ids = VitsTokenizer.from_pretrained(output)("hello dog", return_tensors="pt")
    with torch.no_grad():
        torch.manual_seed(0)
        spoken = mine(**ids).waveform
        torch.manual_seed(0)
        assert (theirs(**ids).waveform - spoken).abs().max() < 1e-4
    before = VitsModel.from_pretrained(material / "voice").text_encoder.project.weight
    assert not torch.equal(mine.text_encoder.project.weight, before)


def test_a_run_that_was_stopped_goes_on_to_the_last_bit(material, tmp_path):
    def go(folder, steps):
        return train(material / "data", material / "voice", folder, settings(steps=steps), events=False)

    go(tmp_path / "whole", 4)
    go(tmp_path / "parts", 2)
    # Killed while it wrote the next checkpoint: what is half there does not count.
    (tmp_path / "parts" / "checkpoints" / ".partial-00000003").mkdir()
    report = go(tmp_path / "parts", 4)
    whole, parts = state_of(tmp_path / "whole"), state_of(tmp_path / "parts")
    for state in (whole, parts):
        state["identity"]["settings"].pop("steps")
        state.pop("training")  # the whole run's history has no line at step 2
        state.pop("recent")
    assert_equal(whole, parts)
    assert report.step == 4
    assert [row["step"] for row in report.validation] == [0, 2, 4]


def test_bad_checkpoints_are_refused_and_never_passed_over(material, tmp_path):
    output = tmp_path / "out"
    train(material / "data", material / "voice", output, settings(steps=2), events=False)
    with pytest.raises(ValueError, match="other settings \\(learning_rate\\)"):
        train(material / "data", material / "voice", output, settings(learning_rate=1e-3), events=False)
    rows = (material / "data" / "manifest.jsonl").read_text().splitlines()
    fewer = tmp_path / "fewer.jsonl"
    fewer.write_text("\n".join(row.replace('"file": "', f'"file": "{material}/data/') for row in rows[:8]))
    with pytest.raises(ValueError, match="other data"):
        train(fewer, material / "voice", output, settings(), events=False)
    (state,) = (output / "checkpoints").glob("step-*/state.pt")
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    state.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged"):
        train(material / "data", material / "voice", output, settings(), events=False)
    state.write_bytes(b"")
    with pytest.raises(ValueError, match="is damaged"):
        train(material / "data", material / "voice", output, settings(), events=False)


def test_nan_is_skipped_counted_and_in_the_end_stops_the_run(material, tmp_path, monkeypatch):
    real = run_module.Networks.forward
    bad_updates = {1}

    def forward(self, batch):
        output = real(self, batch)
        if forward.calls in bad_updates:
            output.loss_mel = output.loss_mel * math.nan
        forward.calls += 1
        return output

    forward.calls = 0
    monkeypatch.setattr(run_module.Networks, "forward", forward)
    plain = settings(adversarial=False, validation_clips=0, samples=0)
    report = train(material / "data", material / "voice", tmp_path / "one", plain, events=False)
    ((step, names),) = report.skipped
    assert step == 2
    assert len(names) == 4
    assert math.isfinite(report.training[-1]["mel"])
    forward.calls, bad_updates = 0, {1, 2, 3}
    with pytest.raises(TrainingFailed, match=r"3 updates in a row, the last of them 4: .* the clips were 0000"):
        train(material / "data", material / "voice", tmp_path / "three", plain, events=False)


def assert_same_update(one, other, tolerance):
    """The losses of the last line, and what moved, agree."""
    for name, value in one["training"][-1].items():
        assert other["training"][-1][name] == pytest.approx(value, rel=tolerance), name
    for network in ("generator", "discriminator"):
        difference = torch.cat([(one[network][name] - other[network][name]).flatten() for name in one[network]])
        whole = torch.cat([tensor.flatten() for tensor in one[network].values()])
        assert difference.norm() <= tolerance * whole.norm(), network


def test_two_processes_learn_as_one_with_the_whole_batch(material, tmp_path):
    command = ["train", str(material / "data"), "--from", str(material / "still"), "--steps", "2", "--batch-size", "4"]
    command += ["--no-events", "--quiet", "--samples", "0", "--checkpoint-interval", "2", "--device", "cpu"]
    assert main([*command, "--output", str(tmp_path / "one")]) == 0
    # A process of its own needs the narrow discriminators as well.
    program = "import sys; from tests.training.test_run import narrow, run_module; from fastvits.cli import main; "
    program += "run_module.VitsDiscriminator = narrow; sys.exit(main(sys.argv[1:]))"
    port = 20000 + os.getpid() % 20000
    started = []
    for rank in range(2):
        environment = {
            **os.environ,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'kernels'}",
            "OMP_NUM_THREADS": "1",
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        arguments = [sys.executable, "-c", program, *command, "--output", str(tmp_path / "two")]
        started.append(subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE))
    for process in started:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors.decode()
    assert_same_update(state_of(tmp_path / "one"), state_of(tmp_path / "two"), AVERAGED_PROCESSES)


def test_accumulated_batches_are_one_large_batch(material, tmp_path):
    # All eight clips are in the update either way, in batches of other lengths.
    states = []
    for batch_size, accumulation in ((8, 1), (4, 2), (2, 4)):
        folder = tmp_path / str(batch_size)
        chosen = settings(
            steps=1, batch_size=batch_size, accumulation=accumulation, validation_clips=2, samples=0,
            discriminator_warmup=1, checkpoint_interval=1,
        )  # fmt: skip
        train(material / "data", material / "still", folder, chosen, events=False)
        states.append(state_of(folder))
    for state in states[1:]:
        assert_same_update(states[0], state, AVERAGED_PROCESSES)


def test_four_clips_are_learnt_by_heart(tmp_path):
    save_small_voice(
        tmp_path / "voice",
        spectrogram_bins=129,
        upsample_rates=[8, 8],
        upsample_kernel_sizes=[16, 16],
        upsample_initial_channel=32,
        num_hidden_layers=1,
        prior_encoder_num_wavenet_layers=1,
    )
    rows, seconds = [], np.arange(9600) / 16000
    for pitch, text in ((110, "hello dog"), (150, "my dog"), (200, "a good dog"), (260, "hello my")):
        phase = 2 * np.pi * pitch * (1 + 0.2 * seconds) * seconds
        sound = sum(np.sin(overtone * phase) / overtone for overtone in range(1, 20))
        write_audio(tmp_path / f"{pitch}.wav", (0.1 * sound).astype(np.float32), 16000)
        rows.append(json.dumps({"file": f"{pitch}.wav", "text": text}))
    (tmp_path / "data.jsonl").write_text("\n".join(rows))
    recipe = settings(
        steps=60, learning_rate=6e-3, adversarial=False, samples=0, validation_interval=99, checkpoint_interval=99
    )
    report = train(
        tmp_path / "data.jsonl", tmp_path / "voice", tmp_path / "out", recipe, from_scratch=True, events=False
    )
    # The first line is the mean of ten updates, less than where it began.
    assert report.training[-1]["mel"] < 0.5 * report.training[0]["mel"]


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_leaves_parameters_in_float32(material, tmp_path, precision):
    lines = {}
    for chosen in ("float32", precision):
        plain = settings(steps=1, precision=chosen, validation_clips=0, samples=0)
        report = train(material / "data", material / "voice", tmp_path / chosen, plain, events=False)
        assert report.skipped == []
        lines[chosen] = report.training[-1]
    for name, value in lines["float32"].items():
        assert lines[precision][name] == pytest.approx(value, rel=HALF_PRECISION_LOSSES), name
    state = state_of(tmp_path / precision)
    assert {tensor.dtype for tensor in state["generator"].values()} == {torch.float32}
    begun = VitsModel.from_pretrained(material / "voice").state_dict()
    moved = {name.split(".")[0] for name in begun.keys() & state["generator"].keys()
             if not torch.equal(begun[name], state["generator"][name])}  # fmt: skip
    if moved:
        assert moved == {"text_encoder", "posterior_encoder", "flow", "duration_predictor", "decoder"}
    else:  # the first scale was too large for float16: no step, and a smaller scale for the next one
        assert precision == "float16"
        assert state["scalers"][0]["scale"] == 2**15


def test_a_voice_without_a_posterior_encoder_says_so_and_can_get_one(material, tmp_path):
    VitsModel.from_pretrained(material / "voice", inference_only=True).save_pretrained(tmp_path / "mute")
    VitsTokenizer.from_pretrained(material / "voice").save_pretrained(tmp_path / "mute")
    with pytest.raises(NotTrainable, match="--only-posterior"):
        train(material / "data", tmp_path / "mute", tmp_path / "out", settings(), events=False)
    report = train(
        material / "data", tmp_path / "mute", tmp_path / "out", settings(samples=0), only_posterior=True, events=False
    )
    before, after = VitsModel.from_pretrained(tmp_path / "mute").state_dict(), VitsModel.from_pretrained(report.folder)
    assert all(torch.equal(tensor, after.state_dict()[name]) for name, tensor in before.items())
    assert hasattr(after, "posterior_encoder")


def test_new_speakers_and_letters_leave_the_voice_as_it_was(material, tmp_path):
    rows = [json.loads(row) for row in (material / "data" / "manifest.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        row |= {"file": str(material / "data" / row["file"]), "speaker": ["anna", "bert"][number % 2]}
        row["text"] += " é"
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    recipe = settings(steps=1, learning_rate=1e-12, adversarial=False, samples=0, checkpoint_interval=1)
    with pytest.raises(UnusableData, match="the vocabulary lacks"):
        train(tmp_path / "data.jsonl", material / "voice", tmp_path / "none", recipe, events=False)
    report = train(
        tmp_path / "data.jsonl", material / "voice", tmp_path / "out", recipe, extend_vocabulary=True, events=False
    )
    old, new = VitsModel.from_pretrained(material / "voice"), VitsModel.from_pretrained(report.folder)
    assert (new.config.num_speakers, new.config.speaker_embedding_size) == (2, 256)
    number = VitsTokenizer.from_pretrained(report.folder).convert_tokens_to_ids("é")
    assert old.config.vocab_size <= number < new.config.vocab_size
    ids = VitsTokenizer.from_pretrained(report.folder)("hello dog", return_tensors="pt")
    with torch.no_grad():
        spoken = [new(**ids, speaker_id=speaker, seed=3).waveform for speaker in (0, 1)]
        expected = old(**ids, seed=3).waveform
    for waveform in spoken:
        np.testing.assert_allclose(waveform, expected, atol=1e-4)
    said = main(
        ["say", "hello é", "--voice", str(report.folder), "--speaker", "bert", "--output", str(tmp_path / "b.wav")]
    )
    assert said == 0


def test_what_shall_learn_and_what_to_learn_from_has_to_be_there(material, tmp_path, capsys):
    with pytest.raises(ValueError, match=r"begins with 'flw\.'; the parts of the voice are .*flow\."):
        train(
            material / "data", material / "voice", tmp_path / "out", settings(trained=("flow.", "flw.")), events=False
        )
    command = ["train", "--from", str(material / "voice"), "--output", str(tmp_path / "out")]
    assert main([*command, str(tmp_path / "nowhere")]) == 2
    assert "nowhere does not exist" in capsys.readouterr().err


def test_strict_refuses_data_that_is_not_all_usable(material, tmp_path):
    manifest = tmp_path / "data.jsonl"
    file = material / "data" / "000001.wav"
    manifest.write_text(f'{{"file": "{file}", "text": "hello"}}\n{{"file": "gone.wav", "text": "hello"}}\n')
    with pytest.raises(UnusableData, match=r"gone: .* does not exist"):
        train(manifest, material / "voice", tmp_path / "out", settings(strict=True), events=False)
    assert not (tmp_path / "out" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"steps": 0}, ValueError, "steps must be at least 1"),
        ({"steps": 1.5}, TypeError, "steps must be a whole number"),
        ({"learning_rate": float("nan")}, ValueError, "learning_rate must be above 0"),
        ({"precision": "int8"}, ValueError, "precision must be one of"),
        ({"min_seconds": 3.0, "max_seconds": 2.0}, ValueError, "min_seconds"),
        ({"betas": (1.0, 0.9)}, ValueError, "betas"),
        ({"unknown": 1}, TypeError, "unknown"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, error, message):
    with pytest.raises(error, match=message):
        TrainingSettings(**changes)
