"""Which voices are at hand, and where the folder of each is."""

from .folders import DEFAULT_VOICE, cache_folder, voice_folder

__all__ = ["DEFAULT_VOICE", "cache_folder", "voice_folder"]
