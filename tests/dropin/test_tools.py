"""Other people's tools around a voice (accelerate, peft, datasets, servers): the same with fastvits as with
transformers. What is not installed is skipped by name."""

import io
import wave
from typing import Any

import numpy as np
import torch

from tests.dropin.runner import Checkpoints, Snippet, Snippets, check

snippet = Snippets()

TEXT = "hello my dog is cute"


def voice(m: Any, at: Checkpoints) -> tuple[Any, Any]:
    return m.VitsModel.from_pretrained(at.single), m.VitsTokenizer.from_pretrained(at.single)


@snippet(needs="accelerate")
def prepared(m: Any, at: Checkpoints) -> Any:
    import accelerate

    model = accelerate.Accelerator(cpu=True).prepare(m.VitsModel.from_pretrained(at.single))
    return at.speak(model)


@snippet(needs="accelerate")
def prepared_with_an_optimiser(m: Any, at: Checkpoints) -> Any:
    import accelerate

    accelerator = accelerate.Accelerator(cpu=True)
    model = m.VitsModel.from_pretrained(at.single)
    model, optimiser = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=1e-3))
    losses = []
    for _ in range(2):
        torch.manual_seed(1)
        loss = model(at.ids).waveform.square().mean()
        accelerator.backward(loss)
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.detach())
    return losses, type(accelerator.unwrap_model(model)).__name__


@snippet(needs="accelerate")
def offloaded(m: Any, at: Checkpoints) -> Any:
    import accelerate

    model = accelerate.cpu_offload(m.VitsModel.from_pretrained(at.single), execution_device=torch.device("cpu"))
    return at.speak(model)


@snippet(needs="accelerate")
def dispatched(m: Any, at: Checkpoints) -> Any:
    import accelerate

    model = accelerate.dispatch_model(
        m.VitsModel.from_pretrained(at.single),
        device_map={"": "cpu", "decoder": "disk"},
        main_device="cpu",
        offload_dir=str(at.scratch),
        force_hooks=True,
    )
    return at.speak(model)


@snippet(needs="accelerate")
def made_without_memory_and_loaded(m: Any, at: Checkpoints) -> Any:
    import accelerate

    m.VitsModel.from_pretrained(at.single).save_pretrained(at.scratch / "saved")
    with accelerate.init_empty_weights():
        model = m.VitsModel._from_config(m.VitsConfig.from_pretrained(at.single))
    assert all(parameter.is_meta for parameter in model.parameters())
    model = accelerate.load_checkpoint_and_dispatch(model, str(at.scratch / "saved"), device_map={"": "cpu"})
    return at.speak(model.eval())


@snippet(needs="accelerate")
def sizes(m: Any, at: Checkpoints) -> Any:
    from accelerate.utils import compute_module_sizes, infer_auto_device_map

    model = m.VitsModel.from_pretrained(at.single)
    return compute_module_sizes(model)[""], dict(infer_auto_device_map(model, max_memory={"cpu": "1GB"}))


@snippet(needs="accelerate")
def a_device_map(m: Any, at: Checkpoints) -> Any:
    return [
        at.speak(m.VitsModel.from_pretrained(at.single, device_map=where)) for where in ("cpu", "auto", {"": "cpu"})
    ]


@snippet(needs="peft")
def an_adapter(m: Any, at: Checkpoints) -> Any:
    import peft

    base = m.VitsModel.from_pretrained(at.single)
    torch.manual_seed(0)
    kinds = ["q_proj", "v_proj", "conv_pre", "conv_1", "project", "convs_pointwise.0", "convs1.0"]
    config = peft.LoraConfig(r=4, target_modules=kinds, init_lora_weights=False)
    model = peft.get_peft_model(base, config)
    model.eval()
    spoken = at.speak(model)
    with model.disable_adapter():
        plain = at.speak(model)
    return spoken, plain, model.get_nb_trainable_parameters()


