"""Whether a full stop ends a sentence or belongs to an abbreviation, an initial or an ordinal number.

In doubt a sentence goes on: two sentences in one piece sound well, half a sentence does not.
"""

from __future__ import annotations

import re

__all__ = ["stop_goes_on"]

# Abbreviations that a sentence does not end with, without their last dot, in lower case: titles before names, and words
# that introduce what follows.
_BEFORE_WORDS = {
    "en": "mr mrs ms messrs mssrs mx dr prof rev hon gov sen rep gen col capt cmdr lt ltc sgt cpl pvt"
    " maj adm supt insp brig det attys reps sens ext sr st"
    " mt ft ste vs viz cf e.g eg i.e ie approx attn ex incl dept univ assn ave blvd rd hwy",
    "de": "bzw ca d.h dipl dr ehem evtl frl fr geb gegr ggf gez hl hr hrn hrsg inkl exkl ing jh mio mrd o.ä s.o s.u"
    " sog st std str tel u.a u.ä u.ü urspr verh vgl z.b z.t z.zt zzgl bspw allg einschl insb prof",
    "fr": "mm mme mmes mlle mlles mgr dr pr env p.ex c.-à-d cf st ste bd av tél",
    "es": "sr sra sres sras srta d dña dr dra ud uds vd vds exmo excmo lic arq ing prof profa av avda gral sto sta"
    " p.ej tel aprox dpto",
    "it": "sig sigg sig.ra sig.na dott dott.ssa prof prof.ssa ing avv arch geom rag mons ca p.es ecc.mo gent spett"
    " tel c.so p.za v.le",
    "pt": "sr sra srs sras srta dr dra prof profa exmo exma eng arq av tel p.ex pág dep",
    "ca": "sr sra srta dr dra prof av p.ex tel",
    "ro": "dl dna dra dr prof ing str bd nr tel art",
    "nl": "dhr mevr mw drs ir ing mr dr prof blz bijv m.a.w t.a.v o.a d.w.z i.p.v m.b.t t.o.v z.o.z nl st",
    "sv": "bl.a t.ex dvs d.v.s s.k m.a.o dr prof kap tel st fr hr",
    "da": "bl.a f.eks dvs d.v.s s.k dr prof hr fr kl tlf ca",
    "nb": "bl.a f.eks dvs d.v.s s.k dr prof hr fr kl tlf ca",
    "fi": "esim ns mm prof huom vrt",
    "pl": "np tzn tzw ul im godz mgr inż hab dr prof ks płk gen kpt św al os red tj wg zob por",
    "cs": "např tzv tzn tj mgr ing dr prof mudr judr phdr doc sv ul nám tel pí vč",
    "sk": "napr tzv t.j mgr ing dr prof sv ul nám tel p",
    "hu": "dr prof pl ún ill sz vö özv id ifj ld u.n",
    "tr": "dr prof doç sn bkz örn vb.k av alb gen müh mah cad sok apt",
    "ru": "т.е т.к т.н т.п ул им тов проф акад г гр гос доц др.-инж инж пер пл просп напр см ср св стр",
    "uk": "т.зв т.б ул вул ім проф акад напр див пор просп пл гр",
    "bg": "т.е т.нар ул бул им проф акад напр вж д-р г-н г-жа",
    "el": "π.χ δηλ βλ κ κα κκ δρ καθ αγ λεωφ",
}
# Words that are abbreviations only where a number follows: "no. 5", "Fig. 2", "Jan. 3".
_BEFORE_NUMBERS = {
    "en": "no nos nr num vol p pp pg fig figs eq ch sec art cap op ed ver par jan feb mar apr jun jul aug sep sept oct"
    " nov dec mon tue tues wed thu thur thurs fri sat sun c b d",
    "de": "nr max min abb kap s abs art aufl bd jan feb febr mär apr jun jul aug sep sept okt nov dez tab ziff §",
    "fr": "n nº no p pp vol chap art fig janv févr avr juil sept oct nov déc",
    "es": "nº núm n pág págs p cap art vol fig ene feb mar abr may jun jul ago sep sept oct nov dic",
    "it": "n nr pag pagg p cap art vol fig gen feb mar apr mag giu lug ago set sett ott nov dic",
    "pt": "n nº núm pág págs p cap art vol fig jan fev mar abr mai jun jul ago set out nov dez",
    "nl": "nr p pag hfst art fig jan feb mrt apr jun jul aug sep sept okt nov dec",
    "sv": "nr s sid kap fig jan feb mar apr jun jul aug sep sept okt nov dec",
    "pl": "nr s str rys art ust pkt rozdz t",
    "cs": "č str s odst čl obr kap r",
    "ru": "рис стр с гл п пп ст № табл т кн янв февр апр авг сент окт нояб дек",
    "uk": "рис стор с гл п пп ст табл",
    "el": "κεφ σελ αρ εικ",
    "ro": "pag p cap",
    "tr": "no s sf",
}
# Abbreviations that stand within a sentence as well as at its end: "5 p.m. tomorrow", "Co. KG", "usw.".
_ANYWHERE = {
    "en": "a.m p.m am pm etc inc ltd co corp llc bros jr esq est u.s u.k u.n u.s.a d.c ph.d m.d b.a m.a b.sc m.sc",
    "de": "usw etc u.s.w uvm u.v.m co gmbh jr sen jun v.chr n.chr a.d u.dgl",
    "fr": "etc cie s.a av.j.-c apr.j.-c h min",
    "es": "etc cía s.a ee.uu a.m p.m a.c d.c",
    "it": "ecc s.p.a s.r.l a.c d.c",
    "pt": "etc cia s.a ltda a.c d.c",
    "nl": "enz etc b.v n.v v.chr n.chr",
    "sv": "m.m m.fl o.s.v osv etc f.kr e.kr",
    "da": "m.m m.fl osv o.s.v mv etc",
    "pl": "itd itp m.in r w n.e p.n.e sp z o.o",
    "cs": "atd apod s.r.o a.s n.l př.n.l",
    "hu": "stb kft rt zrt",
    "tr": "vb vs a.ş ltd şti m.ö m.s",
    "ru": "др пр г гг в вв н.э до н.э т.д руб коп тыс млн млрд кг км см мм мин сек час",
    "uk": "ін р рр ст т.д т.п грн тис млн млрд",
    "bg": "др г гг в т.н лв ст",
    "el": "κ.λπ κ.ά κ.λ.π μ.χ π.μ μ.μ",
}
# What a firm's name ends with: its first word's stop ends nothing ("Müller & Co. KG").
_FIRM = re.compile(r"(?:KG(?:aA)?|OHG|GmbH|AG|Ltd|LLC|LLP|Inc|Corp|PLC|plc|S\.?A|SpA|BV|NV|AB|Oy|Pty)\b")

