"""Ids of unequal length padded to a common one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .batch_encoding import BatchEncoding, tensor_type_name
from .id_lists import as_list, check_ids, columns_of, tensor_type_of
from .special_tokens import SpecialTokens
from .tokenizer_arguments import (
    LARGE_LENGTH,
    PADDING_STRATEGIES,
    SIDES,
    check_bool,
    choice,
    describe,
    optional_length,
    optional_multiple,
)

__all__ = ["Padding"]


class Padding(SpecialTokens):
    """The part of a tokenizer that pads.

    Attributes:
        model_max_length: limit for `padding="max_length"`.
        padding_side: "right" or "left".
        model_input_names: which masks there are by themselves.
        pad_token_type_id: what `token_type_ids` are padded with.
    """

    model_max_length: int
    padding_side: str
    model_input_names: list[str]
    pad_token_type_id = 0

    def pad(
        self,
        encoded_inputs: Any,
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
        verbose: bool = True,
    ) -> BatchEncoding:
        """Pad ids that were encoded before, one text's or a batch's. The input is left as it is.

        Args:
            encoded_inputs: a mapping with `input_ids` (of one text or of several), or a list of mappings, one a text;
                values are lists, arrays or tensors. `attention_mask`, `token_type_ids` and `special_tokens_mask` are
                padded along, all else is kept.
            padding, max_length, pad_to_multiple_of, padding_side, return_attention_mask, return_tensors: as in a call.
                Tensors and arrays come back as what they were where `return_tensors` is None.
            verbose: accepted and not used.

        Raises:
            TypeError, ValueError: the input is none of these, or has no `input_ids`.
        """
        strategy = self.padding_strategy(padding)
        limit = optional_length("max_length", max_length)
        if limit is None and strategy == "max_length":
            if self.model_max_length <= LARGE_LENGTH:
                limit = self.model_max_length
            else:
                strategy = "do_not_pad"
        multiple = optional_multiple(pad_to_multiple_of)
        side = self.side_of_padding(padding_side)
        if return_attention_mask is None:
            return_attention_mask = "attention_mask" in self.model_input_names
        else:
            check_bool("return_attention_mask", return_attention_mask)
        tensor_type = tensor_type_name(return_tensors)
        columns = columns_of(encoded_inputs)
        tensor_type = tensor_type or tensor_type_of(columns["input_ids"])
        data = {name: as_list(value) for name, value in columns.items()}
        ids = data["input_ids"]
        if not isinstance(ids, (list, tuple)):
            raise TypeError(f"input_ids must be a list, an array or a tensor of ids, got {describe(ids)}")
        batched = len(ids) > 0 and isinstance(ids[0], (list, tuple))
        check_ids(ids, batched)
        if batched:
            for name, value in data.items():
                if not isinstance(value, (list, tuple)) or len(value) != len(ids):
                    raise ValueError(f"{name!r} must have one entry for each of the {len(ids)} texts")
        if len(ids) > 0:
            data = self.pad_columns(data, batched, strategy, limit, multiple, side, return_attention_mask)
        encoding = BatchEncoding(data, tensor_type=tensor_type)
        given = [encoded_inputs] if isinstance(encoded_inputs, Mapping) else encoded_inputs
        known = [item.sources if isinstance(item, BatchEncoding) else None for item in given]
        if all(sources is not None for sources in known):
            encoding.sources = tuple(item for sources in known for item in sources or ())
        return encoding

    def pad_columns(
        self,
        data: dict[str, Any],
        batched: bool,
        padding: str,
        max_length: int | None,
        multiple: int | None,
        side: str,
        return_attention_mask: bool,
    ) -> dict[str, Any]:
        """Pad the columns of one text or of a batch to their common length."""
        rows = data["input_ids"] if batched else [data["input_ids"]]
        target = 0
        if padding == "longest":
            target = max((len(row) for row in rows), default=0)
        elif padding == "max_length":
            target = max_length or 0
        if padding != "do_not_pad" and multiple:
            target = -(-target // multiple) * multiple
        padded = dict(data)
        if return_attention_mask and "attention_mask" not in padded:
            masks = [[1] * len(row) for row in rows]
            padded["attention_mask"] = masks if batched else masks[0]
        if padding == "do_not_pad" or (not batched and len(rows[0]) == 0):
            return padded  # a single empty text stays empty, as in transformers
        for name, filler in (
            ("input_ids", self.pad_token_id),
            ("attention_mask", 0),
            ("token_type_ids", self.pad_token_type_id),
            ("special_tokens_mask", 1),
        ):
            if name not in padded:
                continue
            column = padded[name] if batched else [padded[name]]
            filled = []
            # What is short is short by the ids: a column beside them grows by as much as they do.
            for row, ids in zip(column, rows, strict=True):
                padding_ids = [filler] * max(target - len(ids), 0)
                filled.append(list(row) + padding_ids if side == "right" else padding_ids + list(row))
            padded[name] = filled if batched else filled[0]
        return padded

    def padding_strategy(self, padding: Any) -> str:
        """The name of a padding strategy; ValueError when padding is asked for and there is nothing to pad with."""
        if isinstance(padding, bool):
            name = "longest" if padding else "do_not_pad"
        else:
            name = choice("padding", padding, PADDING_STRATEGIES, "True, False")
        if name != "do_not_pad" and self.pad_token is None:
            raise ValueError("this tokenizer has no pad_token to pad with; set tokenizer.pad_token")
        return name

    def side_of_padding(self, side: Any) -> str:
        """The side that is padded: the one asked for, or the tokenizer's own."""
        return self.padding_side if side is None else choice("padding_side", side, SIDES, "None")
