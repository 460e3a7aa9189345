"""Names of parameters: those of the original VITS, which Piper and MMS keep, and ours, in both directions.

A line of the table is a pair of templates. What stands in braces is a part that is spelt differently on either side:

- `{i}`, `{j}`: a number, the same on both sides;
- `{part}`: `weight` or `bias`, or one of the two spellings of a weight-normed weight's two parts;
- `{norm}`: `gamma` and `beta` there, `weight` and `bias` here;
- `{coupling}`: the original counts the flip behind each coupling layer as a flow, so that 0, 2, 4 ... are 0, 1, 2 ...;
- `{spline}`: likewise behind an affine flow, which is 0: there 1, 3, 5 ..., here 1, 2, 3 ...

Source: https://github.com/jaywalnut310/vits (models.py, attentions.py, modules.py), the published checkpoints.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

_ENCODER = "text_encoder.encoder.layers.{i}"
_DURATION = "duration_predictor"

_TABLE: list[tuple[str, str]] = [
    ("enc_p.emb.weight", "text_encoder.embed_tokens.weight"),
    ("enc_p.encoder.attn_layers.{i}.emb_rel_k", f"{_ENCODER}.attention.emb_rel_k"),
    ("enc_p.encoder.attn_layers.{i}.emb_rel_v", f"{_ENCODER}.attention.emb_rel_v"),
    *(
        (f"enc_p.encoder.attn_layers.{{i}}.conv_{theirs}.{{part}}", f"{_ENCODER}.attention.{ours}_proj.{{part}}")
        for theirs, ours in (("q", "q"), ("k", "k"), ("v", "v"), ("o", "out"))
    ),
    *(
        (f"enc_p.encoder.ffn_layers.{{i}}.{conv}.{{part}}", f"{_ENCODER}.feed_forward.{conv}.{{part}}")
        for conv in ("conv_1", "conv_2")
    ),
    ("enc_p.encoder.norm_layers_1.{i}.{norm}", f"{_ENCODER}.layer_norm.{{norm}}"),
    ("enc_p.encoder.norm_layers_2.{i}.{norm}", f"{_ENCODER}.final_layer_norm.{{norm}}"),
    ("enc_p.proj.{part}", "text_encoder.project.{part}"),
    *(
        (f"{theirs}.{a}.{{part}}", f"{ours}.{b}.{{part}}")
        for theirs, ours in (("dp.flows.{spline}", f"{_DURATION}.flows.{{spline}}"),
                             ("dp.post_flows.{spline}", f"{_DURATION}.post_flows.{{spline}}"))
        for a, b in (("pre", "conv_pre"), ("proj", "conv_proj"))
    ),
    *(
        (f"{theirs}.{a}", f"{ours}.{b}")
        for theirs, ours in (("dp.convs", f"{_DURATION}.conv_dds"),
                             ("dp.post_convs", f"{_DURATION}.post_conv_dds"),
                             ("dp.flows.{spline}.convs", f"{_DURATION}.flows.{{spline}}.conv_dds"),
                             ("dp.post_flows.{spline}.convs", f"{_DURATION}.post_flows.{{spline}}.conv_dds"))
        for a, b in (("convs_sep.{j}.{part}", "convs_dilated.{j}.{part}"),
                     ("convs_1x1.{j}.{part}", "convs_pointwise.{j}.{part}"),
                     ("norms_1.{j}.{norm}", "norms_1.{j}.{norm}"),
                     ("norms_2.{j}.{norm}", "norms_2.{j}.{norm}"))
    ),
    *(
        (f"dp.{flows}.0.{theirs}", f"{_DURATION}.{flows}.0.{ours}")
        for flows in ("flows", "post_flows")
        for theirs, ours in (("m", "translate"), ("logs", "log_scale"))
    ),
    ("dp.pre.{part}", f"{_DURATION}.conv_pre.{{part}}"),
    ("dp.proj.{part}", f"{_DURATION}.conv_proj.{{part}}"),
    ("dp.post_pre.{part}", f"{_DURATION}.post_conv_pre.{{part}}"),
    ("dp.post_proj.{part}", f"{_DURATION}.post_conv_proj.{{part}}"),
    ("dp.cond.{part}", f"{_DURATION}.cond.{{part}}"),
    ("flow.flows.{coupling}.pre.{part}", "flow.flows.{coupling}.conv_pre.{part}"),
    ("flow.flows.{coupling}.post.{part}", "flow.flows.{coupling}.conv_post.{part}"),
    ("enc_q.pre.{part}", "posterior_encoder.conv_pre.{part}"),
    ("enc_q.proj.{part}", "posterior_encoder.conv_proj.{part}"),
    *(
        (f"{theirs}.{layer}.{{part}}", f"{ours}.{layer}.{{part}}")
        for theirs, ours in (("flow.flows.{coupling}.enc", "flow.flows.{coupling}.wavenet"),
                             ("enc_q.enc", "posterior_encoder.wavenet"))
        for layer in ("in_layers.{j}", "res_skip_layers.{j}", "cond_layer")
    ),
    *((f"dec.{conv}.{{part}}", f"decoder.{conv}.{{part}}") for conv in ("conv_pre", "conv_post", "cond")),
    ("dec.ups.{i}.{part}", "decoder.upsampler.{i}.{part}"),
    *(
        (f"dec.resblocks.{{i}}.{convs}.{{j}}.{{part}}", f"decoder.resblocks.{{i}}.{convs}.{{j}}.{{part}}")
        for convs in ("convs", "convs1", "convs2")
    ),
    ("emb_g.weight", "embed_speaker.weight"),
]  # fmt: skip

# The plain duration predictor; one of its layers has a name that the stochastic one gives to another.
_PLAIN_TABLE: list[tuple[str, str]] = [
    ("dp.conv_1.{part}", f"{_DURATION}.conv_1.{{part}}"),
    ("dp.conv_2.{part}", f"{_DURATION}.conv_2.{{part}}"),
    ("dp.norm_1.{norm}", f"{_DURATION}.norm_1.{{norm}}"),
    ("dp.norm_2.{norm}", f"{_DURATION}.norm_2.{{norm}}"),
    ("dp.proj.{part}", f"{_DURATION}.proj.{{part}}"),
    ("dp.cond.{part}", f"{_DURATION}.cond.{{part}}"),
]

_PART = r"weight_g|weight_v|weight|bias|parametrizations\.weight\.original[01]"
_NORM = {"gamma": "weight", "beta": "bias"}


class _Blank(NamedTuple):
    """What may stand for a part in braces on either side, and how one becomes the other."""

    original: str
    ours: str
    to_ours: Callable[[str], str]
    to_original: Callable[[str], str]


_BLANKS: dict[str, _Blank] = {
    "i": _Blank(r"\d+", r"\d+", str, str),
    "j": _Blank(r"\d+", r"\d+", str, str),
    "part": _Blank(_PART, _PART, str, str),
    "norm": _Blank("gamma|beta", "weight|bias", _NORM.__getitem__, {v: k for k, v in _NORM.items()}.__getitem__),
    "coupling": _Blank(r"\d*[02468]", r"\d+", lambda n: str(int(n) // 2), lambda n: str(2 * int(n))),
    "spline": _Blank(r"\d*[13579]", r"[1-9]\d*", lambda n: str(int(n) // 2 + 1), lambda n: str(2 * int(n) - 1)),
}


class _Rule(NamedTuple):
    pattern: re.Pattern[str]
    template: str
    to_ours: bool

    def apply(self, name: str) -> str | None:
        match = self.pattern.fullmatch(name)
        if match is None:
            return None
        blanks = {
            key: (_BLANKS[key].to_ours if self.to_ours else _BLANKS[key].to_original)(value)
            for key, value in match.groupdict().items()
        }
        return self.template.format(**blanks)


def _rules(table: list[tuple[str, str]], to_ours: bool) -> Iterator[_Rule]:
    for original, ours in table:
        source, template = (original, ours) if to_ours else (ours, original)
        pattern = re.escape(source)
        for key, blank in _BLANKS.items():
            choices = blank.original if to_ours else blank.ours
            pattern = pattern.replace(re.escape(f"{{{key}}}"), f"(?P<{key}>{choices})")
        yield _Rule(re.compile(pattern), template, to_ours)


@functools.cache
def _to_ours(plain_durations: bool) -> list[_Rule]:
    return list(_rules((_PLAIN_TABLE if plain_durations else []) + _TABLE, True))


@functools.cache
def _to_original() -> list[_Rule]:
    return list(_rules(_PLAIN_TABLE + _TABLE, False))


def our_name(original: str, *, plain_durations: bool = False) -> str | None:
    """Our name of a parameter of the original VITS, or None if it has none.

    Args:
        original: its name there, such as `flow.flows.2.enc.in_layers.0.weight_g`; how weight norm is spelt stays.
        plain_durations: whether the model has the plain duration predictor, in which `dp.proj` is another layer.
    """
    return next((name for name in (rule.apply(original) for rule in _to_ours(plain_durations)) if name), None)


def original_name(ours: str) -> str:
    """The original VITS's name of one of our parameters.

    Raises:
        ValueError: it has none there.
    """
    name = next((name for name in (rule.apply(ours) for rule in _to_original()) if name), None)
    if name is None:
        raise ValueError(f"{ours} has no name in the original VITS")
    return name
