"""The call of a tokenizer: one text or a batch of them to ids, cut and padded."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .batch_encoding import BatchEncoding, tensor_type_name
from .front_ends.base import FrontEnd
from .padding import Padding
from .preparation import Preparation, check_preparation
from .reports import losses
from .sources import TokenSource
from .spans import Spanned
from .tokenizer_arguments import (
    LARGE_LENGTH,
    TRUNCATION_STRATEGIES,
    Options,
    Work,
    arrange,
    check_bool,
    check_keywords,
    choice,
    describe,
    is_whole,
    optional_length,
    optional_multiple,
    truncate,
    wrong_value,
)

__all__ = ["Encoding"]

logger = logging.getLogger("fastvits")


class Encoding(Padding):
    """The part of a tokenizer that is called.

    Attributes:
        normalize, split_special_tokens, truncation_side: defaults of a call.
    """

    normalize: bool
    split_special_tokens: bool
    truncation_side: str
    _warned_of_length: bool

    @property
    @abstractmethod
    def front_end(self) -> FrontEnd:
        """What reads texts."""

    @abstractmethod
    def prepared_front_end(self, preparation: Preparation | None) -> FrontEnd:
        """What reads texts, which are prepared first as `preparation` says, or as the tokenizer's own where None."""

    def read(
        self,
        texts: Iterable[str],
        normalize: bool,
        split_special_tokens: bool,
        preparation: Preparation | None = None,
        reported: set[str] | None = None,
    ) -> list[Spanned]:
        """Tokens of one text, given whole or in words, and one warning about all it has that the vocabulary lacks.

        Args:
            texts: the text.
            normalize, split_special_tokens, preparation: the settings of the call.
            reported: characters that were warned of before, and are not again; what is warned of joins them.
        """
        texts = list(texts)
        front_end = self.prepared_front_end(preparation)
        readings = [
            front_end.read(text, normalize=normalize, split_special_tokens=split_special_tokens) for text in texts
        ]
        report = losses(texts, readings, self.unk_token, reported)
        if report is not None:
            logger.warning("%s", report)
        return [reading.pieces for reading in readings]

    def text_settings(self, normalize: bool | None, split_special_tokens: bool | None) -> tuple[bool, bool]:
        """The settings of a call on texts, those that are None as the tokenizer has them."""
        for name, value in (("normalize", normalize), ("split_special_tokens", split_special_tokens)):
            if value is not None:
                check_bool(name, value)
        return (
            self.normalize if normalize is None else normalize,
            self.split_special_tokens if split_special_tokens is None else split_special_tokens,
        )

    def __call__(
        self,
        text: Any = None,
        text_pair: Any = None,
        text_target: Any = None,
        text_pair_target: Any = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
        verbose: bool = True,
        tokenizer_kwargs: Mapping[str, Any] | None = None,
        *,
        normalize: bool | None = None,
        split_special_tokens: bool | None = None,
        preparation: Preparation | None = None,
        reported: set[str] | None = None,
        **further: Any,
    ) -> BatchEncoding:
        """Token ids of one text or of a batch of texts.

        Args:
            text: a str, or a list of str for a batch. With `is_split_into_words`, a list of str is one text in words
                and a list of such lists a batch; without, an item of two str is a text and its pair. A list of int
                is taken for ids.
            text_pair: a second text (one an item), whose ids follow those of the first.
            text_target, text_pair_target: likewise; beside `text`, their ids are returned as `labels`.
            add_special_tokens: VITS adds none; False only makes all `token_type_ids` 0, as in transformers.
            padding: True or "longest" pads to the longest item, "max_length" to `max_length`, False or "do_not_pad"
                not at all.
            truncation: True or "longest_first" cuts to `max_length`, taking from the longer of a pair first;
                "only_first" and "only_second" cut that text of a pair only; False or "do_not_truncate" cuts nothing.
                None means True where `max_length` is given and no padding asked for, False elsewhere.
            max_length: None means `model_max_length`. 0 cuts nothing, as in transformers.
            stride: how many ids `overflowing_tokens` repeat.
            is_split_into_words: the texts are lists of words. Words are tokenised one by one and joined without space.
            pad_to_multiple_of: pad to a multiple of it.
            padding_side: "right" or "left"; None means the tokenizer's own.
            return_tensors: "pt", "np", or None for lists.
            return_token_type_ids: 0 for the first text, 1 for the second.
            return_attention_mask: 1 for ids, 0 for padding; None means yes, as `model_input_names` says.
            return_overflowing_tokens: also `overflowing_tokens`, what was cut, and `num_truncated_tokens` (lists only).
            return_special_tokens_mask: 1 for padding, 0 for ids.
            return_offsets_mapping: refused.
            return_length: number of ids as `length`.
            verbose: warn once about a text longer than `model_max_length`.
            tokenizer_kwargs: further arguments by name; they win over the ones given directly, as in transformers.
            normalize, split_special_tokens, preparation: override the tokenizer's own settings.
            reported: characters that earlier calls on parts of the same text warned of: they are not warned of again,
                and those that this call warns of join them.
            further: refused, or with `fastvits.strict(False)` not looked at, as in transformers.

        Returns:
            `input_ids` and what else was asked for: a list (one text) or a list of lists, int64 tensors of shape
            `[B, T_text]` with `return_tensors`.

        Raises:
            TypeError: a wrong type or an unknown keyword.
            ValueError: a value that is not allowed, or texts and pairs that do not match.
            NotImplementedError: `return_offsets_mapping`.
        """
        named = {
            "add_special_tokens": add_special_tokens,
            "padding": padding,
            "truncation": truncation,
            "max_length": max_length,
            "stride": stride,
            "is_split_into_words": is_split_into_words,
            "pad_to_multiple_of": pad_to_multiple_of,
            "padding_side": padding_side,
            "return_tensors": return_tensors,
            "return_token_type_ids": return_token_type_ids,
            "return_attention_mask": return_attention_mask,
            "return_overflowing_tokens": return_overflowing_tokens,
            "return_special_tokens_mask": return_special_tokens_mask,
            "return_offsets_mapping": return_offsets_mapping,
            "return_length": return_length,
            "verbose": verbose,
            "normalize": normalize,
            "split_special_tokens": split_special_tokens,
            "preparation": preparation,
            "reported": reported,
        }
        check_keywords(further, named)
        if tokenizer_kwargs is not None:
            if not isinstance(tokenizer_kwargs, Mapping):
                raise TypeError(f"tokenizer_kwargs must be a dict or None, got {describe(tokenizer_kwargs)}")
            check_keywords([key for key in tokenizer_kwargs if key not in named], named)
            named.update((key, value) for key, value in tokenizer_kwargs.items() if key in named)
        options = self._options(named)
        if text is None and text_target is None:
            raise ValueError("a text is needed: give text or text_target")
        # Everything is checked before anything is tokenised.
        work = None if text is None else arrange(text, text_pair, options.is_split_into_words, "text")
        target_work = (
            None
            if text_target is None
            else arrange(text_target, text_pair_target, options.is_split_into_words, "text_target")
        )
        for each in (work, target_work):
            self._check_pairs(each, options)
        if work is None:
            assert target_work is not None
            return self._encode_work(target_work, options)
        encoding = self._encode_work(work, options)
        if target_work is not None:
            encoding["labels"] = self._encode_work(target_work, options)["input_ids"]
        return encoding

    def encode(
        self,
        text: Any,
        text_pair: Any = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """The `input_ids` of a call with these arguments and any other that a call takes."""
        return self(
            text,
            text_pair,
            add_special_tokens=add_special_tokens,
            padding=padding,
            truncation=truncation,
            max_length=max_length,
            stride=stride,
            padding_side=padding_side,
            return_tensors=return_tensors,
            **kwargs,
        )["input_ids"]

    def _options(self, named: dict[str, Any]) -> Options:
        """Check the arguments of a call and put defaults in."""
        for name in ("return_token_type_ids", "return_attention_mask"):
            if named[name] is not None:
                check_bool(name, named[name])
        for name in (
            "add_special_tokens",
            "is_split_into_words",
            "return_overflowing_tokens",
            "return_special_tokens_mask",
            "return_offsets_mapping",
            "return_length",
            "verbose",
        ):
            if named[name] is not None:
                check_bool(name, named[name])
        if named["return_offsets_mapping"]:
            raise NotImplementedError(
                "return_offsets_mapping is not available; fastvits.timestamps tells where tokens stand in the text"
            )
        stride = named["stride"]
        if not is_whole(stride) or stride < 0:
            raise wrong_value("stride", stride, "a whole number of 0 or more")
        padding = self.padding_strategy(named["padding"])
        max_length = optional_length("max_length", named["max_length"])
        truncation = named["truncation"]
        if truncation is None:
            implied = max_length is not None and padding == "do_not_pad" and named["padding"] is False
            truncation = "longest_first" if implied else "do_not_truncate"
        elif isinstance(truncation, bool):
            truncation = "longest_first" if truncation else "do_not_truncate"
        else:
            truncation = choice("truncation", truncation, TRUNCATION_STRATEGIES, "True, False, None")
        if max_length is None and (padding == "max_length" or truncation != "do_not_truncate"):
            if self.model_max_length <= LARGE_LENGTH:
                max_length = self.model_max_length
            else:
                # Without any limit there is nothing to pad or cut to.
                padding = "do_not_pad" if padding == "max_length" else padding
                truncation = "do_not_truncate"
        multiple = optional_multiple(named["pad_to_multiple_of"])
        if (
            multiple is not None
            and max_length is not None
            and padding != "do_not_pad"
            and truncation != "do_not_truncate"
            and max_length % multiple != 0
        ):
            raise ValueError(
                f"max_length ({max_length}) must be a multiple of pad_to_multiple_of ({multiple}) where both "
                "truncation and padding are asked for"
            )
        normalize, split_special_tokens = self.text_settings(named["normalize"], named["split_special_tokens"])
        wants_types, wants_mask = named["return_token_type_ids"], named["return_attention_mask"]
        return Options(
            padding=padding,
            truncation=truncation,
            max_length=max_length,
            stride=int(stride),
            is_split_into_words=bool(named["is_split_into_words"]),
            pad_to_multiple_of=multiple,
            padding_side=self.side_of_padding(named["padding_side"]),
            return_tensors=tensor_type_name(named["return_tensors"]),
            return_token_type_ids="token_type_ids" in self.model_input_names if wants_types is None else wants_types,
            return_attention_mask="attention_mask" in self.model_input_names if wants_mask is None else wants_mask,
            return_overflowing_tokens=bool(named["return_overflowing_tokens"]),
            return_special_tokens_mask=bool(named["return_special_tokens_mask"]),
            return_length=bool(named["return_length"]),
            verbose=bool(named["verbose"]),
            add_special_tokens=bool(named["add_special_tokens"]),
            normalize=normalize,
            split_special_tokens=split_special_tokens,
            preparation=check_preparation(named["preparation"]),
            reported=named["reported"],
        )

    @staticmethod
    def _check_pairs(work: Work | None, options: Options) -> None:
        if (
            work is not None
            and options.return_overflowing_tokens
            and options.truncation == "longest_first"
            and any(second is not None for _, second in work.items)
        ):
            raise ValueError(
                "return_overflowing_tokens has no single text to return for pairs cut by 'longest_first': use "
                "truncation='only_first' or 'only_second'"
            )

    def _ids_of(self, item: Any, options: Options) -> tuple[list[int], tuple[str, ...] | None, list[Spanned]]:
        """Ids of one text, and the strings that it was read from with what each became.

        The text is a str, words, tokens (a list of str that is not in words), or ids; the last two are read from none.
        """
        if isinstance(item, str):
            parts: tuple[str, ...] = (item,)
        elif item and is_whole(item[0]):
            return [int(index) for index in item], None, []
        elif options.is_split_into_words:
            parts = tuple(str(word) for word in item)
        else:
            return [self.token_id(str(token)) for token in item], None, []
        readings = self.read(
            parts, options.normalize, options.split_special_tokens, options.preparation, options.reported
        )
        return [self.token_id(token) for reading in readings for token in reading.characters], parts, readings

    def _encode_work(self, work: Work, options: Options) -> BatchEncoding:
        encoded = [self._encode_item(first, second, options) for first, second in work.items]
        items = [item for item, _ in encoded]
        if not work.batched:
            data = items[0]
            lengths: Any = len(data["input_ids"])
        else:
            names = dict.fromkeys(name for item in items for name in item)
            # A text that was not cut overflows by nothing.
            fill: dict[str, Callable[[], Any]] = {"overflowing_tokens": list, "num_truncated_tokens": int}
            data = {name: [item[name] if name in item else fill[name]() for item in items] for name in names}
            lengths = [len(item["input_ids"]) for item in items]
        data = self.pad_columns(data, work.batched, options.padding, options.max_length, options.pad_to_multiple_of,
                                 options.padding_side, options.return_attention_mask)  # fmt: skip
        if options.return_length:
            data["length"] = lengths if work.batched else len(data["input_ids"])
        if options.return_tensors is not None:
            # Overflowing tokens differ in length: they are lists or nothing, as in transformers.
            for name in ("overflowing_tokens", "num_truncated_tokens"):
                data.pop(name, None)
        encoding = BatchEncoding(data, tensor_type=options.return_tensors, prepend_batch_axis=not work.batched)
        encoding.sources = tuple(sources for _, sources in encoded)
        return encoding

    def _encode_item(
        self, first: Any, second: Any, options: Options
    ) -> tuple[dict[str, Any], tuple[TokenSource, ...] | None]:
        """Ids of one text and its pair, cut but not padded, with what was asked for beside them; and their sources."""
        ids, parts, readings = self._ids_of(first, options)
        pair_ids, pair_parts, pair_readings = (None, None, []) if second is None else self._ids_of(second, options)
        counts = [len(ids), len(pair_ids or ())]
        total = sum(counts)
        item: dict[str, Any] = {"input_ids": []}
        limit = options.max_length
        if options.truncation != "do_not_truncate" and limit and total > limit:
            only_second_of_none = options.truncation == "only_second" and not pair_ids
            ids, pair_ids, overflow = truncate(
                ids, pair_ids, total - limit, options.truncation, options.stride, self.truncation_side
            )
            if options.return_overflowing_tokens and not only_second_of_none:
                item["overflowing_tokens"] = overflow
                item["num_truncated_tokens"] = total - limit
        item["input_ids"] = ids + (pair_ids or [])
        if options.return_token_type_ids:
            pair_type = 1 if options.add_special_tokens else 0  # without them transformers tells no pair apart
            item["token_type_ids"] = [0] * len(ids) + [pair_type] * len(pair_ids or ())
        if options.return_special_tokens_mask:
            item["special_tokens_mask"] = [0] * len(item["input_ids"])
        length = len(item["input_ids"])
        if options.max_length is None and length > self.model_max_length and options.verbose:
            if not self._warned_of_length:
                logger.warning(
                    "A text has %d ids, more than the model's limit of %d (model_max_length).",
                    length, self.model_max_length,
                )  # fmt: skip
            self._warned_of_length = True
        texts = [(parts, readings), (pair_parts, pair_readings)]
        kept = [len(ids), len(pair_ids or ())]
        return item, self._sources(texts[: 1 if second is None else 2], counts, kept, options)

    def _sources(
        self,
        texts: Sequence[tuple[tuple[str, ...] | None, Sequence[Spanned]]],
        counts: Sequence[int],
        kept: Sequence[int],
        options: Options,
    ) -> tuple[TokenSource, ...] | None:
        """Where the ids of an item came from: of each text, `kept` of `counts` ids. None unless all are texts."""
        sources = []
        for (parts, readings), count, length in zip(texts, counts, kept, strict=False):
            if parts is None:
                return None
            first = 0 if self.truncation_side == "right" else count - length
            sources.append(
                TokenSource(
                    parts, options.normalize, options.split_special_tokens, first, first + length, tuple(readings)
                )
            )
        return tuple(sources)
