"""The text encoder: a transformer with relative positions (Kim et al. 2021, section 2.5.1; Shaw et al. 2018).

It computes in float32 when the model is float32 or half precision, and in float64 when the model is float64.
"""

import math
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, embedding

import fastvits_kernels as kernels
from fastvits_kernels.attention import attention_with_dropout

from .configuration import VitsConfig
from .layers import Conv1d, Derived, Float32Module, LayerNorm, Linear, taps_first


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

    def _qkv(self) -> tuple[Tensor, Tensor | None]:
        """The three projections as one: weight `[1, C, 3 C]` (taps first), bias `[3 C]`."""
        layers = (self.q_proj, self.k_proj, self.v_proj)
        weights = tuple(layer.weight for layer in layers)
        weight = self.derived.get("weight", weights, lambda: torch.cat(weights).t().unsqueeze(0))
        biases = tuple(layer.bias for layer in layers if layer.bias is not None)
        return weight, self.derived.get("bias", biases, lambda: torch.cat(biases)) if biases else None

    def forward(self, x: Tensor, lengths: Tensor | None, need_weights: bool) -> tuple[Tensor, Tensor | None]:
        """`[B, T, C]` -> what the heads say `[B, T, C]`, not projected, and, if asked for, weights `[B, H, T, T]`."""
        batch, steps, channels = x.shape
        weight, bias = self._qkv()
        qkv = kernels.conv1d(x, weight, bias, lengths=lengths, ieee=True)
        qkv = qkv.view(batch, steps, 3, self.num_heads, self.head_dim)
        q, k, v = qkv.unbind(2)
        rel_k = None if self.emb_rel_k is None else self.emb_rel_k[0]
        rel_v = None if self.emb_rel_v is None else self.emb_rel_v[0]
        weights = None
        if self.training and self.dropout:
            out, weights = attention_with_dropout(q, k, v, rel_k, rel_v, lengths, self.dropout)
        elif need_weights:
            out, weights = kernels.relative_attention_weights(q, k, v, rel_k, rel_v, lengths=lengths)
        else:
            out = kernels.relative_attention(q, k, v, rel_k, rel_v, lengths=lengths)
        return out.reshape(batch, steps, channels), weights if need_weights else None


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
        projection, ffn = self.attention.out_proj, self.feed_forward
        x = self._added(heads, projection.weight.t().unsqueeze(0), projection.bias, 0, x, self.layer_norm, lengths)
        weight, bias = taps_first(ffn.conv_2.weight), ffn.conv_2.bias
        return self._added(ffn(x, lengths), weight, bias, ffn.pad_left, x, self.final_layer_norm, lengths), weights

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
        states, attentions = self.encoder(self._embedded(input_ids), lengths, need_weights)
        means, log_scales = self.project(states[-1], lengths=lengths, ieee=True).split(self.flow_size, dim=-1)
        return TextEncoding(states[-1], means, log_scales, states, attentions)