@snippet(needs="peft")
def an_adapter_trained_saved_and_merged(m: Any, at: Checkpoints) -> Any:
    import peft

    base = m.VitsModel.from_pretrained(at.single)
    torch.manual_seed(0)
    model = peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=["q_proj", "k_proj"]))
    optimiser = torch.optim.SGD((one for one in model.parameters() if one.requires_grad), lr=0.5)
    torch.manual_seed(1)
    model(at.ids).waveform.square().mean().backward()
    optimiser.step()
    model.save_pretrained(at.scratch)
    again = peft.PeftModel.from_pretrained(m.VitsModel.from_pretrained(at.single), at.scratch).eval()
    loaded = at.speak(again)
    return loaded, at.speak(again.merge_and_unload())


@snippet(needs="peft")
def other_adapters(m: Any, at: Checkpoints) -> Any:
    import peft

    results = []
    for config in (
        peft.IA3Config(target_modules=["k_proj", "v_proj"], feedforward_modules=[]),
        peft.LoHaConfig(r=2, target_modules=["out_proj"], init_weights=False),
        peft.LoraConfig(r=2, target_modules=["out_proj"], use_dora=True, modules_to_save=["conv_post"]),
    ):
        base = m.VitsModel.from_pretrained(at.single)
        torch.manual_seed(0)
        results.append(at.speak(peft.get_peft_model(base, config).eval()))
    return results


@snippet(needs="datasets")
def a_column_of_texts(m: Any, at: Checkpoints) -> Any:
    import datasets

    _, tokenizer = voice(m, at)
    rows = datasets.Dataset.from_dict({"text": ["hi there", TEXT]})
    encoded = rows.map(lambda batch: tokenizer(batch["text"], padding=True), batched=True, remove_columns=["text"])
    return encoded.to_dict(), encoded.column_names


@snippet(needs="datasets")
def speech_for_each_row(m: Any, at: Checkpoints) -> Any:
    import datasets

    model, tokenizer = voice(m, at)

    def speak(row: dict[str, Any]) -> dict[str, Any]:
        torch.manual_seed(len(row["text"]))
        with torch.no_grad():
            waveform = model(**tokenizer(row["text"], return_tensors="pt")).waveform[0]
        return {"audio": waveform.numpy(), "sampling_rate": model.config.sampling_rate}

    rows = datasets.Dataset.from_dict({"text": ["hi there", TEXT]}).map(speak)
    return [torch.tensor(row["audio"]) for row in rows], rows["sampling_rate"][0]


@snippet(needs="datasets")
def a_pipeline_over_a_column(m: Any, at: Checkpoints) -> Any:
    import datasets

    rows = datasets.Dataset.from_dict({"text": ["hi there", TEXT]})
    pipe = m.pipeline("text-to-speech", model=at.single)
    m.set_seed(2)
    return [one["audio"].squeeze() for one in pipe(list(rows["text"]))]


@snippet(needs="datasets")
def batches_of_a_loader(m: Any, at: Checkpoints) -> Any:
    import datasets

    model, tokenizer = voice(m, at)
    rows = datasets.Dataset.from_dict({"text": ["hi there", TEXT, "you"]})
    rows = rows.map(lambda row: tokenizer(row["text"])).remove_columns("text")
    loader = torch.utils.data.DataLoader(
        rows, batch_size=2, collate_fn=lambda some: tokenizer.pad(some, return_tensors="pt")
    )
    lengths = []
    for batch in loader:
        torch.manual_seed(1)
        with torch.no_grad():
            lengths.append(model(**batch).sequence_lengths)
    return lengths


@snippet(needs="starlette")
def a_route(m: Any, at: Checkpoints) -> Any:
    import pytest
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route

    pytest.importorskip("httpx")
    from starlette.testclient import TestClient

    model, tokenizer = voice(m, at)

    def speak(request: Any) -> Any:
        torch.manual_seed(3)
        with torch.no_grad():
            samples = model(**tokenizer(request.query_params["text"], return_tensors="pt")).waveform[0].numpy()
        file = io.BytesIO()
        with wave.open(file, "wb") as written:
            written.setnchannels(1)
            written.setsampwidth(2)
            written.setframerate(model.config.sampling_rate)
            written.writeframes((samples * 32767).astype(np.int16).tobytes())
        return Response(file.getvalue(), media_type="audio/wav")

    answer = TestClient(Starlette(routes=[Route("/speak", speak)])).get("/speak", params={"text": TEXT})
    return answer.status_code, answer.headers["content-type"], len(answer.content)


