"""The text encoder: a transformer with relative positions (Kim et al. 2021, section 2.5.1; Shaw et al. 2018).

It computes in float32 when the model is float32 or half precision, and in float64 when the model is float64.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, embedding

import fastvits_kernels as kernels
from fastvits_kernels.ops.attention import attention_with_dropout

from ..configuration import VitsConfig
from .layers import Conv1d, Derived, Float32Module, LayerNorm, Linear, taps_first

Projection = tuple[Tensor, Tensor | None]
"""A matrix `[C, P]` and a bias `[P]`, or None, that a step's channels are projected with."""


def projected(x: Tensor, projection: Projection, lengths: Tensor | None) -> Tensor:
    """`[B, T, C]` -> `[B, T, P]`, zero beyond `lengths`."""
    weight, bias = projection
    return kernels.conv1d(x, weight.unsqueeze(0), bias, lengths=lengths, ieee=True)


def have_to_be_called(modules: Iterable[nn.Module]) -> bool:
    """Whether one of the modules is in training mode, or has hooks, which see and may change what goes in and comes
    out."""
    return any(
        m.training or m._forward_pre_hooks or m._forward_hooks or m._backward_pre_hooks or m._backward_hooks
        for m in modules
    )


class VitsAttention(nn.Module):
    """Multi-head attention with relative key and value embeddings `[1, 2 * window_size + 1, head_dim]`."""

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.dropout = config.attention_dropout
        self.k_proj = Linear(config.hidden_size, config.hidden_size, config.use_bias)
        self.v_proj = Linear(config.hidden_size, config.hidden_size, config.use_bias)
        self.q_proj = Linear(config.hidden_size, config.hidden_size, config.use_bias)
        self.out_proj = Linear(config.hidden_size, config.hidden_size, config.use_bias)
        self.derived = Derived()
        if config.window_size:
            shape = (1, 2 * config.window_size + 1, self.head_dim)
            self.emb_rel_k: nn.Parameter | None = nn.Parameter(torch.empty(shape))
            self.emb_rel_v: nn.Parameter | None = nn.Parameter(torch.empty(shape))
        else:
            self.emb_rel_k = self.emb_rel_v = None

    def projection(self) -> Projection:
        """Those of queries, keys and values as one, to `[B, T, 3 C]`."""
        layers = (self.q_proj, self.k_proj, self.v_proj)
        weights = tuple(layer.weight for layer in layers)
        weight = self.derived.get("weight", weights, lambda: torch.cat(weights).t())
        biases = tuple(layer.bias for layer in layers if layer.bias is not None)
        return weight, self.derived.get("bias", biases, lambda: torch.cat(biases)) if biases else None

    def forward(self, x: Tensor, lengths: Tensor | None, need_weights: bool) -> tuple[Tensor, Tensor | None]:
        """`[B, T, C]` -> what the heads say `[B, T, C]`, not projected, and, if asked for, weights `[B, H, T, T]`."""
        return self.attend(projected(x, self.projection(), lengths), lengths, need_weights)

    def attend(self, qkv: Tensor, lengths: Tensor | None, need_weights: bool) -> tuple[Tensor, Tensor | None]:
        """As `forward`, of what `projection` makes of `x`, `[B, T, 3 C]`."""
        batch, steps, channels = qkv.shape
        q, k, v = qkv.view(batch, steps, 3, self.num_heads, self.head_dim).unbind(2)
        rel_k = None if self.emb_rel_k is None else self.emb_rel_k[0]
        rel_v = None if self.emb_rel_v is None else self.emb_rel_v[0]
        weights = None
        if self.training and self.dropout:
            out, weights = attention_with_dropout(q, k, v, rel_k, rel_v, lengths, self.dropout)
        elif need_weights:
            out, weights = kernels.relative_attention_weights(q, k, v, rel_k, rel_v, lengths=lengths)
        else:
            out = kernels.relative_attention(q, k, v, rel_k, rel_v, lengths=lengths)
        return out.reshape(batch, steps, channels // 3), weights if need_weights else None


class VitsFeedForward(nn.Module):
    """Two convolutions around an activation; padded `(K - 1) // 2` on the left and `K // 2` on the right."""

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        self.conv_1 = Conv1d(config.hidden_size, config.ffn_dim, config.ffn_kernel_size)
        self.conv_2 = Conv1d(config.ffn_dim, config.hidden_size, config.ffn_kernel_size)
        self.pad_left = (config.ffn_kernel_size - 1) // 2
        self.activation = config.hidden_act
        self.dropout = config.activation_dropout

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """`[B, T, C]` -> the input `[B, T, ffn_dim]` of the second convolution."""
        if isinstance(self.activation, str):
            h = self.conv_1(x, pad_left=self.pad_left, activation=self.activation, lengths=lengths, ieee=True)
        else:  # the configuration's own function; conv_2 reads zeros beyond `lengths` whatever it makes of the padding
            h = self.activation(self.conv_1(x, pad_left=self.pad_left, lengths=lengths, ieee=True))
        return dropout(cast(Tensor, h), self.dropout, self.training)


class VitsEncoderLayer(nn.Module):
    """Attention and feed-forward, each with a residual and a layer normalisation behind it."""

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        self.attention = VitsAttention(config)
        self.layer_norm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.feed_forward = VitsFeedForward(config)
        self.final_layer_norm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = config.hidden_dropout

    def forward(self, x: Tensor, lengths: Tensor | None, need_weights: bool) -> tuple[Tensor, Tensor | None]:
        """`[B, T, C]` -> `[B, T, C]` and perhaps the attention weights `[B, H, T, T]`."""
        heads, weights = self.attention(x, lengths, need_weights)
        x, ffn = self._attended(heads, x, lengths), self.feed_forward
        weight, bias = taps_first(ffn.conv_2.weight), ffn.conv_2.bias
        return self._added(ffn(x, lengths), weight, bias, ffn.pad_left, x, self.final_layer_norm, lengths), weights

    def between(
        self, x: Tensor, qkv: Tensor, lengths: Tensor | None, need_weights: bool, following: Projection
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The layer without dropout, from one projection to the next: of `x` and its projection `[B, T, 3 C]`, what
        `forward` gives, with the projection `following` of its first result in second place."""
        heads, weights = self.attention.attend(qkv, lengths, need_weights)
        x, ffn, norm = self._attended(heads, x, lengths), self.feed_forward, self.final_layer_norm
        x, y = kernels.conv1d_layer_norm_projection(
            ffn(x, lengths),
            taps_first(ffn.conv_2.weight),
            ffn.conv_2.bias,
            x,
            norm.weight,
            norm.bias,
            *following,
            lengths=lengths,
            pad_left=ffn.pad_left,
            eps=norm.eps,
        )
        return x, y, weights

    def _attended(self, heads: Tensor, x: Tensor, lengths: Tensor | None) -> Tensor:
        """What the feed-forward reads: the heads projected and added to the layer's input, normalised."""
        projection = self.attention.out_proj
        return self._added(heads, projection.weight.t().unsqueeze(0), projection.bias, 0, x, self.layer_norm, lengths)

    def _added(
        self,
        h: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        pad_left: int,
        x: Tensor,
        norm: LayerNorm,
        lengths: Tensor | None,
    ) -> Tensor:
        """`norm(x + dropout(convolution of h))`."""
        if self.training and self.dropout:
            y = kernels.conv1d(h, weight, bias, pad_left=pad_left, lengths=lengths, ieee=True)
            return norm(dropout(y, self.dropout), x, lengths)
        return kernels.conv1d_layer_norm(
            h, weight, bias, x, norm.weight, norm.bias, lengths=lengths, pad_left=pad_left, eps=norm.eps
        )


class VitsEncoder(nn.Module):
    """The stack of encoder layers."""

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(VitsEncoderLayer(config) for _ in range(config.num_hidden_layers))
        self.layerdrop = config.layerdrop

    def forward(
        self, x: Tensor, lengths: Tensor | None, need_weights: bool
    ) -> tuple[list[Tensor], list[Tensor | None]]:
        """All hidden states, the input first and the output last, and each layer's attention weights (or None)."""
        states, attentions = [x], []
        for layer in self.layers:
            # LayerDrop (Fan et al. 2020): in training a layer is left out with this probability.
            weights = None
            if not (self.training and self.layerdrop and torch.rand(()).item() < self.layerdrop):
                x, weights = layer(x, lengths, need_weights)
            states.append(x)
            attentions.append(weights)
        return states, attentions

    def between(
        self, x: Tensor, lengths: Tensor | None, need_weights: bool, last: Projection
    ) -> tuple[list[Tensor], list[Tensor | None], Tensor]:
        """As `forward`, where nothing has to be called, and the projection `last` of the output.

        A layer ends with the projection that the next one begins with, in one op.
        """
        layers = cast(list[VitsEncoderLayer], list(self.layers))
        projections = [*(layer.attention.projection() for layer in layers), last]
        states, attentions = [x], []
        y = projected(x, projections[0], lengths)
        for layer, following in zip(layers, projections[1:], strict=True):
            x, y, weights = layer.between(x, y, lengths, need_weights, following)
            states.append(x)
            attentions.append(weights)
        return states, attentions, y

    def has_to_be_called(self) -> bool:
        """Whether `forward` has to run, module by module."""
        layers = cast(list[VitsEncoderLayer], list(self.layers))
        return have_to_be_called([self, *layers, *(layer.attention for layer in layers)])


class TextEncoding(NamedTuple):
    """What the text encoder makes of a text."""

    hidden: Tensor  # [B, T_text, hidden_size]
    means: Tensor  # [B, T_text, flow_size]
    log_scales: Tensor  # [B, T_text, flow_size]
    hidden_states: list[Tensor]  # num_hidden_layers + 1 of [B, T_text, hidden_size]
    attentions: list[Tensor | None]  # num_hidden_layers of [B, H, T_text, T_text]


class VitsTextEncoder(Float32Module):
    """Token ids -> hidden states, and the means and log standard deviations of the prior."""

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        self.flow_size = config.flow_size
        self.embedding_scale = math.sqrt(config.hidden_size)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.encoder = VitsEncoder(config)
        self.derived = Derived()
        self.project = Conv1d(config.hidden_size, 2 * config.flow_size, 1)

    def _embedded(self, input_ids: Tensor) -> Tensor:
        """Scaled embeddings `[B, T_text, hidden_size]`; without gradients from a table that is scaled already."""
        table = self.embed_tokens.weight
        if torch.is_grad_enabled() and table.requires_grad:
            return cast(Tensor, self.embed_tokens(input_ids)) * self.embedding_scale
        return embedding(input_ids, self.derived.get("table", (table,), lambda: table * self.embedding_scale))

    def forward(self, input_ids: Tensor, lengths: Tensor | None, need_weights: bool = False) -> TextEncoding:
        """`input_ids` `[B, T_text]`, `lengths` `[B]`; all results are zero beyond `lengths`, but for the embeddings:
        layers do not read what is there."""
        x = self._embedded(input_ids)
        if self.encoder.has_to_be_called() or have_to_be_called([self.project]):
            states, attentions = self.encoder(x, lengths, need_weights)
            prior = self.project(states[-1], lengths=lengths, ieee=True)
        else:
            last = self.project.weight.squeeze(-1).t(), self.project.bias
            states, attentions, prior = self.encoder.between(x, lengths, need_weights, last)
        means, log_scales = prior.split(self.flow_size, dim=-1)
        return TextEncoding(states[-1], means, log_scales, states, attentions)
