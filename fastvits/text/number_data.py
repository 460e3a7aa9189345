"""Words and signs around numbers by language: what `num2words` does not know, or not as it is written."""

from __future__ import annotations

import re

# espeak-ng's short codes that num2words spells differently.
CODES = {"nb": "no", "nn": "no", "kk": "kz"}
# Languages that write a point before decimals and a comma between thousands.
POINT = frozenset(["en", "he", "ja", "ko", "th", "te", "kn", "bn", "am"])
# Signs of currencies, and the languages whose money num2words says with the right names and endings.
CURRENCIES = {
    "$": "USD", "€": "EUR", "£": "GBP", "zł": "PLN", "₴": "UAH", "грн": "UAH", "₪": "ILS", "₸": "KZT", "Ft": "HUF",
    "₽": "RUB", "руб": "RUB", "kr": "NOK", "RSD": "RSD", "lei": "RON",
}  # fmt: skip
MONEY = {
    **dict.fromkeys(("en", "de", "fr", "es", "it", "pt", "nl"), ("USD", "EUR", "GBP")),
    "ru": ("RUB", "USD", "EUR"), "pl": ("PLN", "USD", "EUR"), "uk": ("UAH", "USD", "EUR"), "he": ("ILS",),
    "fi": ("EUR",), "hu": ("HUF",), "lt": ("EUR",), "lv": ("EUR",), "sr": ("RSD",), "kz": ("KZT",), "no": ("NOK",),
    "ro": ("RON",), "ca": ("EUR",),
}  # fmt: skip
# Languages in which a year is said otherwise than a number, and those that count its hundreds: the word for them.
YEARS = frozenset(["en", "de"])
HUNDREDS = {"nl": "honderd", "sv": "hundra"}
PERCENT = {
    "ca": "per cent", "cs": "procent", "da": "procent", "de": "Prozent", "en": "percent", "eo": "procentoj",
    "es": "por ciento", "fi": "prosenttia", "fr": "pour cent", "hu": "százalék", "id": "persen", "it": "per cento",
    "lt": "procentų", "lv": "procenti", "nl": "procent", "no": "prosent", "pl": "procent", "pt": "por cento",
    "ro": "la sută", "ru": "процентов", "sk": "percent", "sl": "odstotkov", "sr": "posto", "sv": "procent",
    "th": "เปอร์เซ็นต์", "uk": "відсотків", "vi": "phần trăm", "ar": "بالمئة", "he": "אחוז", "fa": "درصد",
    "ja": "パーセント", "ko": "퍼센트", "is": "prósent", "az": "faiz", "be": "працэнтаў", "bn": "শতাংশ",
    "cy": "y cant", "kz": "пайыз", "te": "శాతం", "kn": "ಶೇಕಡಾ", "tg": "фоиз", "am": "በመቶ",
}  # fmt: skip
MONTH = {
    "da": "januar|februar|marts|april|maj|juni|juli|august|september|oktober|november|december",
    "de": "Januar|Jänner|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember",
    "fi": "tammi|helmi|maalis|huhti|touko|kesä|heinä|elo|syys|loka|marras|joulu",
    "no": "januar|februar|mars|april|mai|juni|juli|august|september|oktober|november|desember",
    "sl": "januar|februar|marec|marca|april|maj|junij|julij|avgust|september|oktober|november|december",
}
BEFORE_A_MONTH = {language: rf"\.(?=\s+(?:{months}))" for language, months in MONTH.items()}
# What follows a number that makes it an ordinal.
ORDINALS = {
    **BEFORE_A_MONTH,
    "ca": "[rnta]|è",
    "en": "st|nd|rd|th",
    "es": r"\.?[ºª°]|er|ro|do|ra|da",
    "fr": "er|ère|re|e|ème|eme|ᵉ",
    "hu": r"\.(?=\s+[a-záéíóöőúüű])|-?(?:ik|edik|adik|odik|ödik)",
    "it": "[º°ª]",
    "nl": "e|ste|de",
    "pt": r"\.?[ºª°]",
    "ru": "-?(?:й|я|е|го|му|м|ая|ый|ой)",
    "sv": ":?[ae]",
    "tr": r"\.(?=\s+[a-zçğıöşü])|['’](?:[iıuü]nc[iıuü]|nc[iıuü])",
    "uk": "-?(?:й|а|я|е|го|му)",
}
# Ordinals that bend: by the ending that is written, case and gender for num2words.
RUSSIAN_ENDINGS = {
    "я": ("nominative", "f"), "ая": ("nominative", "f"), "е": ("nominative", "n"), "го": ("genitive", "m"),
    "му": ("dative", "m"), "м": ("prepositional", "m"),
}  # fmt: skip
FEMININE = {
    "ca": (frozenset("a"), ("è$", "ena"), ("([^a])$", r"\1a")),
    "es": (frozenset(("ª", "ra", "da")), ("o$", "a")),
    "fr": (frozenset(("ère", "re")), ("^premier$", "première")),
    "it": (frozenset("ª"), ("o$", "a")),
    "pt": (frozenset("ª"), ("o$", "a")),
    "uk": (frozenset("а"), ("ій$", "я"), ("ий$", "а")),
}
# German ordinals bend behind these.
GERMAN_DATIVE = re.compile(r"(?:am|vom|zum|beim|bis|den|dem|im|ab|seit)\s+$", re.IGNORECASE)
# The word for the sign before decimals, where num2words fails on them or leaves them out.
POINT_WORDS = {
    "ar": "فاصلة", "ca": "coma", "da": "komma", "es": "coma", "it": "virgola", "no": "komma", "pt": "vírgula",
    "ro": "virgulă", "sv": "komma", "tr": "virgül",
    "vi": "phẩy", "id": "koma", "fa": "ممیز", "cy": "pwynt", "ce": "а",
}  # fmt: skip