@snippet(needs="fastapi")
def an_interface_of_fastapi(m: Any, at: Checkpoints) -> Any:
    import fastapi
    from fastapi.testclient import TestClient

    model, tokenizer = voice(m, at)
    app = fastapi.FastAPI()

    @app.post("/tts")
    def tts(body: dict[str, Any]) -> Any:
        inputs = tokenizer(body["text"], return_tensors="pt")
        if inputs["input_ids"].shape[1] < 2:
            raise fastapi.HTTPException(422, "nothing to say")
        m.set_seed(body.get("seed", 0))
        with torch.no_grad():
            return {"audio": model(**inputs).waveform[0].tolist(), "rate": model.config.sampling_rate}

    client = TestClient(app)
    answer = client.post("/tts", json={"text": TEXT, "seed": 4}).json()
    return torch.tensor(answer["audio"]), answer["rate"], client.post("/tts", json={"text": ""}).status_code


@snippet(needs="gradio")
def an_interface_of_gradio(m: Any, at: Checkpoints) -> Any:
    import gradio

    pipe = m.pipeline("text-to-speech", model=at.single)

    def speak(text: str) -> Any:
        m.set_seed(1)
        speech = pipe(text)
        return speech["sampling_rate"], speech["audio"].squeeze()

    interface = gradio.Interface(fn=speak, inputs="text", outputs=gradio.Audio(type="numpy"))
    rate, samples = interface.fn(TEXT)
    return rate, samples


@snippet(needs="scipy")
def resampled(m: Any, at: Checkpoints) -> Any:
    import scipy.signal

    model, _ = voice(m, at)
    return scipy.signal.resample_poly(at.speak(model)[0].numpy(), 3, 2)


@snippet
def gradients_under_autocast(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.single)
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(at.ids).waveform.float().square().mean()
    loss.backward()
    gradient = model.decoder.conv_post.weight.grad
    return gradient.dtype, gradient.shape, bool(gradient.isfinite().all())


@snippet
def weight_norm_by_hand(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.single)
    for flow in model.flow.flows:
        torch.nn.utils.parametrizations.weight_norm(flow.conv_pre)
        torch.nn.utils.parametrizations.weight_norm(flow.conv_post)
    normed = at.speak(model)
    for flow in model.flow.flows:
        torch.nn.utils.parametrize.remove_parametrizations(flow.conv_pre, "weight")
    return normed, at.speak(model), sorted(model.flow.state_dict())[:4]


@snippet
def weight_norm_of_the_decoder(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.single)
    model.decoder.apply_weight_norm()
    return at.speak(model), len(model.state_dict()), sorted(model.decoder.state_dict())


@snippet
def pruned(m: Any, at: Checkpoints) -> Any:
    from torch.nn.utils import prune

    model = m.VitsModel.from_pretrained(at.single)
    for module in (model.decoder.conv_pre, model.text_encoder.encoder.layers[0].feed_forward.conv_1):
        prune.l1_unstructured(module, name="weight", amount=0.3)
    during = at.speak(model)
    prune.remove(model.decoder.conv_pre, "weight")
    return during, at.speak(model)


@snippet
def averaged_weights(m: Any, at: Checkpoints) -> Any:
    from torch.optim.swa_utils import AveragedModel

    model = m.VitsModel.from_pretrained(at.single)
    averaged = AveragedModel(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.98)
    averaged.update_parameters(model)
    return at.speak(averaged.eval()), int(averaged.n_averaged)


@snippet
def data_parallel_without_devices(m: Any, at: Checkpoints) -> Any:
    return at.speak(torch.nn.DataParallel(m.VitsModel.from_pretrained(at.single)))


@snippet
def flops_counted(m: Any, at: Checkpoints) -> Any:
    from torch.utils.flop_counter import FlopCounterMode

    model = m.VitsModel.from_pretrained(at.single)
    with FlopCounterMode(display=False):
        return at.speak(model)


@snippet.parametrized()
def test_the_same_with_both(case: Snippet, at: Checkpoints) -> None:
    check(case, at)
