"""What a model has beside its layers: it is loaded, saved and pushed, and its vocabulary can grow."""

import copy
import inspect
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from ..configuration import VitsConfig
from ..runtime.backend import parse_backend
from ..runtime.graphs import GraphsSetting, parse_graphs
from ..runtime.warmup import check_warmup
from .initialization import initialize
from .loader_arguments import without_taken
from .published import PublishedAttributes

_Self = TypeVar("_Self", bound="VitsPreTrainedModel")


class VitsPreTrainedModel(PublishedAttributes):
    """The base of models with a `VitsConfig`: loading, saving, token embeddings.

    A subclass may have a constructor of `config` alone, and layers of its own; `post_init()` at its end initialises
    those. Parameters are ordinary tensors even where the model is made, loaded or moved in inference mode: what is
    derived from a tensor of inference mode cannot be kept, for its changes are not counted.
    """

    config: VitsConfig
    config_class: ClassVar[type[VitsConfig]] = VitsConfig

    def __init__(self, config: VitsConfig) -> None:
        if not isinstance(config, VitsConfig):
            raise TypeError(f"{type(self).__name__} takes a VitsConfig, got {type(config).__name__}")
        config.validate()  # fields may have been changed one by one since it was built
        super().__init__()
        self.config = config
        self.name_or_path = str(config.name_or_path or "")
        if getattr(config, "gradient_checkpointing", False):  # how it was once asked for
            self.gradient_checkpointing_enable()

    @torch.inference_mode(False)
    def _apply(self: _Self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> _Self:
        return super()._apply(fn, recurse)

    def _init_weights(self, module: nn.Module) -> None:
        """Initialise the parameters that a module holds itself, by the published scheme."""
        initialize(module, self.config)

    @classmethod
    def from_pretrained(
        cls: type[_Self],
        pretrained_model_name_or_path: str | os.PathLike[str] | None,
        *,
        config: VitsConfig | str | os.PathLike[str] | None = None,
        dtype: torch.dtype | str | None = None,
        torch_dtype: torch.dtype | str | None = None,
        device_map: str | int | torch.device | Mapping[str, Any] | None = None,
        revision: str | None = None,
        subfolder: str = "",
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
        force_download: bool = False,
        variant: str | None = None,
        use_safetensors: bool | None = None,
        disable_mmap: bool | None = None,
        state_dict: Mapping[str, Tensor] | None = None,
        key_mapping: Mapping[str, str] | None = None,
        ignore_mismatched_sizes: bool = False,
        output_loading_info: bool = False,
        inference_only: bool = False,
        backend: str | None = None,
        graphs: GraphsSetting = None,
        warmup: bool | Mapping[str, Any] = False,
        **kwargs: Any,
    ) -> Any:
        """A model from a folder or a hub repository, in eval mode.

        Args:
            pretrained_model_name_or_path: a folder, or the id of a repository on the hub; None where `state_dict` has
                the weights, and then `config` is needed.
            config: a configuration, or where one lies, to use instead of the folder's.
            dtype, torch_dtype: a torch dtype or its name; None and "auto" mean that of the stored tensors. In half
                precision the text encoder, the duration predictor and the speaker embeddings stay float32, so that
                lengths do not depend on it. "int8": the flow and the decoder multiply numbers of 8 bits, on a CPU that
                has instructions for it, with a voice that was calibrated (`fastvits calibrate`); such a model learns
                nothing more.
            device_map: None (the CPU), a device, its name or index, "auto" (CUDA where there is a CUDA device), or
                `{"": device}`.
            revision, subfolder, cache_dir, local_files_only, token, force_download: see `fastvits.hub.snapshot`.
            variant: a part of the files' names: `model.fp16.safetensors` for "fp16".
            use_safetensors: True reads safetensors alone, False PyTorch's files alone, None safetensors where there
                are some.
            disable_mmap: read weights into memory at once, instead of mapping the file.
            key_mapping: regular expressions of names in the files, and what to put there.
            ignore_mismatched_sizes: parameters that the file has in another shape start at random, with a warning.
            output_loading_info: also return what was missing, unexpected and mismatched, as a dictionary of sets.
            inference_only: leave out all that only training needs.
            backend, graphs: the attributes of those names.
            warmup: call `warmup()` when the model is loaded: True, or its keywords, `{"batch_sizes": [1, 8]}`.
            kwargs: fields of the configuration to change, as in `speaking_rate=1.2`; further arguments of a subclass's
                constructor; and arguments of transformers that ask for what holds anyway (`low_cpu_mem_usage`,
                `trust_remote_code`, `attn_implementation="eager"` or `"sdpa"`).

        All of it is checked before anything is loaded. Parameters that are there only because of a changed
        configuration or of a subclass's own layers start at random, with a warning.

        Raises:
            OSError: nothing there, not a model, no weights, or files that are truncated or corrupt.
            ValueError: an impossible configuration, dtype or device, or weights that do not fit: every missing,
                unexpected or misshapen tensor is named.
            TypeError: an unknown keyword.
        """
        from ..weights.loading import Source, load_pretrained
        from ..weights.placement import resolve_device
        from . import int8

        parse_backend(backend)
        parse_graphs(graphs)
        wanted = check_warmup(warmup)
        given = without_taken(kwargs)
        source = pretrained_model_name_or_path
        if (source is None) == (state_dict is None):
            raise ValueError("name a folder or a repository, or give state_dict and config: one of the two")
        if source is None and config is None:
            raise ValueError("state_dict needs a config beside it: config=VitsConfig(...)")
        where = {
            "revision": revision,
            "subfolder": subfolder,
            "cache_dir": cache_dir,
            "local_files_only": local_files_only,
            "token": token,
            "force_download": force_download,
        }
        arguments = {name: given.pop(name) for name in list(given) if cls._is_own_argument(name)}
        settings, at = cls._settings(config, source, where, given)
        dtype = torch_dtype if dtype is None else dtype
        of_8_bits = int8.means_int8(dtype)
        if of_8_bits:
            int8.check_int8(settings, resolve_device(device_map))
            dtype = int8.surrounding_dtype()
        with torch.inference_mode(False):
            model, info = load_pretrained(
                cls,
                None if source is None else Source(source, where, variant, use_safetensors),
                settings,
                own_names=cls._published_names,
                initialize=cls._init_weights,
                arguments=arguments,
                dtype=dtype,
                device_map=device_map,
                state_dict=state_dict,
                inference_only=inference_only,
                ignore_mismatched_sizes=ignore_mismatched_sizes,
                key_mapping=key_mapping,
                disable_mmap=bool(disable_mmap),
            )
        if of_8_bits and settings.int8_ranges is not None:
            int8.use_int8(model, settings.int8_ranges)
        model.name_or_path = at
        model.backend = backend
        model.graphs = graphs
        if wanted is not None:
            model.warmup(**wanted)
        return (model, vars(info)) if output_loading_info else model

    @classmethod
    def _settings(
        cls,
        config: Any,
        source: str | os.PathLike[str] | None,
        where: Mapping[str, Any],
        overrides: Mapping[str, Any],
    ) -> tuple[VitsConfig, str]:
        """The configuration to load with, and what `name_or_path` says."""
        at = "" if source is None else os.fspath(source)
        if config is None or isinstance(config, (str, os.PathLike)):
            lies = at if config is None else config
            # Weights lie in a folder: a file is no model, whatever it holds.
            if config is None and Path(at).is_file():
                raise NotADirectoryError(f"{at!r} is a file; a folder or the id of a hub repository is needed")
            return cls.config_class.from_pretrained(lies, **where, **overrides), at
        config = cls._own_config(config)
        if overrides:
            own = config.to_dict()
            unknown = [name for name in overrides if not type(config)._takes(name, own)]
            if unknown:
                raise TypeError(f"{cls.__name__}.from_pretrained got an unknown keyword argument: {unknown[0]!r}")
            config.update(overrides)
        return config, at

    @classmethod
    def _own_config(cls, config: Any) -> VitsConfig:
        """A copy of a configuration, which may be that of transformers."""
        if isinstance(config, VitsConfig):
            return copy.deepcopy(config)
        if getattr(config, "model_type", None) != "vits" or not callable(getattr(config, "to_dict", None)):
            raise TypeError(f"config must be a VitsConfig or where one lies, got {type(config).__name__}")
        return cls.config_class.from_dict(config.to_dict())

    @classmethod
    def _is_own_argument(cls, name: str) -> bool:
        """Whether a keyword is one of a subclass's constructor."""
        published = cls._published_class()
        if name not in inspect.signature(cls.__init__).parameters or cls is published:
            return False
        return name not in inspect.signature(published.__init__).parameters

    @classmethod
    def _published_class(cls) -> "type[VitsPreTrainedModel]":
        """The class of this package that `cls` is, or is a subclass of."""
        package = __name__.partition(".")[0]
        return next(kind for kind in cls.__mro__ if kind.__module__.partition(".")[0] == package)

    @classmethod
    def _published_names(cls, config: VitsConfig) -> set[str]:
        """The names of the parameters that a model of `config` has without a subclass's own layers."""
        from ..weights.parts import on_meta_device

        return set(on_meta_device(cls._published_class(), config, []).state_dict())

    @classmethod
    def _from_config(cls: type[_Self], config: VitsConfig, **kwargs: Any) -> _Self:
        """A new model with random weights, in training mode; `dtype` (or `torch_dtype`) and `attn_implementation`."""
        from ..weights.loading import resolve_dtype, target_dtype

        given = without_taken(kwargs)
        attention = given.pop("attn_implementation", None)
        named = given.pop("torch_dtype", None)
        dtype = resolve_dtype(given.pop("dtype", named))
        config = cls._own_config(config)
        config.attn_implementation = attention
        model = cls(config, **given)
        if dtype is not None:
            for name, parameter in model.named_parameters():
                parameter.data = parameter.data.to(target_dtype(name, dtype))
        return model

    def save_pretrained(self, save_directory: str | os.PathLike[str], *arguments: Any, **options: Any) -> None:
        """Write `config.json` and `model.safetensors`; `fastvits.weights.saving.save_pretrained` has the options."""
        from ..weights.saving import save_pretrained

        names = ("is_main_process", "state_dict", "push_to_hub", "max_shard_size", "variant", "token")
        if len(arguments) > len(names):
            raise TypeError(f"save_pretrained takes at most {len(names)} arguments behind the folder")
        save_pretrained(self, save_directory, **dict(zip(names, arguments, strict=False)), **options)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Save the model to a hub repository and return its address; see `fastvits.weights.saving.push_to_hub`."""
        from ..weights.saving import push_to_hub

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
