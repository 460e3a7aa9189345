"""Which voice of espeak-ng speaks a language."""

from __future__ import annotations

import re

__all__ = ["espeak_voice_for", "short_code"]

# ISO 639-3 -> espeak-ng voice, for the languages that espeak-ng 1.52 has a dictionary of. Macrolanguages stand beside
# the member that espeak-ng speaks. Of several voices for a language, the one that its short code chooses.
# fmt: off
VOICE_OF_LANGUAGE = {
    "afr": "af", "als": "sq", "amh": "am", "ara": "ar", "arb": "ar", "arg": "an", "asm": "as", "aze": "az",
    "azj": "az", "bak": "ba", "bel": "be", "ben": "bn", "bos": "bs", "bpy": "bpy", "bul": "bg", "cat": "ca",
    "ces": "cs", "chr": "chr-US-Qaaa-x-west", "chv": "cv", "cmn": "cmn", "cym": "cy", "dan": "da", "deu": "de",
    "ekk": "et", "ell": "el", "eng": "en-us", "epo": "eo", "est": "et", "eus": "eu", "fas": "fa", "fin": "fi",
    "fra": "fr-fr", "gla": "gd", "gle": "ga", "gom": "kok", "grc": "grc", "grn": "gn", "gug": "gn", "guj": "gu",
    "hak": "hak", "hat": "ht", "haw": "haw", "heb": "he", "hin": "hi", "hrv": "hr", "hun": "hu", "hye": "hy",
    "hyw": "hyw", "ido": "io", "ina": "ia", "ind": "id", "isl": "is", "ita": "it", "jbo": "jbo", "jpn": "ja",
    "kal": "kl", "kan": "kn", "kat": "ka", "kaz": "kk", "kir": "ky", "kmr": "ku", "kok": "kok", "kor": "ko",
    "kur": "ku", "lat": "la", "lav": "lv", "lfn": "lfn", "lit": "lt", "ltg": "ltg", "ltz": "lb", "lvs": "lv",
    "mal": "ml", "mar": "mr", "mkd": "mk", "mlt": "mt", "mri": "mi", "msa": "ms", "mto": "mto", "mya": "my",
    "nci": "nci", "nep": "ne", "nld": "nl", "nob": "nb", "nog": "nog", "nor": "nb", "npi": "ne", "ori": "or",
    "orm": "om", "ory": "or", "pan": "pa", "pap": "pap", "pes": "fa", "pol": "pl", "por": "pt", "qdb": "qdb",
    "que": "qu", "quc": "quc", "qya": "qya", "ron": "ro", "rus": "ru", "shn": "shn", "sin": "si", "sjn": "sjn",
    "slk": "sk", "slv": "sl", "smj": "smj", "snd": "sd", "spa": "es", "sqi": "sq", "srp": "sr", "swa": "sw",
    "swe": "sv", "swh": "sw", "tam": "ta", "tat": "tt", "tel": "te", "tha": "th", "tir": "ti", "tlh": "piqd",
    "tsn": "tn", "tuk": "tk", "tur": "tr", "uig": "ug", "ukr": "uk", "urd": "ur", "uzb": "uz", "uzn": "uz",
    "vie": "vi", "yue": "yue", "zho": "cmn", "zlm": "ms", "zsm": "ms",
}
# fmt: on


def espeak_voice_for(iso_code: str) -> str | None:
    """The espeak-ng voice for a language, or None where espeak-ng does not speak it.

    Args:
        iso_code: an ISO 639-3 code, for instance "deu". What follows a hyphen, as in the code
            "uzb-script_cyrillic" of an MMS model, is left aside.
    """
    return VOICE_OF_LANGUAGE.get(iso_code.strip().lower().split("-")[0])


# Languages that espeak-ng does not speak, but whose numbers are known.
_OTHER_CODES = {"che": "ce", "tet": "tet", "tgk": "tg"}


def short_code(language: str | None, espeak_voice: str | None = None) -> str | None:
    """The two-letter code of a language, as espeak-ng spells it ("en", "cmn"); None where it is not known.

    Args:
        language: its ISO 639-3 code.
        espeak_voice: the espeak-ng voice of the texts, which counts where there is one.
    """
    voice = espeak_voice
    if voice is None and language is not None:
        voice = espeak_voice_for(language) or _OTHER_CODES.get(language.strip().lower().split("-")[0])
    return None if voice is None else re.split("[-+]", voice)[0].lower()
