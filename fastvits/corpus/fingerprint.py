"""What a voice is, in one hash: another one, and a folder's items are spoken anew."""

from __future__ import annotations

import hashlib
import json

import torch

from ..speech.speaker import Speaker

__all__ = ["voice_fingerprint"]


def voice_fingerprint(voice: Speaker) -> str:
    """A hash of the voice: configuration, parameters and vocabulary."""
    model, tokenizer = voice.model, voice.tokenizer
    digest = hashlib.sha256(json.dumps(model.config.to_dict(), sort_keys=True, default=str).encode())
    words = [
        getattr(tokenizer, name, None) for name in ("frontend", "add_blank", "normalize", "phonemize", "is_uroman")
    ]
    words += [getattr(tokenizer, name, None) for name in ("language", "espeak_voice", "uroman_language")]
    # What few voices have: without it the hash is that of earlier releases.
    words += [
        value
        for name in ("phonemizer", "spellings", "lexicon")
        if (value := getattr(tokenizer, name, None)) is not None
    ]
    words.append(tokenizer.get_vocab())
    digest.update(json.dumps(words, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
