"""Programs around a voice, as people write them: the same with fastvits as with transformers."""

import asyncio
import base64
import copy
import io
import json
import threading
import wave
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch

from tests.dropin.runner import Checkpoints, Snippet, Snippets, check

snippet = Snippets()

TEXT = "hello my dog is cute"


def spoken(m: Any, at: Checkpoints, text: str = TEXT, **inputs: Any) -> Any:
    """A voice loaded and a text spoken, as on model cards."""
    model = m.VitsModel.from_pretrained(at.single)
    tokenizer = m.AutoTokenizer.from_pretrained(at.single)
    m.set_seed(555)
    with torch.no_grad():
        return model, model(**tokenizer(text, return_tensors="pt"), **inputs)


@snippet
def the_model_card(m: Any, at: Checkpoints) -> Any:
    model, output = spoken(m, at)
    return output.waveform, model.config.sampling_rate


@snippet
def any_model_to_a_waveform(m: Any, at: Checkpoints) -> Any:
    tokenizer = m.AutoTokenizer.from_pretrained(at.single)
    model = m.AutoModelForTextToWaveform.from_pretrained(at.single).to("cpu").eval()
    inputs = tokenizer(TEXT, return_tensors="pt").to(model.device)
    m.set_seed(1)
    with torch.inference_mode():
        return model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).waveform.squeeze().numpy()


@snippet
def any_model(m: Any, at: Checkpoints) -> Any:
    config = m.AutoConfig.from_pretrained(at.single, noise_scale=0.2)
    model = m.AutoModel.from_pretrained(at.single, config=config)
    fresh = m.AutoModel.from_config(config)
    return config.model_type, model.noise_scale, at.speak(model), sorted(fresh.state_dict())


@snippet(raises=True)
def an_auto_class_made(m: Any, at: Checkpoints) -> Any:
    return m.AutoModel()


@snippet
def a_wav_of_whole_numbers(m: Any, at: Checkpoints) -> Any:
    model, output = spoken(m, at)
    samples = (output.waveform[0].cpu().float().numpy() * 32767).clip(-32768, 32767).astype(np.int16)
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(model.config.sampling_rate)
        written.writeframes(samples.tobytes())
    file.seek(0)
    with wave.open(file, "rb") as read:
        return read.getnframes(), read.getframerate()


@snippet(needs="soundfile")
def a_file_in_memory(m: Any, at: Checkpoints) -> Any:
    import soundfile

    model, output = spoken(m, at)
    file = io.BytesIO()
    soundfile.write(file, output.waveform.squeeze(0).numpy(), model.config.sampling_rate, format="WAV", subtype="FLOAT")
    file.seek(0)
    return soundfile.read(file, dtype="float32")


@snippet(needs="scipy")
def a_wav_by_scipy(m: Any, at: Checkpoints) -> Any:
    import scipy.io.wavfile

    model, output = spoken(m, at)
    path = at.scratch / "techno.wav"
    scipy.io.wavfile.write(path, rate=model.config.sampling_rate, data=output.waveform[0].numpy())
    return scipy.io.wavfile.read(path)


@snippet
def an_endpoint(m: Any, at: Checkpoints) -> Any:
    class Handler:
        def __init__(self, path: str = "") -> None:
            self.model = m.VitsModel.from_pretrained(path)
            self.tokenizer = m.AutoTokenizer.from_pretrained(path)
            self.model.eval()

        def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
            inputs = self.tokenizer(data.pop("inputs", data), return_tensors="pt")
            m.set_seed(data.get("parameters", {}).get("seed", 0))
            with torch.no_grad():
                samples = self.model(**inputs).waveform.squeeze().numpy().astype("<f4")
            return {"audio": base64.b64encode(samples.tobytes()).decode(), "rate": self.model.config.sampling_rate}

    answer = json.loads(json.dumps(Handler(at.single)({"inputs": TEXT, "parameters": {"seed": 3}})))
    return answer["rate"], torch.frombuffer(bytearray(base64.b64decode(answer["audio"])), dtype=torch.float32)


