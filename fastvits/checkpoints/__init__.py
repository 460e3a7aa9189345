"""Voices of other programs in: what their files hold, under the names of ours."""

from .families import convert, read
from .folder import DISCRIMINATOR_FILE, ConvertedVoice

__all__ = ["DISCRIMINATOR_FILE", "ConvertedVoice", "convert", "read"]
