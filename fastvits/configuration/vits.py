"""The configuration of a VITS model: every parameter of the published ``config.json``, checked.

Names, defaults and file format are those of the published checkpoints (the ``config.json`` of ``facebook/mms-tts-*``;
the model is Kim et al. 2021, "Conditional Variational Autoencoder with Adversarial Learning for End-to-End
Text-to-Speech"), so files travel both ways between transformers and this package. An architecture that could not run is
refused when the configuration is built, with an error that names the field.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, TypeVar, get_type_hints

import torch

from ..strictness import tolerated
from .architecture import check_decoder, check_duration_predictor, check_encoder, check_flow
from .fields import INT64_MAX, Activation, Flag, Integer, NonEmptyList, Ranges, Real
from .files import ConfigurationFiles, function_name, written
from .marking import without_mark
from .words import GENERAL, GENERAL_WORDS, NEAR, OTHER_WORDS

_Self = TypeVar("_Self", bound="VitsConfig")


_Size = Annotated[int, Integer(minimum=1)]
_Count = Annotated[int, Integer(minimum=0)]
_Probability = Annotated[float, Real(minimum=0, maximum=1)]
_NonNegative = Annotated[float, Real(minimum=0)]
_Positive = Annotated[float, Real(positive=True)]
_Boolean = Annotated[bool, Flag()]
_OptionalBoolean = Annotated[bool | None, Flag(optional=True)]
_Sizes = Annotated[list[int], NonEmptyList()]

# Who wrote a file and where it lay: no part of what is configured, so equality does not look at it.
_PROVENANCE = frozenset({"transformers_version", "_name_or_path", "name_or_path", "_commit_hash"})
# Left out of to_dict() at their defaults: transformers does not know them.
_WRITTEN_UNLESS_DEFAULT = (
    "resblock_type",
    "max_frames",
    "window_length",
    "mel_bins",
    "mel_fmin",
    "mel_fmax",
    "segment_frames",
    "int8_ranges",
)
# Left out of the file at their defaults, as transformers does.
_SAVED_UNLESS_DEFAULT = ("output_attentions", "output_hidden_states", "return_dict")


@dataclasses.dataclass(init=False, repr=False, eq=False)
class VitsConfig(ConfigurationFiles):
    """Every parameter of a VITS model, with the defaults of ``facebook/mms-tts-eng``.

    All parameters are keywords. An unknown one raises TypeError and names what comes near. Values are checked when they
    are set, in the constructor and later (``config.speaking_rate = 0.5``): TypeError for a wrong type, ValueError for a
    value that cannot be. How fields fit together is checked by :meth:`validate`, which the constructor,
    :meth:`from_dict`, :meth:`from_pretrained` and :meth:`save_pretrained` call; two fields that depend on each other
    can therefore be changed one after the other. An attribute of one's own (``config.my_note = 1``) is kept and saved;
    a name that is nearly a parameter's raises AttributeError, so that a misspelt one does not pass in silence. Numbers
    are stored as ``int`` and ``float``, sequences as lists.

    Keys of a ``config.json`` that are no parameter here (``architectures``, ``dtype``, anything) pass through
    :meth:`from_dict` and :meth:`from_pretrained`, are readable as attributes, and are written again. Two configurations
    are equal if their parameters and such keys are, whichever library version and place the files came from.

    Args:
        vocab_size: number of tokens (38).
        hidden_size: channels of the text encoder, the WaveNets and the stochastic duration predictor (192); a multiple
            of ``num_attention_heads``.
        num_hidden_layers: Transformer layers of the text encoder (6).
        num_attention_heads: attention heads a layer (2).
        window_size: tokens to each side that have a relative position embedding (4); 0 or None means none, which
            transformers cannot load.
        use_bias: biases in the attention's four projections (True).
        ffn_dim: channels inside a feed-forward block (768).
        layerdrop: probability of skipping an encoder layer in training (0.1).
        ffn_kernel_size: kernel size of the feed-forward convolutions (3); even ones are fine.
        flow_size: channels of the latents (192); even, as each coupling layer splits them in halves.
        spectrogram_bins: bins of the linear spectrogram that the posterior encoder reads (513).
        hidden_act: activation of the feed-forward block ("relu"): "relu", "gelu", "selu", "gelu_new" (the tanh
            approximation), or a function of a tensor, which cannot be saved.
        hidden_dropout, attention_dropout, activation_dropout: dropout of the text encoder (0.1 each).
        initializer_range: standard deviation of fresh linear and embedding weights (0.02).
        layer_norm_eps: epsilon of the layer norms (1e-5).
        use_stochastic_duration_prediction: flow-based duration predictor (True) or the plain convolutional one.
        num_speakers: speakers; 0 and 1 both mean a single one (1).
        speaker_embedding_size: channels of a speaker's embedding (0); positive if there are several speakers.
        upsample_initial_channel: channels of the decoder before upsampling (512); halved, rounding down, by each stage.
        upsample_rates: samples that each decoder stage makes of one ([8, 8, 2, 2]); their product is a frame's length.
        upsample_kernel_sizes: kernel size of each stage ([16, 16, 4, 4]): its rate plus an even number.
        resblock_kernel_sizes: kernel sizes of the parallel residual blocks of every stage ([3, 7, 11]).
        resblock_dilation_sizes: dilations of each of those blocks ([[1, 3, 5]] * 3).
        leaky_relu_slope: slope of the decoder's leaky ReLUs, but for the last (0.1).
        depth_separable_channels: channels of the duration flows (2); nothing but 2 works with the stochastic predictor.
        depth_separable_num_layers: layers of a dilated depth-separable block (3).
        duration_predictor_flow_bins: bins of the duration spline (10); 1000 at most, each being at least 1e-3 wide.
        duration_predictor_tail_bound: the spline acts on [-tail_bound, tail_bound] (5.0).
        duration_predictor_kernel_size: kernel size in the duration predictor (3); odd.
        duration_predictor_dropout: dropout of the duration predictor (0.5).
        duration_predictor_num_flows: convolution flows of the stochastic predictor (4).
        duration_predictor_filter_channels: channels of the plain duration predictor (256).
        prior_encoder_num_flows: residual coupling layers (4).
        prior_encoder_num_wavenet_layers: WaveNet layers in each of them (4).
        posterior_encoder_num_wavenet_layers: WaveNet layers of the posterior encoder (16).
        wavenet_kernel_size: kernel size of the WaveNets (5); odd.
        wavenet_dilation_rate: WaveNet layer i has dilation ``wavenet_dilation_rate ** i`` (1).
        wavenet_dropout: dropout of the WaveNets (0.0).
        speaking_rate: larger is faster; durations are divided by it (1.0).
        noise_scale: standard deviation of the noise added to the prior (0.667).
        noise_scale_duration: standard deviation of the noise that durations are drawn from (0.8).
        sampling_rate: samples a second (16000).
        pad_token_id: id whose embedding starts as zeros and is not trained, or None (None); a negative one counts from
            the end, as in ``torch.nn.Embedding``.
        output_attentions, output_hidden_states, return_dict: what the model returns when a call does not say
            (False, False, True).
        resblock_type: 1 for residual blocks of two convolutions a dilation, 2 for HiFi-GAN's second type with one (1).
            Written only when it is not 1.
        max_frames: most latent frames that one item may be predicted to have before the model raises (200000, which is
            53 minutes at 16 kHz and 256 samples a frame). Written only when it is not the default.
        window_length: samples of the spectrograms' window, at most ``n_fft`` (None: ``n_fft``). For training only, as
            are the next four; written only when they are not the default.
        mel_bins, mel_fmin, mel_fmax: bins and band in Hz of the mel spectrogram that training compares (80, 0.0, None:
            half of ``sampling_rate``).
        segment_frames: frames of the slice that the decoder makes in a step of training (32).
        int8_ranges: what ``fastvits calibrate`` found: between which bounds activations lie, for ``dtype="int8"``
            (None). ``flow`` has a list a coupling layer, ``decoder`` one a stage, of two bounds for each tensor that
            convolutions read; None for a part that stays in higher precision.

    Raises:
        TypeError: an unknown keyword, or a value of the wrong type.
        ValueError: a value, or a combination of values, that no model can have; the message names the field.
    """

    model_type: ClassVar[str] = "vits"

    vocab_size: _Size = 38
    hidden_size: _Size = 192
    num_hidden_layers: _Count = 6
    num_attention_heads: _Size = 2
    window_size: Annotated[int | None, Integer(minimum=0, optional=True)] = 4
    use_bias: _Boolean = True
    ffn_dim: _Size = 768
    layerdrop: _Probability = 0.1
    ffn_kernel_size: _Size = 3
    flow_size: _Size = 192
    spectrogram_bins: _Size = 513
    hidden_act: Annotated[str | Callable[[torch.Tensor], torch.Tensor], Activation()] = "relu"
    hidden_dropout: _Probability = 0.1
    attention_dropout: _Probability = 0.1
    activation_dropout: _Probability = 0.1
    initializer_range: _NonNegative = 0.02
    layer_norm_eps: _NonNegative = 1e-5
    use_stochastic_duration_prediction: _Boolean = True
    num_speakers: _Count = 1
    speaker_embedding_size: _Count = 0
    upsample_initial_channel: _Size = 512
    upsample_rates: _Sizes = dataclasses.field(default_factory=lambda: [8, 8, 2, 2])
    upsample_kernel_sizes: _Sizes = dataclasses.field(default_factory=lambda: [16, 16, 4, 4])
    resblock_kernel_sizes: _Sizes = dataclasses.field(default_factory=lambda: [3, 7, 11])
    resblock_dilation_sizes: Annotated[list[list[int]], NonEmptyList(NonEmptyList())] = dataclasses.field(
        default_factory=lambda: [[1, 3, 5], [1, 3, 5], [1, 3, 5]]
    )
    leaky_relu_slope: Annotated[float, Real()] = 0.1
    depth_separable_channels: _Size = 2
    depth_separable_num_layers: _Count = 3
    duration_predictor_flow_bins: _Size = 10
    duration_predictor_tail_bound: _Positive = 5.0
    duration_predictor_kernel_size: _Size = 3
    duration_predictor_dropout: _Probability = 0.5
    duration_predictor_num_flows: _Count = 4
    duration_predictor_filter_channels: _Size = 256
    prior_encoder_num_flows: _Count = 4
    prior_encoder_num_wavenet_layers: _Count = 4
    posterior_encoder_num_wavenet_layers: _Count = 16
    wavenet_kernel_size: _Size = 5
    wavenet_dilation_rate: _Size = 1
    wavenet_dropout: _Probability = 0.0
    speaking_rate: _Positive = 1.0
    noise_scale: _NonNegative = 0.667
    noise_scale_duration: _NonNegative = 0.8
    sampling_rate: _Size = 16_000
    pad_token_id: Annotated[int | None, Integer(minimum=-INT64_MAX, optional=True)] = None
    output_attentions: _OptionalBoolean = False
    output_hidden_states: _OptionalBoolean = False
    return_dict: _OptionalBoolean = True
    resblock_type: Annotated[int, Integer(minimum=1, maximum=2)] = 1
    max_frames: _Size = 200_000
    window_length: Annotated[int | None, Integer(optional=True)] = None
    mel_bins: _Size = 80
    mel_fmin: _NonNegative = 0.0
    mel_fmax: Annotated[float | None, Real(positive=True, optional=True)] = None
    segment_frames: _Size = 32
    int8_ranges: Annotated[dict[str, Any] | None, Ranges(("flow", "decoder"))] = None

    def __init__(self, **parameters: Any) -> None:
        self._refuse_unknown(type(self).__name__, parameters)
        self._fill(parameters)

    # --- Attributes ---------------------------------------------------------------------------------------------------

    def _fill(self, values: Mapping[str, Any]) -> None:
        """Set every field from ``values`` or its default, keep all other keys, and check the whole."""
        values = without_mark(values)
        model_type = values.get("model_type", self.model_type)
        if model_type not in (self.model_type, VitsConfig.model_type):
            raise ValueError(f"model_type must be {self.model_type!r}, got {model_type!r}: this is no VITS model")
        # A subclass may have set attributes of its own before.
        self.__dict__["_extra"] = {
            **self.__dict__.get("_extra", {}),
            **{key: copy.deepcopy(value) for key, value in values.items() if key not in _RULES and key != "model_type"},
        }
        for key in ("attn_implementation", "_attn_implementation"):
            self._attn_implementation = self._extra.pop(key, self._attn_implementation)
        labels = self._extra.get("id2label")
        if isinstance(labels, dict):  # JSON has no integers as keys
            self._extra["id2label"] = {int(key) if str(key).isdigit() else key: text for key, text in labels.items()}
        if "num_labels" in self._extra:
            count = self._extra.pop("num_labels")
            if self._extra.get("id2label") is None:
                self.num_labels = count
        for key in ("dtype", "torch_dtype"):
            if isinstance(self._extra.get(key), torch.dtype):
                self._extra[key] = _dtype_name(self._extra[key])
        for name, default in _DEFAULTS.items():
            setattr(self, name, values.get(name, default))
        self.validate()

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _RULES:
            self.__dict__[name] = _RULES[name](name, value)
            return
        extra = self.__dict__.setdefault("_extra", {})
        descriptor = getattr(type(self), name, None)
        if name in ("dtype", "torch_dtype"):
            extra.pop("torch_dtype", None)
            extra["dtype"] = _dtype_name(value) if isinstance(value, torch.dtype) else value
        elif isinstance(descriptor, property) and descriptor.fset is not None:
            descriptor.fset(self, value)
        elif name in extra or name in GENERAL:
            extra[name] = value
        elif descriptor is not None or (
            (name in OTHER_WORDS or difflib.get_close_matches(name, _RULES, 1, NEAR))
            and not tolerated(f"{type(self).__name__} keeps {name}, which means nothing to a VITS")
        ):
            raise AttributeError(f"{type(self).__name__} has no parameter {name!r}{_near(name)}")
        else:
            extra[name] = value

    def __getattr__(self, name: str) -> Any:
        # Called only for what is neither a field nor a method, so a key of a foreign file cannot hide either.
        extra = self.__dict__.get("_extra", {})
        if name in extra and not name.startswith("__"):
            return extra[name]
        if name in GENERAL:
            return GENERAL[name]
        raise AttributeError(f"{type(self).__name__} has no parameter {name!r}{_near(name)}")

    @property
    def dtype(self) -> torch.dtype | None:
        """The dtype of the saved weights: the file's ``dtype``, or ``torch_dtype`` in older ones; None without."""
        name = self._extra.get("dtype") or self._extra.get("torch_dtype")
        dtype = getattr(torch, name, None) if isinstance(name, str) else None
        return dtype if isinstance(dtype, torch.dtype) else None

    @property
    def torch_dtype(self) -> torch.dtype | None:
        """The older name of :attr:`dtype`."""
        return self.dtype

    @property
    def hop_length(self) -> int:
        """Samples of a frame: the product of ``upsample_rates``."""
        return math.prod(self.upsample_rates)

    @property
    def n_fft(self) -> int:
        """Samples that a spectrogram of ``spectrogram_bins`` bins is a transform of: ``2 (spectrogram_bins - 1)``."""
        return 2 * (self.spectrogram_bins - 1)

    # --- Checks -------------------------------------------------------------------------------------------------------

    def validate(self) -> None:
        """Check every field and how they fit together.

        Raises:
            TypeError: a field holds a wrong type (a list changed in place, say).
            ValueError: no model can have this architecture; the message names the field.
        """
        for name in _RULES:
            setattr(self, name, getattr(self, name))
        check_encoder(self)
        check_duration_predictor(self)
        check_flow(self)
        check_decoder(self)
        self._check_spectrograms()

    def _check_spectrograms(self) -> None:
        if self.window_length is not None and self.window_length > self.n_fft:
            raise ValueError(f"window_length must be at most n_fft ({self.n_fft}), got {self.window_length}")
        half = self.sampling_rate / 2
        if not self.mel_fmin < (half if self.mel_fmax is None else self.mel_fmax) <= half:
            raise ValueError(
                f"mel_fmin ({self.mel_fmin:g}) must be below mel_fmax ({self.mel_fmax}), and that at most half of "
                f"sampling_rate, {half:g}"
            )

    @classmethod
    def _takes(cls, name: str, content: Iterable[str]) -> bool:
        """Whether a loader's keyword says something about the configuration."""
        known = (_RULES, GENERAL, GENERAL_WORDS, ("model_type", "attn_implementation"), content)
        return any(name in names for names in known) or name in inspect.signature(cls.__init__).parameters

    @classmethod
    def _refuse_unknown(cls, owner: str, parameters: Iterable[str]) -> None:
        known = {*_RULES, *GENERAL, *GENERAL_WORDS, "model_type", "attn_implementation"}
        unknown = [name for name in parameters if name not in known]
        if unknown and not tolerated(f"{owner} keeps {', '.join(unknown)}, which mean nothing to a VITS"):
            listed = ", ".join(f"{name!r}{_near(name)}" for name in unknown)
            raise TypeError(f"{owner} got an unknown keyword argument: {listed}")

    @classmethod
    def _built(cls: type[_Self], values: dict[str, Any]) -> _Self:
        if cls.__init__ is VitsConfig.__init__:
            config = cls.__new__(cls)
            config._fill(values)
            return config
        # A subclass's constructor has its own parameters; whatever else the file says is kept beside them.
        config = cls(**{name: value for name, value in values.items() if cls._takes(name, ())})
        for name, value in values.items():
            if not cls._takes(name, ()):
                config._extra[name] = copy.deepcopy(value)
        return config

    # --- Writing ------------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Return every parameter, every kept foreign key and ``model_type``, as a copy.

        What transformers does not know (``resblock_type``, ``max_frames`` and what is for training only) is left out
        at its default.
        """
        values = {name: copy.deepcopy(getattr(self, name)) for name in _RULES}
        for name in _WRITTEN_UNLESS_DEFAULT:
            if values[name] == _DEFAULTS[name]:
                del values[name]
        return {**copy.deepcopy(self._extra), **values, "model_type": self.model_type}

    def to_diff_dict(self) -> dict[str, Any]:
        """Return what :meth:`save_pretrained` writes: :meth:`to_dict` less the output switches at their defaults."""
        values = self.to_dict()
        for name in _SAVED_UNLESS_DEFAULT:
            if values[name] == _DEFAULTS[name]:
                del values[name]
        return values

    # --- Python's own protocols ---------------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, VitsConfig):
            return NotImplemented
        return self._compared() == other._compared()

    def _compared(self) -> tuple[dict[str, Any], dict[str, Any]]:
        kept = {key: value for key, value in self._extra.items() if key not in _PROVENANCE}
        return {name: getattr(self, name) for name in _RULES}, kept

    def __copy__(self: _Self) -> _Self:
        # Lists are shared, as in any shallow copy. Foreign keys count as attributes, so their store is not.
        clone = type(self).__new__(type(self))
        clone.__dict__.update(self.__dict__, _extra=dict(self._extra))
        return clone

    def __iter__(self) -> Iterator[str]:
        return iter(self.to_dict())

    def __repr__(self) -> str:
        values = self.to_diff_dict()
        if not isinstance(self.hidden_act, str):
            values["hidden_act"] = f"<function {function_name(self.hidden_act)}>"
        return f"{type(self).__name__} {written(values, default=repr)}"


_RULES: dict[str, Callable[[str, Any], Any]] = {
    name: hint.__metadata__[0]
    for name, hint in get_type_hints(VitsConfig, include_extras=True).items()
    if hasattr(hint, "__metadata__")
}
_DEFAULTS: dict[str, Any] = {
    field.name: field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    for field in dataclasses.fields(VitsConfig)
}
# For help() and editors: the constructor takes these by name.
VitsConfig.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default) for name, default in _DEFAULTS.items()]
)


def _near(name: str) -> str:
    if name in OTHER_WORDS:
        return f" (write {OTHER_WORDS[name]})"
    matches = difflib.get_close_matches(name, _RULES)
    return f" (did you mean {' or '.join(matches)}?)" if matches else ""


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