@snippet
def sentence_by_sentence(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.single)
    tokenizer = m.VitsTokenizer.from_pretrained(at.single)
    silence = torch.zeros(1, int(0.1 * model.config.sampling_rate))
    pieces = []
    m.set_seed(2)
    for sentence in ["hello you", " my dog is cute", " bye"]:
        inputs = tokenizer(sentence.strip(), return_tensors="pt")
        if inputs["input_ids"].shape[-1] == 0:
            continue
        with torch.no_grad():
            pieces += [model(**inputs).waveform, silence]
    return torch.cat(pieces, dim=-1)


@snippet
def a_batch_cut_by_its_lengths(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.single)
    tokenizer = m.VitsTokenizer.from_pretrained(at.single)
    batch = tokenizer(["hi you there", "hello my dog is cute"], padding=True, return_tensors="pt")
    m.set_seed(2)
    with torch.no_grad():
        output = model(**batch)
    lengths = output.sequence_lengths
    # Where the longest item's own audio begins and ends no padding is heard by either library.
    longest = int(lengths.argmax())
    return lengths, output.waveform.shape, output.waveform[longest, : lengths[longest]]


@snippet
def a_cached_loader(m: Any, at: Checkpoints) -> Any:
    @lru_cache(maxsize=2)
    def load(name: str) -> Any:
        return m.VitsModel.from_pretrained(name).eval(), m.AutoTokenizer.from_pretrained(name)

    results = []
    for _ in range(2):
        model, tokenizer = load(at.single)
        m.set_seed(4)
        with torch.no_grad():
            results.append(model(**tokenizer(TEXT, return_tensors="pt")).waveform)
    return results, load.cache_info().hits


@snippet
def in_an_executor(m: Any, at: Checkpoints) -> Any:
    model, tokenizer = m.VitsModel.from_pretrained(at.single), m.VitsTokenizer.from_pretrained(at.single)
    lock = threading.Lock()

    def synthesise(text: str) -> Any:
        with lock, torch.no_grad():
            torch.manual_seed(len(text))
            return model(**tokenizer(text, return_tensors="pt")).waveform

    async def both() -> Any:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(2) as pool:
            return await asyncio.gather(*(loop.run_in_executor(pool, synthesise, text) for text in ("hi", "hello you")))

    return asyncio.run(both())


@snippet
def rate_and_noise_by_attribute(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.single)
    results = []
    for rate, noise, duration_noise in ((0.8, 0.667, 0.8), (1.3, 0.1, 0.0)):
        model.speaking_rate, model.noise_scale, model.noise_scale_duration = rate, noise, duration_noise
        results.append(at.speak(model))
    return results


@snippet
def a_rate_by_keyword(m: Any, at: Checkpoints) -> Any:
    return at.speak(m.VitsModel.from_pretrained(at.single), speaking_rate=0.7)


@snippet(strict=False)
def a_mask_with_holes(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.many)
    mask = torch.ones_like(at.ids)
    mask[0, 3:5] = mask[0, 9] = 0
    torch.manual_seed(3)
    with torch.no_grad():
        output = model(at.ids, mask, speaker_id=1, output_hidden_states=True, output_attentions=True)
    return {name: output[name] for name in ("waveform", "sequence_lengths", "hidden_states", "attentions")}


@snippet(refused="no holes")
def a_mask_with_holes_refused(m: Any, at: Checkpoints) -> Any:
    mask = torch.ones_like(at.ids)
    mask[0, 3] = 0
    return at.speak(m.VitsModel.from_pretrained(at.single), attention_mask=mask)


@snippet
def every_speaker(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.many)
    return [at.speak(model, speaker_id=number) for number in range(model.config.num_speakers)]


@snippet
def a_speaker_as_a_tensor(m: Any, at: Checkpoints) -> Any:
    return at.speak(m.VitsModel.from_pretrained(at.many), speaker_id=torch.tensor([1]))


@snippet
def all_outputs(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.single)
    torch.manual_seed(3)
    with torch.no_grad():
        output = model(at.ids, output_hidden_states=True, output_attentions=True, return_dict=True)
    return {
        name: output[name] for name in ("waveform", "sequence_lengths", "spectrogram", "hidden_states", "attentions")
    }


@snippet
def a_tuple(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.single)
    torch.manual_seed(3)
    with torch.no_grad():
        waveform, lengths, spectrogram = model(at.ids, return_dict=False)
    return waveform, lengths, spectrogram


