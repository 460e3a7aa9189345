"""How people turn texts into ids: the same with fastvits as with transformers."""

import copy
import pickle
from typing import Any

import numpy as np
import torch

from tests.dropin.runner import Checkpoints, Snippet, Snippets, check

snippet = Snippets()

TEXT = "Hello, my dog is cute"


@snippet
def the_tokenizer_of_a_model_card(m: Any, at: Checkpoints) -> Any:
    tokenizer = m.AutoTokenizer.from_pretrained(at.single)
    return dict(tokenizer(TEXT, return_tensors="pt")), tokenizer.is_fast


@snippet
def arguments_out_of_habit(m: Any, at: Checkpoints) -> Any:
    tokenizer = m.AutoTokenizer.from_pretrained(at.single, use_fast=False, trust_remote_code=True, token=None)
    return tokenizer(TEXT)["input_ids"]


@snippet
def a_processor(m: Any, at: Checkpoints) -> Any:
    return m.AutoProcessor.from_pretrained(at.single)(text=TEXT, return_tensors="pt").input_ids


@snippet
def padded_batch(m: Any, at: Checkpoints) -> Any:
    tokenizer = m.VitsTokenizer.from_pretrained(at.single)
    batch = tokenizer([TEXT, "hi there", ""], padding=True, return_tensors="pt")
    return dict(batch), tokenizer.batch_decode(batch["input_ids"])


@snippet
def padded_afterwards(m: Any, at: Checkpoints) -> Any:
    tokenizer = m.VitsTokenizer.from_pretrained(at.single)
    rows = [tokenizer(text) for text in (TEXT, "hi there")]
    return dict(tokenizer.pad(rows, padding="longest", return_tensors="pt", pad_to_multiple_of=8))


@snippet
def cut(m: Any, at: Checkpoints) -> Any:
    tokenizer = m.VitsTokenizer.from_pretrained(at.single, model_max_length=12)
    whole = tokenizer(TEXT, truncation=True, padding="max_length")
    left = tokenizer(TEXT, truncation=True, max_length=8, return_overflowing_tokens=True)
    return dict(whole), dict(left), tokenizer.model_max_length


@snippet
def a_list_moved_by_hand(m: Any, at: Checkpoints) -> Any:
    inputs = m.VitsTokenizer.from_pretrained(at.single)(TEXT, return_tensors="pt")
    moved = {name: value.to("cpu") for name, value in inputs.items()}
    return moved, dict(inputs.to("cpu")), list(inputs.keys()), inputs.input_ids.shape


@snippet
def arrays(m: Any, at: Checkpoints) -> Any:
    return dict(m.VitsTokenizer.from_pretrained(at.single)([TEXT, "hi"], padding=True, return_tensors="np"))


@snippet
def facts(m: Any, at: Checkpoints) -> Any:
    tokenizer = m.VitsTokenizer.from_pretrained(at.single)
    return [
        tokenizer.vocab_size,
        len(tokenizer),
        tokenizer.pad_token,
        tokenizer.pad_token_id,
        tokenizer.unk_token_id,
        tokenizer.bos_token_id,
        tokenizer.all_special_tokens,
        tokenizer.all_special_ids,
        tokenizer.special_tokens_map,
        tokenizer.get_vocab(),
        tokenizer.get_added_vocab(),
        tokenizer.padding_side,
        tokenizer.model_input_names,
        tokenizer.name_or_path == at.single,
        tokenizer.SPECIAL_TOKENS_ATTRIBUTES,
        tokenizer.max_len_single_sentence == tokenizer.model_max_length,
        tokenizer.num_special_tokens_to_add(pair=True),
        tokenizer.total_vocab_size,
        tokenizer.added_tokens_encoder,
        sorted(tokenizer.added_tokens_decoder),
    ]


@snippet
def what_it_was_made_with(m: Any, at: Checkpoints) -> Any:
    tokenizer = m.VitsTokenizer.from_pretrained(at.single, language="eng")
    kept = tokenizer.init_kwargs
    return [kept[name] for name in ("language", "add_blank", "normalize", "phonemize", "is_uroman")]


@snippet
def step_by_step(m: Any, at: Checkpoints) -> Any:
    tokenizer = m.VitsTokenizer.from_pretrained(at.single)
    tokens = tokenizer.tokenize(TEXT)
    ids = tokenizer.convert_tokens_to_ids(tokens)
    return tokens, ids, tokenizer.convert_ids_to_tokens(ids), tokenizer.convert_tokens_to_string(tokens)


@snippet
def before_it_is_cut_into_letters(m: Any, at: Checkpoints) -> Any:
    tokenizer = m.VitsTokenizer.from_pretrained(at.single)
    prepared = [tokenizer.prepare_for_tokenization(text) for text in (TEXT, "  A–B;  c ", "")]
    raw = tokenizer.prepare_for_tokenization("Hello!", normalize=False)
    return prepared, raw, tokenizer._tokenize("hello"), tokenizer.normalize_text("HeLLo")


