"""Models that look like VITS and are not: refused in a sentence that names the part which ours does not have."""

from __future__ import annotations

import re
from collections.abc import Iterable

# A pattern that some name of a parameter begins with, and what it gives away.
_PARTS: list[tuple[str, str]] = [
    (r".*\bdec\.(subband_conv_post|multistream_conv_post|stft|pqmf|conv_post_mag|istft)\b",
     "a decoder that ends in an inverse Fourier transform (MB-iSTFT, iSTFT)"),
    (r".*\b(ja_|en_|zh_)?bert_proj\b", "a text encoder that reads BERT's features (Bert-VITS2, MeloTTS)"),
    (r".*\b(tone_emb|emb_tone)\b", "an embedding of tones (Bert-VITS2, MeloTTS)"),
    (r".*\b(language_emb|emb_l|emb_lang|lang_emb|lid_emb|emb_language)\b", "an embedding of languages"),
    (r".*\b(prosody_emb|prosody_proj|emb_prosody|a1_emb|prosody_features)\b",
     "an embedding of prosody (piper-plus 2)"),
    (r".*\bencoder\.encoders\.\d+\.(conv_module|feed_forward_macaron|norm_conv)\b",
     "a Conformer for a text encoder (ESPnet)"),
    (r".*\bflow\.flows\.\d+\.(pre_transformer|enc\.attn_layers|attn_layers)\b", "a flow with a transformer (VITS2)"),
    (r".*\bflow\.flows\.\d+\.(encoder|attn)\b", "a flow with a transformer (VITS2, Bert-VITS2)"),
    (r"(?:.*\.)?(enc_p\.|enc_)?(emb_phone|emb_pitch|emb_uv|f0_decoder|f0_emb|f0_prenet)\b",
     "an input of pitch (RVC, so-vits-svc: voice conversion)"),
    (r"(?:.*\.)?(ref_enc|quantizer|ssl_proj|enc_p\.(encoder_ssl|mrte))\b",
     "a reference encoder or quantiser (GPT-SoVITS, OpenVoice)"),
    (r"(?:.*\.)?(dec\.(m_source|noise_convs|cond_layers|activation_post|adapter)|emo_proj|emb_emo|enc_p\.emo)\b",
     "a decoder with a source of excitation, or an embedding of emotions"),
    (r"(?:.*\.)?sdp\.", "two duration predictors at once (Bert-VITS2, MeloTTS)"),
]  # fmt: skip
_COMPILED = [(re.compile(pattern), part) for pattern, part in _PARTS]


def refuse_foreign_parts(names: Iterable[str], source: object) -> None:
    """Raise ValueError, naming the part, if one of the names of parameters belongs to a model that is no plain VITS.

    Args:
        names: of the parameters, as the checkpoint spells them.
        source: what messages call the checkpoint.
    """
    for name in names:
        for pattern, part in _COMPILED:
            if pattern.match(name):
                raise ValueError(f"{source} is no plain VITS: it has {part}, as its {name} shows")
