"""Attributes and methods of transformers' `PreTrainedModel` that mean something for a VITS, as its users expect them.

docs/coming-from-transformers.md lists all of them: what is here, and why the others are not.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, ClassVar, NoReturn

import torch
from torch import Tensor, nn

from ..runtime.module import RunnableModule


class PublishedAttributes(RunnableModule):
    """What can be said of a model without knowing its layers."""

    base_model_prefix: ClassVar[str] = "vits"
    main_input_name: ClassVar[str] = "input_ids"
    input_modalities: ClassVar[str] = "text"
    framework: ClassVar[str] = "pt"
    supports_gradient_checkpointing: ClassVar[bool] = True
    _no_split_modules: ClassVar[list[str]] = []
    _supports_sdpa: ClassVar[bool] = True
    _auto_class: ClassVar[str | None] = None
    _keys_to_ignore_on_load_missing: ClassVar[list[str] | None] = None
    _keys_to_ignore_on_load_unexpected: ClassVar[list[str] | None] = None
    _keys_to_ignore_on_save: ClassVar[list[str] | None] = None
    accepts_loss_kwargs: ClassVar[bool] = False
    """For transformers' `Trainer`: a call takes no number of items to divide a loss by."""
    model_tags: list[str] | None = None
    name_or_path: str = ""
    """Where the model was loaded from; empty for a new one."""
    is_gradient_checkpointing: bool = False
    """Whether `gradient_checkpointing_enable` was called."""

    @property
    def base_model(self) -> nn.Module:
        """The model itself: it has no head."""
        return self

    @property
    def dummy_inputs(self) -> dict[str, Tensor]:
        """Three short texts, as ids."""
        return {"input_ids": torch.tensor([[7, 6, 0, 0, 1], [1, 2, 3, 0, 0], [0, 0, 0, 4, 5]])}

    @classmethod
    def can_generate(cls) -> bool:
        """False: a VITS speaks in one call."""
        return False

    @classmethod
    def _can_set_attn_implementation(cls) -> bool:
        """False: attention is computed one way."""
        return False

    @classmethod
    def _can_set_experts_implementation(cls) -> bool:
        """False: a VITS has no experts."""
        return False

    @property
    def _keep_in_fp32_modules(self) -> set[str]:
        """Parts that stay float32 where the others are float16, and no more: none."""
        return set()

    @property
    def _keep_in_fp32_modules_strict(self) -> set[str]:
        """Parts that stay float32 where the others are in half precision."""
        return {name for name in ("text_encoder", "duration_predictor", "embed_speaker") if name in self._modules}

    @classmethod
    def is_remote_code(cls) -> bool:
        """False: the code is this package's."""
        return False

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """How many numbers the parameters have; without those of embeddings, or without the frozen ones."""
        left_out = set()
        if exclude_embeddings:
            embeddings = (module for module in self.modules() if isinstance(module, nn.Embedding))
            left_out = {id(module.weight) for module in embeddings}
        return sum(
            one.numel()
            for one in self.parameters()
            if id(one) not in left_out and (one.requires_grad or not only_trainable)
        )

    def get_memory_footprint(self, return_buffers: bool = True) -> int:
        """Bytes of the parameters, and of the buffers."""
        tensors = [*self.parameters(), *(self.buffers() if return_buffers else ())]
        return sum(tensor.nbytes for tensor in tensors)

    def get_parameter_or_buffer(self, target: str) -> Tensor:
        """The parameter or buffer of that name. Raises AttributeError where there is none."""
        for tensors in (self.named_parameters(), self.named_buffers()):
            for name, tensor in tensors:
                if name == target:
                    return tensor
        raise AttributeError(f"{type(self).__name__} has no parameter or buffer {target!r}")

    def named_non_persistent_buffers(
        self, recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """The buffers that no file holds."""
        kept = self.state_dict(keep_vars=True)
        for name, tensor in self.named_buffers(recurse=recurse, remove_duplicate=remove_duplicate):
            if name not in kept:
                yield name, tensor

    def add_model_tags(self, tags: Sequence[str] | str) -> None:
        """Tags for the model card of an upload."""
        more = [tags] if isinstance(tags, str) else list(tags)
        self.model_tags = [*(self.model_tags or []), *(tag for tag in more if tag not in (self.model_tags or []))]

    # --- Initialisation -----------------------------------------------------------------------------------------------

    def _init_weights(self, module: nn.Module) -> None:
        """Initialise the parameters that a module holds itself."""
        raise NotImplementedError

    def post_init(self) -> None:
        """Initialise the layers that a subclass has added; each once."""
        done = self.__dict__.setdefault("_initialized", set())
        for name, child in self.named_children():
            if name not in done:
                done.add(name)
                if all(tensor.device.type != "meta" for tensor in child.parameters()):
                    child.apply(self._init_weights)

    def init_weights(self) -> None:
        """Start all parameters anew, at random."""
        self.apply(self._init_weights)

    initialize_weights = init_weights

    def tie_weights(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: a VITS has no tied weights."""

    # --- Training -----------------------------------------------------------------------------------------------------

    def activation_checkpointing_enable(
        self,
        activation_checkpointing_kwargs: dict[str, Any] | None = None,
        every_n_layers: int = 1,
        offload: bool = False,
    ) -> None:
        """In training compute activations a second time instead of keeping them: the text encoder's, the flow's and the
        decoder's.

        Args:
            activation_checkpointing_kwargs: those of `torch.utils.checkpoint.checkpoint`.
            every_n_layers: 1, for these parts are computed anew as a whole.
            offload: keep what has to be kept in the host's memory.

        Raises:
            ValueError: `use_reentrant=True`, which would lose the gradients of the text encoder, whose inputs have
                none; or another `every_n_layers` than 1.
        """
        options = dict(activation_checkpointing_kwargs or {})
        if options.pop("use_reentrant", False):
            raise ValueError("use_reentrant=True would lose gradients of the text encoder; leave it out or write False")
        if every_n_layers != 1:
            raise ValueError(f"every_n_layers must be 1, for whole parts are computed anew, got {every_n_layers!r}")
        self._checkpointing_options, self._checkpointing_offload = options, bool(offload)
        self.is_gradient_checkpointing = True

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: dict[str, Any] | None = None, **options: Any
    ) -> None:
        """The older name of `activation_checkpointing_enable`."""
        self.activation_checkpointing_enable(gradient_checkpointing_kwargs, **options)

    def activation_checkpointing_disable(self) -> None:
        """Keep activations again."""
        self.is_gradient_checkpointing = False

    def gradient_checkpointing_disable(self) -> None:
        """The older name of `activation_checkpointing_disable`."""
        self.activation_checkpointing_disable()

    @property
    def is_activation_checkpointing(self) -> bool:
        """The newer name of `is_gradient_checkpointing`."""
        return self.is_gradient_checkpointing

    def checkpointed(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """`function(*arguments)`, with its activations computed anew for the backward pass where that is asked for."""
        if not (self.is_gradient_checkpointing and self.training and torch.is_grad_enabled()):
            return function(*arguments)
        from torch.autograd.graph import save_on_cpu
        from torch.utils.checkpoint import checkpoint

        on_host = save_on_cpu(pin_memory=self.device.type == "cuda") if self._checkpointing_offload else nullcontext()
        with on_host:
            return checkpoint(function, *arguments, use_reentrant=False, **self._checkpointing_options)

    def enable_input_require_grads(self) -> None:
        """Have the token embeddings' outputs require gradients, for adapters on a frozen model."""
        if "_require_grads_hook" not in self.__dict__:
            self._require_grads_hook = self.get_input_embeddings().register_forward_hook(
                lambda module, inputs, output: output.requires_grad_(True)
            )

    def disable_input_require_grads(self) -> None:
        """Take `enable_input_require_grads` back."""
        hook = self.__dict__.pop("_require_grads_hook", None)
        if hook is not None:
            hook.remove()

    # --- Parts --------------------------------------------------------------------------------------------------------

    def get_input_embeddings(self) -> nn.Embedding:
        """The token embeddings."""
        raise NotImplementedError

    def get_output_embeddings(self) -> None:
        """None: a VITS has none."""

    def get_encoder(self, modality: str | None = None) -> nn.Module:
        """The text encoder."""
        return self.get_submodule("text_encoder")

    def get_decoder(self) -> nn.Module:
        """What makes the waveform."""
        return self.get_submodule("decoder")

    def get_position_embeddings(self) -> NoReturn:
        """Raises NotImplementedError: positions are relative, and each layer has embeddings of its own."""
        raise NotImplementedError("a VITS has no position embeddings: its attention layers have relative ones")

    def resize_position_embeddings(self, new_num_position_embeddings: int) -> NoReturn:
        """Raises NotImplementedError: positions are relative, so that texts may be of any length already."""
        raise NotImplementedError("a VITS has no position embeddings to resize: texts may be of any length")

    # --- How it is computed -------------------------------------------------------------------------------------------

    def set_attn_implementation(self, attn_implementation: str | None) -> None:
        """Take "eager" and "sdpa": attention is computed exactly, whichever is asked for.

        Raises ValueError for others.
        """
        self.config._attn_implementation = attn_implementation  # type: ignore[union-attr]

    def get_compiled_call(self, compile_config: Any = None) -> Callable[..., Any]:
        """`torch.compile` of a call."""
        if compile_config is None:
            return torch.compile(self.__call__)
        return torch.compile(self.__call__, **compile_config.to_dict())
