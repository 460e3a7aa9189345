"""How people load, change, train and save models: the same with fastvits as with transformers."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.dropin.runner import Checkpoints, Snippet, Snippets, check

snippet = Snippets()


@snippet
def plain_call(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.single)
    m.set_seed(555)
    with torch.no_grad():
        return model(input_ids=at.ids)


@snippet
def older_name_of_dtype(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.single, torch_dtype=torch.float64)
    return model.dtype, str(model.config.dtype) != "", model(at.ids.repeat(2, 1)).waveform.dtype


@snippet
def dtype_by_name(m: Any, at: Checkpoints) -> Any:
    return [m.VitsModel.from_pretrained(at.single, dtype=name).dtype for name in ("float16", "bfloat16", "auto")]


@snippet
def what_holds_anyway(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(
        at.single, low_cpu_mem_usage=True, use_safetensors=True, trust_remote_code=True, local_files_only=True
    )
    return at.speak(model)


@snippet
def eager_attention(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.single, attn_implementation="eager")
    return model(at.ids, output_attentions=True).attentions


@snippet(raises=True)
def flash_attention(m: Any, at: Checkpoints) -> Any:
    return at.speak(m.VitsModel.from_pretrained(at.single, attn_implementation="flash_attention_3"))


@snippet
def a_configuration_of_ones_own(m: Any, at: Checkpoints) -> Any:
    config = m.VitsConfig.from_pretrained(at.single)
    config.noise_scale = 0.1
    model = m.VitsModel.from_pretrained(at.single, config=config)
    return model.noise_scale, at.speak(model)


@snippet
def a_field_by_keyword(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.single, speaking_rate=1.4, noise_scale_duration=0.2)
    return model.config.speaking_rate, at.speak(model)


@snippet
def loading_info(m: Any, at: Checkpoints) -> Any:
    return m.VitsModel.from_pretrained(at.single, output_loading_info=True)[1]


@snippet
def loading_info_of_more_words(m: Any, at: Checkpoints) -> Any:
    model, info = m.VitsModel.from_pretrained(
        at.single, vocab_size=60, ignore_mismatched_sizes=True, output_loading_info=True
    )
    return sorted(name for name, *_ in info["mismatched_keys"]), model.config.vocab_size


@snippet
def another_vocabulary_does_not_fit(m: Any, at: Checkpoints) -> Any:
    try:
        m.VitsModel.from_pretrained(at.single, vocab_size=60)
    except RuntimeError:
        return "RuntimeError"


@snippet
def speakers_for_a_voice_of_one(m: Any, at: Checkpoints) -> Any:
    model, info = m.VitsModel.from_pretrained(
        at.single, num_speakers=4, speaker_embedding_size=6, output_loading_info=True
    )
    return sorted(info["missing_keys"]), tuple(model.embed_speaker.weight.shape)


@snippet
def weights_of_a_state_dict(m: Any, at: Checkpoints) -> Any:
    state = m.VitsModel.from_pretrained(at.single).state_dict()
    model = m.VitsModel.from_pretrained(None, config=m.VitsConfig.from_pretrained(at.single), state_dict=state)
    return at.speak(model.eval())


@snippet
def a_subclass(m: Any, at: Checkpoints) -> Any:
    class Mine(m.VitsModel):  # type: ignore[name-defined, misc]
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.post_init()

    return at.speak(Mine.from_pretrained(at.single))


@snippet
def a_subclass_with_a_layer(m: Any, at: Checkpoints) -> Any:
    class Scored(m.VitsModel):  # type: ignore[name-defined, misc]
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.score = torch.nn.Linear(config.hidden_size, 3)
            self.post_init()

        def forward(self, input_ids: Any, **more: Any) -> Any:
            states = super().forward(input_ids, output_hidden_states=True, **more).hidden_states
            return self.score(states[-1])

    model, info = Scored.from_pretrained(at.single, output_loading_info=True)
    scores = model(at.ids)
    model.save_pretrained(at.scratch)
    again = Scored.from_pretrained(at.scratch)
    return scores.shape[-1], sorted(info["missing_keys"]), bool(torch.equal(again.score.weight, model.score.weight))


@snippet
def a_base_class(m: Any, at: Checkpoints) -> Any:
    return isinstance(m.VitsModel.from_pretrained(at.single), m.VitsPreTrainedModel)


@snippet
def facts_of_a_class(m: Any, at: Checkpoints) -> Any:
    kind = m.VitsModel
    return kind.main_input_name, kind.config_class is m.VitsConfig, kind.supports_gradient_checkpointing


@snippet
def facts_of_a_model(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.single)
    return [
        model.name_or_path == at.single,
        model.can_generate(),
        model.num_parameters(),
        model.num_parameters(only_trainable=True, exclude_embeddings=True),
        model.get_memory_footprint(),
        model.get_output_embeddings(),
        model.device,
        model.dtype,
        model.training,
        model.is_gradient_checkpointing,
    ]


@snippet
def a_model_of_a_configuration(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel._from_config(m.VitsConfig.from_pretrained(at.single), torch_dtype=torch.float64)
    return model.dtype, sorted(model.state_dict())


@snippet
def frozen_but_for_the_decoder(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.single)
    for parameter in model.parameters():
        parameter.requires_grad = False
    for parameter in model.decoder.parameters():
        parameter.requires_grad = True
    return model.num_parameters(only_trainable=True)


@snippet
def gradients_with_checkpointing(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.single)
    model.gradient_checkpointing_enable()
    enabled = model.is_gradient_checkpointing
    torch.manual_seed(2)
    model(at.ids).waveform.square().mean().backward()
    gradient = model.decoder.conv_pre.weight.grad
    model.gradient_checkpointing_disable()
    return enabled, model.is_gradient_checkpointing, gradient


@snippet
def columns_of_a_tokenizer(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.single)
    return at.speak(model, token_type_ids=torch.zeros_like(at.ids), special_tokens_mask=torch.zeros_like(at.ids))


@snippet
def saved_with_all_arguments(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.single)
    model.save_pretrained(at.scratch, is_main_process=True, max_shard_size="5GB", safe_serialization=True)
    return (
        sorted(path.name for path in at.scratch.iterdir()),
        at.speak(m.VitsModel.from_pretrained(at.scratch)),
    )


@snippet
def saved_by_another_process(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.single)
    model.save_pretrained(at.scratch, is_main_process=False)
    return any(path.suffix == ".json" for path in at.scratch.iterdir())


@snippet
def saved_as_a_variant(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.single, dtype=torch.float64)
    model.save_pretrained(at.scratch, variant="wide")
    names = sorted(path.name for path in at.scratch.iterdir())
    return names, m.VitsModel.from_pretrained(at.scratch, variant="wide").dtype


@snippet
def saved_in_shards(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.single)
    model.save_pretrained(at.scratch, max_shard_size="200KB")
    return (at.scratch / "model.safetensors.index.json").is_file(), at.speak(m.VitsModel.from_pretrained(at.scratch))


@snippet
def saved_weights_given(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.single)
    state = {name: torch.zeros_like(tensor) for name, tensor in model.state_dict().items()}
    model.save_pretrained(at.scratch, state_dict=state)
    loaded = m.VitsModel.from_pretrained(at.scratch)
    return float(sum(parameter.abs().sum() for parameter in loaded.parameters()))


@snippet
def a_configuration_with_a_note(m: Any, at: Checkpoints) -> Any:
    config = m.VitsConfig.from_pretrained(at.single)
    config.my_note = {"by": "me"}
    config.save_pretrained(at.scratch)
    again = m.VitsConfig.from_pretrained(at.scratch)
    return again.my_note, again.to_dict()["my_note"]


@snippet
def a_configuration_updated(m: Any, at: Checkpoints) -> Any:
    config = m.VitsConfig()
    config.update({"speaking_rate": 1.2, "noise_scale": 0.3})
    config.update_from_string("hidden_size=64,use_bias=false")
    return config.speaking_rate, config.noise_scale, config.hidden_size, config.use_bias


@snippet
def keywords_left_over(m: Any, at: Checkpoints) -> Any:
    config, unused = m.VitsConfig.from_pretrained(at.single, return_unused_kwargs=True, foo=1, noise_scale=0.4)
    return config.noise_scale, unused


@snippet
def the_content_of_a_configuration(m: Any, at: Checkpoints) -> Any:
    content, unused = m.VitsConfig.get_config_dict(at.single)
    return content["hidden_size"], content["model_type"], unused


@snippet
def labels_of_a_configuration(m: Any, at: Checkpoints) -> Any:
    config = m.VitsConfig(num_labels=3)
    before = config.num_labels, config.id2label, config.label2id
    config.num_labels = 5
    return before, config.num_labels, config.use_return_dict


@snippet
def a_configuration_of_a_subclass(m: Any, at: Checkpoints) -> Any:
    class MyConfig(m.VitsConfig):  # type: ignore[name-defined, misc]
        def __init__(self, accent: str = "none", **more: Any) -> None:
            self.accent = accent
            super().__init__(**more)

    MyConfig(accent="welsh", speaking_rate=1.5).save_pretrained(at.scratch)
    again = MyConfig.from_pretrained(at.scratch)
    return again.accent, again.speaking_rate


@snippet
def a_seed_and_deterministic_algorithms(m: Any, at: Checkpoints) -> Any:
    before = torch.are_deterministic_algorithms_enabled()
    try:
        m.set_seed(1, deterministic=True)
        return torch.are_deterministic_algorithms_enabled(), torch.rand(2), np.random.rand()
    finally:
        torch.use_deterministic_algorithms(before)


@snippet
def the_rate_of_an_attribute(m: Any, at: Checkpoints) -> Any:
    model = m.VitsModel.from_pretrained(at.single)
    model.speaking_rate = 0.6
    model.noise_scale = 0.0
    return at.speak(model)


@snippet(refused="set speaker_id")
def no_speaker_named(m: Any, at: Checkpoints) -> Any:
    return at.speak(m.VitsModel.from_pretrained(at.many))


@snippet(strict=False)
def no_speaker_named_and_told_so(m: Any, at: Checkpoints) -> Any:
    return at.speak(m.VitsModel.from_pretrained(at.many))


@snippet(refused="write speaking_rate")
def a_keyword_that_means_nothing(m: Any, at: Checkpoints) -> Any:
    return at.speak(m.VitsModel.from_pretrained(at.single), length_scale=1.2)


@snippet(strict=False)
def a_keyword_that_means_nothing_and_told_so(m: Any, at: Checkpoints) -> Any:
    return at.speak(m.VitsModel.from_pretrained(at.single), length_scale=1.2)


@snippet(raises=True)
def a_speaker_out_of_range(m: Any, at: Checkpoints) -> Any:
    return at.speak(m.VitsModel.from_pretrained(at.many), speaker_id=3)


@snippet
def a_speaker(m: Any, at: Checkpoints) -> Any:
    return at.speak(m.VitsModel.from_pretrained(at.many), speaker_id=2)


@snippet.parametrized()
def test_the_same_with_both(case: Snippet, at: Checkpoints) -> None:
    check(case, at)


def test_a_difference_is_seen(at: Checkpoints) -> None:
    def other_names(m: Any, at: Checkpoints) -> Any:
        return m.__name__

    def other_audio(m: Any, at: Checkpoints) -> Any:
        return torch.ones(3) * len(m.__name__)

    def other_fate(m: Any, at: Checkpoints) -> Any:
        return m.no_such_name if m.__name__ == "fastvits" else 1

    for number, function in enumerate((other_names, other_audio, other_fate)):
        place = Checkpoints(at.single, at.many, at.scratch / str(number))
        with pytest.raises(AssertionError):
            check(Snippet(function), place)