@snippet
def a_tuple_of_an_output(m: Any, at: Checkpoints) -> Any:
    _, output = spoken(m, at)
    return output.to_tuple()[:3], output[0], list(output.keys())[:3], "waveform" in output


@snippet
def the_pipeline_of_the_documentation(m: Any, at: Checkpoints) -> Any:
    m.set_seed(555)
    pipe = m.pipeline(task="text-to-speech", model=at.single, device=-1)
    m.set_seed(555)
    speech = pipe("Hello, my dog is cute")
    return speech["audio"].squeeze(), speech["sampling_rate"]


@snippet
def a_pipeline_for_speakers(m: Any, at: Checkpoints) -> Any:
    pipe = m.pipeline("text-to-audio", model=at.many)
    results = []
    for speaker in (0, 2):
        m.set_seed(7)
        results.append(pipe("hello you", forward_params={"speaker_id": speaker})["audio"].squeeze())
    return results


@snippet
def a_pipeline_of_parts(m: Any, at: Checkpoints) -> Any:
    model, tokenizer = m.VitsModel.from_pretrained(at.single), m.VitsTokenizer.from_pretrained(at.single)
    pipe = m.pipeline("text-to-speech", model=model, tokenizer=tokenizer)
    m.set_seed(7)
    return (
        [one["audio"].squeeze() for one in pipe(["hi", "hello you"])],
        pipe.task,
        str(pipe.device),
        pipe.sampling_rate,
    )


@snippet
def a_voice_in_half_precision(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.single, dtype=torch.bfloat16)
    return model.dtype, str(model.config.dtype), model(at.ids).waveform.dtype


@snippet
def double_precision_and_back(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.single).double()
    wide = at.speak(model)
    return wide, at.speak(model.float())


@snippet
def weights_loaded_by_hand(m: Any, at: Checkpoints) -> Any:
    trained = m.VitsModel.from_pretrained(at.single)
    torch.save(trained.state_dict(), at.scratch / "model.pt")
    model = m.VitsModel(m.VitsConfig.from_pretrained(at.single))
    found = model.load_state_dict(torch.load(at.scratch / "model.pt", weights_only=True))
    return str(found), at.speak(model.eval())


@snippet
def two_voices_mixed(m: Any, at: Checkpoints) -> Any:
    one, other = m.VitsModel.from_pretrained(at.single), m.VitsModel.from_pretrained(at.single)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.99)
    states = one.state_dict(), other.state_dict()
    one.load_state_dict({name: 0.5 * states[0][name] + 0.5 * states[1][name] for name in states[0]})
    return at.speak(one)


@snippet
def speakers_added(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.many)
    old = model.embed_speaker.weight.data
    model.embed_speaker = torch.nn.Embedding(5, old.shape[1])
    model.embed_speaker.weight.data[:3] = old
    model.embed_speaker.weight.data[3:] = old.mean(0)
    model.config.num_speakers = 5
    return at.speak(model, speaker_id=4), at.speak(model, speaker_id=1)


@snippet
def layers_watched(m: Any, at: Checkpoints) -> Any:
    model, seen = m.VitsModel.from_pretrained(at.single), {}
    for name in ("text_encoder", "duration_predictor", "flow", "decoder", "decoder.upsampler.0"):
        model.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: seen.__setitem__(name, type(output).__name__)
        )
    waveform = at.speak(model)
    return waveform, sorted(seen), seen["decoder"], seen["flow"]


@snippet
def parts_by_hand(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.single)
    mask = torch.ones(1, at.ids.shape[1], 1)
    with torch.no_grad():
        encoded = model.text_encoder(at.ids, padding_mask=mask, attention_mask=None)
        means = encoded.prior_means.transpose(1, 2)
        latents = model.flow(means, torch.ones(1, 1, means.shape[2]), reverse=True)
        return encoded.last_hidden_state, model.decoder(latents).squeeze(1)


@snippet
def counted_and_frozen(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.single)
    model.requires_grad_(False)
    for layer in model.text_encoder.encoder.layers:
        layer.requires_grad_(True)
    kinds = {kind.__name__: sum(type(one) is kind for one in model.modules()) for kind in (torch.nn.Linear,)}
    return sum(one.numel() for one in model.parameters() if one.requires_grad), kinds, len(list(model.parameters()))


