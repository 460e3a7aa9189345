"""What a model has beside its layers: it is loaded, saved and pushed, and its vocabulary can grow."""

import math
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..configuration import VitsConfig
from ..runtime.backend import parse_backend
from ..runtime.graphs import GraphsSetting, parse_graphs
from ..runtime.module import RunnableModule
from ..runtime.warmup import check_warmup

_Self = TypeVar("_Self", bound="VitsPreTrainedModel")


class VitsPreTrainedModel(RunnableModule):
    """The base of models with a `VitsConfig`: loading, saving, token embeddings.

    Parameters are ordinary tensors even where the model is made, loaded or moved in inference mode: what is derived
    from a tensor of inference mode cannot be kept, for its changes are not counted.
    """

    config: VitsConfig

    def __init__(self, config: VitsConfig) -> None:
        if not isinstance(config, VitsConfig):
            raise TypeError(f"{type(self).__name__} takes a VitsConfig, got {type(config).__name__}")
        config.validate()  # fields may have been changed one by one since it was built
        super().__init__()
        self.config = config

    @torch.inference_mode(False)
    def _apply(self: _Self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> _Self:
        return super()._apply(fn, recurse)

    @classmethod
    def from_pretrained(
        cls: type[_Self],
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        dtype: torch.dtype | str | None = None,
        device_map: str | int | torch.device | Mapping[str, Any] | None = None,
        revision: str | None = None,
        subfolder: str = "",
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
        force_download: bool = False,
        inference_only: bool = False,
        backend: str | None = None,
        graphs: GraphsSetting = None,
        warmup: bool | Mapping[str, Any] = False,
    ) -> _Self:
        """A model from a folder or a hub repository, in eval mode; see `fastvits.weights.loading.load_pretrained`.

        `backend` and `graphs` become the attributes of those names. `warmup` calls `warmup()` when the model is loaded:
        True, or its keywords, `warmup={"batch_sizes": [1, 8]}`. All three are checked before anything is loaded.
        """
        from ..weights.loading import load_pretrained

        parse_backend(backend)
        parse_graphs(graphs)
        wanted = check_warmup(warmup)
        with torch.inference_mode(False):
            model = load_pretrained(
                cls,
                pretrained_model_name_or_path,
                dtype=dtype,
                device_map=device_map,
                revision=revision,
                subfolder=subfolder,
                cache_dir=cache_dir,
                local_files_only=local_files_only,
                token=token,
                force_download=force_download,
                inference_only=inference_only,
            )
        model.backend = backend
        model.graphs = graphs
        if wanted is not None:
            model.warmup(**wanted)
        return model

    def save_pretrained(self, save_directory: str | os.PathLike[str], **options: Any) -> None:
        """Write `config.json` and `model.safetensors`; `fastvits.weights.loading.save_pretrained` has the options."""
        from ..weights.loading import save_pretrained

        save_pretrained(self, save_directory, **options)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Save the model to a hub repository and return its address; see `fastvits.weights.loading.push_to_hub`."""
        from ..weights.loading import push_to_hub

        return push_to_hub(self, repo_id, **options)

    def warmup(self, *args: Any, **options: Any) -> Any:
        """Do ahead what the first calls would do."""
        raise NotImplementedError(f"{type(self).__name__} has nothing to warm up")

    def get_input_embeddings(self) -> nn.Embedding:
        """The token embeddings."""
        embeddings: nn.Embedding = self.get_submodule("text_encoder.embed_tokens")  # type: ignore[assignment]
        return embeddings

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the token embeddings by others of the same width."""
        if not isinstance(value, nn.Embedding) or value.embedding_dim != self.config.hidden_size:
            raise ValueError(f"the token embeddings must be an nn.Embedding of width {self.config.hidden_size}")
        self.get_submodule("text_encoder").embed_tokens = value
        self.config.vocab_size = value.num_embeddings

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """Give the vocabulary `new_num_tokens` entries (None: as many as it has), rounded up to `pad_to_multiple_of`.

        New entries become the mean of the old ones, or with `mean_resizing=False` random as in a new model. Returns the
        embeddings, and sets `config.vocab_size`.
        """
        old = self.get_input_embeddings()
        count = old.num_embeddings if new_num_tokens is None else new_num_tokens
        for name, size in (("new_num_tokens", count), ("pad_to_multiple_of", pad_to_multiple_of)):
            if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
                raise ValueError(f"{name} must be a positive integer, got {size!r}")
        if pad_to_multiple_of is not None:
            count = math.ceil(count / pad_to_multiple_of) * pad_to_multiple_of
        if count == old.num_embeddings:
            return old
        padding_idx = old.padding_idx if old.padding_idx is not None and old.padding_idx < count else None
        new = nn.Embedding(count, old.embedding_dim, padding_idx, device=old.weight.device, dtype=old.weight.dtype)
        with torch.no_grad():
            if mean_resizing:
                new.weight.copy_(old.weight.mean(0).expand_as(new.weight))
            else:
                nn.init.normal_(new.weight, std=self.config.initializer_range)
            kept = min(count, old.num_embeddings)
            new.weight[:kept].copy_(old.weight[:kept])
        new.weight.requires_grad_(old.weight.requires_grad)
        self.set_input_embeddings(new)
        return new