# Months in languages that write ordinal numbers with a dot, by their first letters.
_MONTHS = re.compile(
    r"(?:jan|feb|febr|mär|maer|mar|apr|mai|maj|may|jun|jul|aug|sep|okt|oct|nov|dez|dec|des|únor|led|břez|dub|květ|červ|srp|zář|říj"
    r"|list|pros|stycz|lut|kwie|czerw|lip|sierp|wrze|paźdz|grud|syys|loka|marras|joulu|tammi|helmi|maalis|huhti|touko|kesä|heinä|elo"
    r"|ocak|şubat|nisan|haz|tem|ağu|eyl|eki|kas|ara)",
    re.IGNORECASE,
)
_DOTTED = re.compile(r"(?:[^\W\d_]{1,2}\.\s?)*[^\W\d_]")
_OPENING = "\"'“‘„«»‹›([{¿¡-–—"
# A sentence of so many words may as well end with a number.
_WORDS_BEFORE_A_NUMBER = 30


# Words of other languages, too: abbreviations only where the language is known.
_ALSO_WORDS = frozenset(
    ("al", "am", "as", "h", "id", "ill", "is", "jun", "lot", "max", "min", "o.o", "os", "pm", "r", "sen", "std", "vb",
     "w", "z", "до", "ед")
)  # fmt: skip
# English words that begin a sentence behind "U.S." or "p.m." rather than go on with it.
_STARTERS = re.compile(
    r"(?:The|A|An|He|She|It|We|They|I|You|This|That|These|Those|There|Then|In|On|At|But|And|Or|So|If|When|While|After"
    r"|Before|Since|However|His|Her|Its|Our|Their|My|Your|What|Who|Why|How|Where|Is|Are|Was|Were|Do|Does|Did|No|Yes"
    r"|For|From|With|As|By|To|Not|Let|Please|Nobody|Everyone|Some|Many|All|Both|Also)\b"
)


def _table(lines: dict[str, str]) -> dict[str | None, frozenset[str]]:
    """Words by language; under None, those of all that are no words elsewhere."""
    words: dict[str | None, frozenset[str]] = {language: frozenset(line.split()) for language, line in lines.items()}
    words[None] = frozenset().union(*words.values()) - _ALSO_WORDS
    return words


_ALWAYS, _NUMBERED, _SOMETIMES = _table(_BEFORE_WORDS), _table(_BEFORE_NUMBERS), _table(_ANYWHERE)


def stop_goes_on(
    text: str, dot: int, first: int, next_word: int, *, capitals: bool = True, language: str | None = None
) -> bool:
    """Whether the sentence goes on behind the full stop `text[dot]`.

    Args:
        text: the text.
        dot: where the stop stands.
        first: where the sentence begins.
        next_word: where the next word begins, brackets and quotes before it passed over.
        capitals: whether the text distinguishes small letters from capitals.
        language: a two-letter code, for its own abbreviations; None for those of all languages.
    """
    begin = dot
    while begin > first and dot - begin < 24 and not text[begin - 1].isspace():
        begin -= 1
    word = text[begin:dot].lstrip(_OPENING)
    # Articles of Romance languages stand before an apostrophe: "L'ing. Verdi".
    word = word[max(word.rfind("'"), word.rfind("’")) + 1 :]
    if not word:
        return False
    lower = word.lower()
    language = language if language in _ALWAYS else None
    if lower in _ALWAYS[language]:
        return True
    if lower in _NUMBERED.get(language, frozenset()) and text[next_word : next_word + 1].isdigit():
        return True
    if lower in _SOMETIMES.get(language, frozenset()):
        if not capitals or _FIRM.match(text, next_word) is not None:
            return True
        if "." not in word and len(word) > 1:
            return False
    elif lower in _NUMBERED.get(language, frozenset()) and len(word) > 1:
        return False
    if word.isdigit() and len(word) <= 2:
        # "3. Mai", "im 19. Jahrhundert", the numbers of a list.
        return text.count(" ", first, dot) < _WORDS_BEFORE_A_NUMBER or _MONTHS.match(text, next_word) is not None
    if _DOTTED.fullmatch(word) is None:
        return False
    if "." in word:
        # "U.S. Senate" goes on; "5 p.m. He" and "the U.S. The" do not.
        return not capitals or (word.isupper() and _STARTERS.match(text, next_word) is None)
    return word.islower() or word.isupper()  # scripts without capitals have no initials