@snippet
def names_of_modules(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.many)
    attention = model.text_encoder.encoder.layers[0].attention
    wavenet = model.flow.flows[0].wavenet
    return [
        sorted(name for name, _ in model.named_modules()),
        [attention.embed_dim, attention.num_heads, attention.head_dim, attention.scaling, attention.window_size],
        [wavenet.hidden_size, wavenet.num_layers, len(wavenet.in_layers)],
    ]


@snippet
def dropout_switched_off_for_training(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.single, layerdrop=0.0, attention_dropout=0.0).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return at.speak(model)


@snippet
def dropout_taken_out(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.single, layerdrop=0.0, attention_dropout=0.0).train()
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, torch.nn.Dropout):
                setattr(module, name, torch.nn.Identity())
    return at.speak(model)


@snippet
def another_activation(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.single)
    results = []
    for activation in (torch.nn.SiLU(), torch.nn.GELU(), torch.nn.GELU(approximate="tanh")):
        for layer in model.text_encoder.encoder.layers:
            layer.feed_forward.act_fn = activation
        results.append(at.speak(model))
    return results


@snippet
def quantised(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.single)
    model = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
    return at.speak(model).shape[0], type(model.text_encoder.encoder.layers[0].attention.q_proj).__name__


@snippet
def trained_a_little(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.single)
    optimiser = torch.optim.AdamW(model.decoder.parameters(), lr=1e-4)
    losses = []
    for _ in range(2):
        torch.manual_seed(1)
        loss = model(at.ids).waveform.square().mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.detach())
    return losses


@snippet
def moved_and_copied(m: Any, at: Checkpoints) -> Any:
    model = copy.deepcopy(m.VitsModel.from_pretrained(at.single)).to("cpu", dtype=torch.float32).share_memory()
    return at.speak(model), next(model.parameters()).is_shared()


@snippet
def wrapped_in_a_module(m: Any, at: Checkpoints) -> Any:
    class Wrapper(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.vits = m.VitsModel.from_pretrained(at.single)

        def forward(self, ids: Any) -> Any:
            return self.vits(ids).waveform

    wrapper = Wrapper().eval()
    torch.manual_seed(5)
    with torch.no_grad():
        return wrapper(at.ids), sorted(wrapper.state_dict())[:3]


@snippet
def functional_call(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.single)
    changed = {name: tensor * 0.9 for name, tensor in model.named_parameters()}
    torch.manual_seed(5)
    with torch.no_grad():
        return torch.func.functional_call(model, changed, (at.ids,)).waveform


@snippet(raises=True)
def a_folder_that_is_not_there(m: Any, at: Checkpoints) -> Any:
    return m.VitsModel.from_pretrained(at.scratch / "nowhere")


@snippet(raises=True)
def an_id_beyond_the_vocabulary(m: Any, at: Checkpoints) -> Any:
    return m.VitsModel.from_pretrained(at.single)(torch.tensor([[5000, 2]]))


@snippet
def configurations_compared_and_copied(m: Any, at: Checkpoints) -> Any:
    config = m.VitsConfig.from_pretrained(at.single)
    other = m.VitsConfig(**config.to_dict())
    other.speaking_rate = 2.0
    saved = json.loads(m.VitsConfig.from_dict(config.to_dict()).to_json_string())
    return (
        other.hidden_size,
        config.speaking_rate,
        saved["upsample_rates"],
        copy.deepcopy(config).to_dict() == config.to_dict(),
    )


@snippet.parametrized()
def test_the_same_with_both(case: Snippet, at: Checkpoints) -> None:
    check(case, at)


@pytest.mark.parametrize("name", ["AutoConfig", "AutoModel", "AutoModelForTextToWaveform", "AutoTokenizer"])
def test_auto_classes_are_of_ours_alone(name: str, at: Checkpoints) -> None:
    import fastvits

    loaded = getattr(fastvits, name).from_pretrained(at.single)
    assert type(loaded).__module__.startswith("fastvits.")
    if name == "AutoConfig":
        assert fastvits.AutoConfig.for_model("vits", hidden_size=64).hidden_size == 64
        with pytest.raises(ValueError, match="model_type must be 'vits'"):
            fastvits.AutoConfig.for_model("bert")