@snippet
def ids_put_together(m: Any, at: Checkpoints) -> Any:
    tokenizer = m.VitsTokenizer.from_pretrained(at.single)
    first, second = tokenizer.encode("hi you"), tokenizer.encode("there")
    return [
        tokenizer.build_inputs_with_special_tokens(first, second),
        tokenizer.create_token_type_ids_from_sequences(first, second),
        tokenizer.get_special_tokens_mask(first, second),
        tokenizer.get_special_tokens_mask(first, already_has_special_tokens=True),
        dict(tokenizer.prepare_for_model(first, second, max_length=9, truncation="only_first")),
        dict(tokenizer.prepare_for_model(first, return_tensors="pt", prepend_batch_axis=True)),
        tokenizer.truncate_sequences(first, num_tokens_to_remove=3),
        tokenizer.truncate_sequences(first, second, 4, "only_second", stride=1),
    ]


@snippet
def tokens_added(m: Any, at: Checkpoints) -> Any:
    tokenizer = m.VitsTokenizer.from_pretrained(at.single)
    numbers = [tokenizer.add_tokens(["<laugh>", "<sigh>"]), tokenizer.add_tokens("<laugh>"), tokenizer.add_tokens([])]
    ids = tokenizer("hi <laugh> you")["input_ids"]
    return numbers, len(tokenizer), ids, tokenizer.convert_tokens_to_ids("<sigh>"), tokenizer.decode(ids)


@snippet
def tokens_added_and_saved(m: Any, at: Checkpoints) -> Any:
    tokenizer = m.VitsTokenizer.from_pretrained(at.single)
    tokenizer.add_tokens(["<laugh>"], special_tokens=True)
    tokenizer.save_pretrained(at.scratch)
    again = m.VitsTokenizer.from_pretrained(at.scratch)
    return len(again), again("hi <laugh> you")["input_ids"], again.get_added_vocab()


@snippet
def special_tokens_added(m: Any, at: Checkpoints) -> Any:
    tokenizer = m.VitsTokenizer.from_pretrained(at.single)
    number = tokenizer.add_special_tokens({"bos_token": "<s>", "extra_special_tokens": ["<speaker>"]})
    return number, tokenizer.bos_token, tokenizer.bos_token_id, tokenizer.all_special_tokens, len(tokenizer)


@snippet(raises=True)
def a_special_token_of_another_name(m: Any, at: Checkpoints) -> Any:
    return m.VitsTokenizer.from_pretrained(at.single).add_special_tokens({"laugh_token": "<laugh>"})


@snippet
def special_tokens_set(m: Any, at: Checkpoints) -> Any:
    tokenizer = m.VitsTokenizer.from_pretrained(at.single)
    tokenizer.pad_token_id = 4
    tokenizer.eos_token = "e"
    tokenizer.unk_token_id = None
    batch = tokenizer(["hi you", "hi"], padding=True)
    return tokenizer.pad_token, tokenizer.eos_token_id, tokenizer.unk_token, dict(batch)


@snippet
def copied_and_pickled(m: Any, at: Checkpoints) -> Any:
    tokenizer = m.VitsTokenizer.from_pretrained(at.single)
    return [one(TEXT)["input_ids"] for one in (copy.deepcopy(tokenizer), pickle.loads(pickle.dumps(tokenizer)))]


@snippet
def a_subclass_of_a_tokenizer(m: Any, at: Checkpoints) -> Any:
    class Shouting(m.VitsTokenizer):  # type: ignore[name-defined, misc]
        def __init__(self, vocab_file: Any, loud: bool = False, **kwargs: Any) -> None:
            self.loud = loud
            super().__init__(vocab_file, **kwargs)

    tokenizer = Shouting.from_pretrained(at.single, loud=True)
    return tokenizer.loud, tokenizer(TEXT)["input_ids"], tokenizer.pad_token


@snippet(strict=False)
def a_keyword_that_means_nothing_there(m: Any, at: Checkpoints) -> Any:
    tokenizer = m.VitsTokenizer.from_pretrained(at.single, do_lower_case=True)
    return tokenizer.init_kwargs["do_lower_case"], tokenizer(TEXT)["input_ids"]


@snippet(refused="do_lower_case")
def a_keyword_that_means_nothing_here(m: Any, at: Checkpoints) -> Any:
    return m.VitsTokenizer.from_pretrained(at.single, do_lower_case=True)(TEXT)


@snippet
def saved_with_the_model(m: Any, at: Checkpoints) -> Any:
    m.VitsModel.from_pretrained(at.single).save_pretrained(at.scratch)
    written = m.AutoTokenizer.from_pretrained(at.single).save_pretrained(at.scratch, filename_prefix=None)
    model, tokenizer = m.VitsModel.from_pretrained(at.scratch), m.AutoTokenizer.from_pretrained(at.scratch)
    m.set_seed(1)
    with torch.no_grad():
        return isinstance(written, tuple), model(**tokenizer(TEXT, return_tensors="pt")).waveform


@snippet
def an_encoding_unpacked(m: Any, at: Checkpoints) -> Any:
    encoding = m.VitsTokenizer.from_pretrained(at.single)(["hi you", "hi"], padding=True, return_tensors="np")
    first = encoding["input_ids"][0]
    return "input_ids" in encoding, len(encoding), first.tolist(), int(np.asarray(encoding["attention_mask"]).sum())


@snippet
def decoded_without_normalising(m: Any, at: Checkpoints) -> Any:
    tokenizer = m.VitsTokenizer.from_pretrained(at.single)
    ids = tokenizer("HELLO you!", normalize=False)["input_ids"]
    return ids, tokenizer.decode(ids), tokenizer.decode(torch.tensor(ids))


@snippet.parametrized()
def test_the_same_with_both(case: Snippet, at: Checkpoints) -> None:
    check(case, at)
