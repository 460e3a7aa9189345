"""The text encoder: a transformer with relative positions (Kim et al. 2021, section 2.5.1; Shaw et al. 2018).

It computes in float32 when the model is float32 or half precision, and in float64 when the model is float64.
"""

import math
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, embedding, pad

import fastvits_kernels as kernels

from ..configuration import VitsConfig
from .layers import (
    Derived,
    Float32Module,
    activation_layer,
    activation_name,
    conv1d,
    convolved,
    dropout_rate,
    empty,
    mask_of,
    taps_first,
)
from .masks import additive_mask, is_full, same_lengths
from .named_output import VitsEncoderOutput, VitsTextEncoderOutput
from .observed import is_training, known, observed

Projection = tuple[Tensor, Tensor | None]
"""A matrix `[C, P]` and a bias `[P]`, or None, that a step's channels are projected with."""


def projected(x: Tensor, projection: Projection, lengths: Tensor | None) -> Tensor:
    """`[B, T, C]` -> `[B, T, P]`, zero beyond `lengths`."""
    weight, bias = projection
    return kernels.conv1d(x, weight.unsqueeze(0), bias, lengths=lengths, ieee=True)


@known
class VitsAttention(nn.Module):
    """Multi-head attention with relative key and value embeddings `[1, 2 * window_size + 1, head_dim]`."""

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        self.embed_dim, self.num_heads = config.hidden_size, config.num_attention_heads
        self.head_dim = self.embed_dim // self.num_heads
        self.scaling, self.window_size = self.head_dim**-0.5, config.window_size
        self.dropout = config.attention_dropout
        self.k_proj = empty(nn.Linear, config.hidden_size, config.hidden_size, config.use_bias)
        self.v_proj = empty(nn.Linear, config.hidden_size, config.hidden_size, config.use_bias)
        self.q_proj = empty(nn.Linear, config.hidden_size, config.hidden_size, config.use_bias)
        self.out_proj = empty(nn.Linear, config.hidden_size, config.hidden_size, config.use_bias)
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

    def forward(
        self,
        hidden_states: Tensor,
        key_value_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        output_attentions: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """The published call, layer by layer: `[B, T, C]`, a mask as for `additive_mask` -> `[B, T, C]` and, if asked
        for, weights `[B, H, T, T]`. As there, `key_value_states` are not looked at."""
        batch, steps, channels = hidden_states.shape
        q, k, v = (
            layer(hidden_states).view(batch, steps, self.num_heads, self.head_dim).transpose(1, 2)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        q = q * self.head_dim**-0.5
        scores, mask = q @ k.transpose(2, 3), additive_mask(attention_mask, hidden_states)
        if self.emb_rel_k is not None and self.emb_rel_v is not None:
            window = self.emb_rel_k.shape[1] // 2
            positions = torch.arange(steps, device=q.device)
            offsets = positions - positions.unsqueeze(1) + window
            near = (offsets >= 0) & (offsets <= 2 * window)
            places = offsets.clamp(0, 2 * window).expand(batch, self.num_heads, steps, steps)
            scores = scores + (q @ self.emb_rel_k[0].t()).gather(3, places) * near
        weights = (scores if mask is None else scores + mask).softmax(-1)
        dropped = dropout(weights, self.dropout, self.training)
        heads = dropped @ v
        if self.emb_rel_k is not None and self.emb_rel_v is not None:
            relative = dropped.new_zeros(batch, self.num_heads, steps, 2 * window + 1).scatter_add(
                3, places, dropped * near
            )
            heads = heads + relative @ self.emb_rel_v[0]
        out = self.out_proj(heads.transpose(1, 2).reshape(batch, steps, channels))
        return out, weights if output_attentions else None

    def heads(self, x: Tensor, lengths: Tensor | None, need_weights: bool) -> tuple[Tensor, Tensor | None]:
        """`[B, T, C]` -> what the heads say `[B, T, C]`, not projected, and, if asked for, weights `[B, H, T, T]`."""
        return self.attend(projected(x, self.projection(), lengths), lengths, need_weights)

    def attend(self, qkv: Tensor, lengths: Tensor | None, need_weights: bool) -> tuple[Tensor, Tensor | None]:
        """As `heads`, of what `projection` makes of `x`, `[B, T, 3 C]`."""
        batch, steps, channels = qkv.shape
        q, k, v = qkv.view(batch, steps, 3, self.num_heads, self.head_dim).unbind(2)
        rel_k = None if self.emb_rel_k is None else self.emb_rel_k[0]
        rel_v = None if self.emb_rel_v is None else self.emb_rel_v[0]
        rate = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            out, weights = kernels.relative_attention_weights(q, k, v, rel_k, rel_v, lengths=lengths, dropout=rate)
        else:
            out = kernels.relative_attention(q, k, v, rel_k, rel_v, lengths=lengths, dropout=rate)
        return out.reshape(batch, steps, channels // 3), weights


def _unpadded(in_channels: int, out_channels: int, kernel_size: int) -> nn.Conv1d:
    return empty(nn.Conv1d, in_channels, out_channels, kernel_size)


@known
class VitsFeedForward(nn.Module):
    """Two convolutions around an activation; padded `(K - 1) // 2` on the left and `K // 2` on the right."""

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        self.conv_1 = _unpadded(config.hidden_size, config.ffn_dim, config.ffn_kernel_size)
        self.conv_2 = _unpadded(config.ffn_dim, config.hidden_size, config.ffn_kernel_size)
        self.pad_left, self.pad_right = (config.ffn_kernel_size - 1) // 2, config.ffn_kernel_size // 2
        self.act_fn = activation_layer(config.hidden_act)
        self.dropout = nn.Dropout(config.activation_dropout)

    def forward(self, hidden_states: Tensor, padding_mask: Tensor) -> Tensor:
        """The published call, layer by layer: `[B, T, C]`, `[B, T, 1]` -> `[B, T, C]`."""
        padding = self.pad_left, self.pad_right
        mask = padding_mask.transpose(1, 2)
        h = self.conv_1(pad(hidden_states.transpose(1, 2) * mask, padding))
        h = self.dropout(self.act_fn(h))
        return (self.conv_2(pad(h * mask, padding)) * mask).transpose(1, 2)

    def first_half(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """`[B, T, C]` -> the input `[B, T, ffn_dim]` of the second convolution."""
        name = activation_name(self.act_fn)
        options: dict[str, Any] = {} if name is None else {"activation": name}
        h = convolved(self.conv_1, x, pad_left=self.pad_left, lengths=lengths, ieee=True, **options)
        # conv_2 reads zeros beyond `lengths`, whatever a function of one's own makes of the padding.
        return cast(Tensor, self.dropout(self.act_fn(h) if name is None else h))


@known
class VitsEncoderLayer(nn.Module):
    """Attention and feed-forward, each with a residual and a layer normalisation behind it."""

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        self.attention = VitsAttention(config)
        self.layer_norm = empty(nn.LayerNorm, config.hidden_size, config.layer_norm_eps)
        self.feed_forward = VitsFeedForward(config)
        self.final_layer_norm = empty(nn.LayerNorm, config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(
        self,
        hidden_states: Tensor,
        padding_mask: Tensor,
        attention_mask: Tensor | None = None,
        output_attentions: bool = False,
    ) -> tuple[Tensor, ...]:
        """The published call, layer by layer: `[B, T, C]`, `[B, T, 1]`, a mask as for `additive_mask` -> `[B, T, C]`
        and, if asked for, the attention weights `[B, H, T, T]`."""
        heads, weights = self.attention(
            hidden_states, attention_mask=attention_mask, output_attentions=output_attentions
        )
        x = self.layer_norm(hidden_states + self.dropout(heads))
        h = self.dropout(self.feed_forward(x, padding_mask))
        x = self.final_layer_norm(x + h)
        return (x, weights) if output_attentions else (x,)

    def encode(self, x: Tensor, lengths: Tensor | None, need_weights: bool) -> tuple[Tensor, Tensor | None]:
        """`[B, T, C]` -> `[B, T, C]` and perhaps the attention weights `[B, H, T, T]`."""
        heads, weights = self.attention.heads(x, lengths, need_weights)
        x, ffn = self._attended(heads, x, lengths), self.feed_forward
        weight, bias = taps_first(ffn.conv_2.weight), ffn.conv_2.bias
        h = self._added(ffn.first_half(x, lengths), weight, bias, ffn.pad_left, x, self.final_layer_norm, lengths)
        return h, weights

    def between(
        self, x: Tensor, qkv: Tensor, lengths: Tensor | None, need_weights: bool, following: Projection
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The layer without dropout, from one projection to the next: of `x` and its projection `[B, T, 3 C]`, what
        `encode` gives, with the projection `following` of its first result in second place."""
        heads, weights = self.attention.attend(qkv, lengths, need_weights)
        x, ffn, norm = self._attended(heads, x, lengths), self.feed_forward, self.final_layer_norm
        x, y = kernels.conv1d_layer_norm_projection(
            ffn.first_half(x, lengths),
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
        norm: nn.LayerNorm,
        lengths: Tensor | None,
    ) -> Tensor:
        """`norm(x + dropout(convolution of h))`."""
        return kernels.conv1d_layer_norm(
            h,
            weight,
            bias,
            x,
            norm.weight,
            norm.bias,
            lengths=lengths,
            pad_left=pad_left,
            eps=norm.eps,
            dropout=dropout_rate(self.dropout),
        )


@known
class VitsEncoder(nn.Module):
    """The stack of encoder layers."""

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(VitsEncoderLayer(config) for _ in range(config.num_hidden_layers))
        self.layerdrop = config.layerdrop

    def forward(
        self,
        hidden_states: Tensor,
        padding_mask: Tensor,
        attention_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> VitsEncoderOutput | tuple[Any, ...]:
        """The published call, layer by layer: `[B, T, C]`, `[B, T, 1]`, a mask as for `additive_mask` -> all hidden
        states and attention weights that are asked for."""
        mask = additive_mask(attention_mask, hidden_states)
        x = hidden_states * padding_mask
        states, attentions = [], []
        for layer in self.layers:
            states.append(x)
            weights = None
            if not self._left_out():
                x, *rest = layer(x, padding_mask, attention_mask=mask, output_attentions=bool(output_attentions))
                weights = rest[0] if rest else None
            attentions.append(weights)
        x = x * padding_mask
        output = VitsEncoderOutput(
            last_hidden_state=x,
            hidden_states=(*states, x) if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
        )
        return output if return_dict else output.to_tuple()

    def _left_out(self) -> bool:
        """LayerDrop (Fan et al. 2020): in training a layer is left out with this probability."""
        return self.training and bool(self.layerdrop) and torch.rand(()).item() < self.layerdrop

    def encode(self, x: Tensor, lengths: Tensor | None, need_weights: bool) -> tuple[list[Tensor], list[Tensor | None]]:
        """All hidden states, the input first and the output last, and each layer's attention weights (or None)."""
        states, attentions = [x], []
        for layer in cast(list[VitsEncoderLayer], list(self.layers)):
            weights = None
            if not self._left_out():
                x, weights = layer.encode(x, lengths, need_weights)
            states.append(x)
            attentions.append(weights)
        return states, attentions

    def between(
        self, x: Tensor, lengths: Tensor | None, need_weights: bool, last: Projection
    ) -> tuple[list[Tensor], list[Tensor | None], Tensor]:
        """As `encode`, where nothing is dropped, and the projection `last` of the output.

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


class TextEncoding(NamedTuple):
    """What the text encoder makes of a text."""

    hidden: Tensor  # [B, T_text, hidden_size]
    means: Tensor  # [B, T_text, flow_size]
    log_scales: Tensor  # [B, T_text, flow_size]
    hidden_states: list[Tensor]  # num_hidden_layers + 1 of [B, T_text, hidden_size]
    attentions: list[Tensor | None]  # num_hidden_layers of [B, H, T_text, T_text]


@known
class VitsTextEncoder(Float32Module):
    """Token ids -> hidden states, and the means and log standard deviations of the prior."""

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        self.flow_size = config.flow_size
        self.embedding_scale = math.sqrt(config.hidden_size)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.encoder = VitsEncoder(config)
        self.derived = Derived()
        self.project = conv1d(config.hidden_size, 2 * config.flow_size, 1)

    def forward(
        self,
        input_ids: Tensor,
        padding_mask: Tensor,
        attention_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = True,
    ) -> VitsTextEncoderOutput | tuple[Any, ...]:
        """The published call: `input_ids` `[B, T_text]`, `padding_mask` `[B, T_text, 1]`, 1 for tokens and 0 behind
        them, `attention_mask` `[B, T_text]`, the same or None -> hidden states, and means and log standard deviations
        of the prior, `[B, T_text, ...]`.

        Masks that do not say one and the same length of each item are followed to the letter, layer by layer.
        """
        lengths = None if observed(*self.children()) else same_lengths(padding_mask, attention_mask)
        if lengths is not None:
            full = None if is_full(lengths, input_ids.shape[1]) else lengths
            made = self._run(input_ids, full, bool(output_attentions))
            mask = padding_mask.to(made.hidden.dtype)
            states = [state * mask for state in made.hidden_states]
            encoded = VitsEncoderOutput(
                last_hidden_state=states[-1],
                hidden_states=tuple(states) if output_hidden_states else None,
                attentions=tuple(cast(list[Tensor], made.attentions)) if output_attentions else None,
            )
            means, log_scales = made.means, made.log_scales
        else:
            encoded = self.encoder(
                self.embed_tokens(input_ids) * self.embedding_scale,
                padding_mask,
                attention_mask,
                output_attentions=output_attentions,
                output_hidden_states=output_hidden_states,
                return_dict=True,
            )
            stats = self.project(encoded.last_hidden_state.transpose(1, 2)).transpose(1, 2) * padding_mask
            means, log_scales = stats.split(self.flow_size, dim=-1)
        output = VitsTextEncoderOutput(
            last_hidden_state=encoded.last_hidden_state,
            prior_means=means,
            prior_log_variances=log_scales,
            hidden_states=encoded.hidden_states,
            attentions=cast(tuple[Tensor, ...] | None, encoded.attentions),
        )
        return output if return_dict is None or return_dict else output.to_tuple()

    def encode(self, input_ids: Tensor, lengths: Tensor | None, need_weights: bool = False) -> TextEncoding:
        """`input_ids` `[B, T_text]`, `lengths` `[B]`; all results are zero beyond `lengths`, but for the embeddings:
        layers do not read what is there."""
        if not observed(self):
            return self._run(input_ids, lengths, need_weights)
        like = input_ids.new_empty(
            input_ids.shape[0], 0, dtype=self.embed_tokens.weight.dtype
        )  # weights may be elsewhere
        mask = mask_of(lengths, input_ids.shape[1], like)
        padding_mask, attention_mask = mask.transpose(1, 2), None if lengths is None else mask[:, 0]
        made = self(input_ids, padding_mask, attention_mask, output_attentions=need_weights, output_hidden_states=True)
        attentions = list(made.attentions or [None] * len(self.encoder.layers))
        # Back from what autocast may have made of it.
        hidden, means, log_scales = (
            x.to(padding_mask.dtype) for x in (made.last_hidden_state, made.prior_means, made.prior_log_variances)
        )
        return TextEncoding(hidden, means, log_scales, list(made.hidden_states), attentions)

    def _embedded(self, input_ids: Tensor) -> Tensor:
        """Scaled embeddings `[B, T_text, hidden_size]`; without gradients from a table that is scaled already."""
        table = self.embed_tokens.weight
        if torch.is_grad_enabled() and table.requires_grad:
            return cast(Tensor, self.embed_tokens(input_ids)) * self.embedding_scale
        return embedding(input_ids, self.derived.get("table", (table,), lambda: table * self.embedding_scale))

    def _run(self, input_ids: Tensor, lengths: Tensor | None, need_weights: bool) -> TextEncoding:
        x = self._embedded(input_ids)
        if is_training(self.encoder):
            states, attentions = self.encoder.encode(x, lengths, need_weights)
            prior = convolved(self.project, states[-1], lengths=lengths, ieee=True)
        else:
            last = self.project.weight.squeeze(-1).t(), self.project.bias
            states, attentions, prior = self.encoder.between(x, lengths, need_weights, last)
        means, log_scales = prior.split(self.flow_size, dim=-1)
        return TextEncoding(states[-1], means, log_scales, states, attentions)