# West Slavic languages count wholes, which are feminine: with one, with two, with three and four, with more.
WHOLES = {
    "cs": ("jedna celá", "dvě celé", "celé", "celých"),
    "sk": ("jedna celá", "dve celé", "celé", "celých"),
    "sl": ("ena cela", "dve celi", "cele", "celih"),
}
# Half of something.
HALVES = {
    "ar": "نصف", "ca": "mig", "cs": "půl", "da": "en halv", "fa": "نیم", "fi": "puoli", "he": "חצי", "hu": "fél",
    "id": "setengah", "ja": "半", "ko": "반", "nl": "een half", "no": "en halv", "pl": "pół", "ro": "jumătate",
    "sk": "pol", "sl": "pol", "sr": "pola", "sv": "en halv", "tr": "yarım", "uk": "половина", "vi": "một nửa",
}  # fmt: skip
# What is said before a negative number, and between two numbers of which the second is taken away: by espeak-ng's short
# code, for the languages that `shorthand` does not know. espeak-ng's own word where it has one, but for Bengali and
# Indonesian: of the first it misreads its word where that is written, of the other it says the name of the sign.
MINUS = {
    **dict.fromkeys("af bs da eo eu gd hr ia id io la lb lt nb nn no pl ro sl sq sr sv tk uz".split(), "minus"),  # noqa: SIM905
    **dict.fromkeys("ba bg ce cv kk ky mk tg tt".split(), "минус"),  # noqa: SIM905
    "am": "አሉታዊ", "an": "menos", "ar": "ناقص", "az": "mənfi", "be": "мінус", "bn": "মাইনাস", "ca": "menys",
    "cmn": "负", "cy": "minws", "el": "μείον", "et": "miinus", "fa": "منفی", "fi": "miinus", "ga": "lúide",
    "gu": "માઇનસ", "he": "מינוס", "hi": "माइनस", "ht": "mwens", "hu": "mínusz", "hy": "մինուս", "hyw": "մինուս",
    "is": "mínus", "ja": "マイナス", "jbo": "ni'u", "ka": "მინუს", "kn": "ಮೈನಸ್", "ko": "마이너스", "lfn": "menos",
    "ltg": "mīnus", "lv": "mīnus", "ml": "മൈനസ്", "mr": "उणे", "ms": "negatif", "my": "အနုတ်", "ne": "माइनस",
    "nl": "min", "or": "ମାଇନସ୍", "pa": "ਮਾਈਨਸ", "sd": "منفي", "si": "ඍණ", "sw": "hasi", "ta": "கழித்தல்",
    "te": "మైనస్", "tet": "menus", "th": "ลบ", "ti": "ደቒቕ", "tr": "eksi", "ug": "مىنۇس", "uk": "мінус",
    "ur": "منفی", "vi": "trừ", "yue": "負",
}  # fmt: skip
# Between two numbers, where that is another word; and scripts that put no space behind either.
LESS = {"cmn": "减", "ja": "引く", "ko": "빼기", "yue": "減"}
WITHOUT_SPACES = frozenset(["cmn", "ja", "yue"])
# Languages that write a point before decimals: those of `POINT`, and others that num2words does not know, or whose
# thousands are not always set apart by commas.
DECIMAL_POINT = POINT | {
    "ar", "as", "bpy", "cmn", "cy", "fa", "ga", "gd", "gu", "hak", "haw", "hi", "ht", "jbo", "kok", "mi", "ml", "mr",
    "ms", "mt", "mto", "my", "nci", "ne", "om", "or", "pa", "qu", "quc", "sd", "shn", "si", "sw", "ta", "ti", "tn",
    "ug", "ur", "yue",
}  # fmt: skip
# Words behind which a single V or X is a number: "Chapter V", but "Malcolm X".
HEADING = re.compile(
    r"\b(?:act|appendix|article|book|canto|chapter|class|episode|figure|part|phase|psalm|scene|season|section|stage|table"
    r"|title|type|unit|volume|war|akt|anhang|artikel|band|buch|kapitel|szene|tabelle|teil|typ|acte|annexe|chapitre|chant"
    r"|livre|partie|scène|tome|titre|acto|anexo|artículo|capítulo|escena|libro|parte|sección|tomo|título|atto|capitolo"
    r"|scena|sezione|titolo|ato|artigo|cena|livro|seção|secção|глава|главы|главе|главу|часть|части|книга|том|акт|сцена"
    r"|раздел|hoofdstuk|deel|boek|kapitel|rozdział|część|tom|kapitola|část|díl|siglo|século|secolo|век)\s$",
    re.IGNORECASE,
)
