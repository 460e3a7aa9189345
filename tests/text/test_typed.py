"""What people type in thirty-odd languages, and what a voice is wanted to say for it: `typed/*.tsv`.

A line has the kind of voice, the language, what is typed, and what is wanted:

* `letters`: the text that a voice of letters gets;
* `uroman`: the Latin letters that a voice of romanised text says;
* `phonemes`: a text in words that espeak-ng reads alike, ours and that of piper-tts (language: the espeak-ng voice);
* `lines`, `markdown`, `html`: the passages that are said, a slash between them.
"""

import pytest

from fastvits import VitsTokenizer
from fastvits.speech.marked_text import parse_markup
from fastvits.text.front_ends.piper import PiperPhonemeFrontEnd, piper_phonemes
from fastvits.text.preparation import Preparation, PreparedFrontEnd
from fastvits.text.vocabulary import Vocabulary
from tests.support.piper_phonemes import piper_voice
from tests.support.tokenizers import write_vocabulary
from tests.support.typed_lines import typed_lines

KINDS = ("letters", "uroman", "phonemes", "lines", "markdown", "html")
LINES = [pytest.param(*line[1:], id=line.name) for line in typed_lines()]


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    return write_vocabulary(tmp_path_factory.mktemp("typed"), "mms")


def tokenizer(vocabulary, language):
    return VitsTokenizer(vocabulary, pad_token="_", phonemize=False, is_uroman=True, language=language)


def prepared_for(text, voice):
    """A text as it reaches espeak-ng."""
    front_end = PiperPhonemeFrontEnd(Vocabulary({}), bos="^", eos="$", pad="_", voice=voice)
    return str(PreparedFrontEnd(front_end, Preparation(), voice.split("-")[0]).prepared(text))


@pytest.mark.parametrize(("kind", "language", "typed", "wanted"), LINES)
def test_what_is_said_for_what_is_typed(vocabulary, kind, language, typed, wanted):
    if kind == "letters":
        front_end = tokenizer(vocabulary, language).prepared_front_end(Preparation(romanization=False))
        assert str(front_end.prepared(typed)) == wanted
    elif kind == "uroman":
        voice = tokenizer(vocabulary, language)
        assert voice.decode(voice(typed, preparation=Preparation()), skip_special_tokens=True) == wanted
    elif kind == "phonemes":
        # Two releases of espeak-ng read what reaches them as they read the words: ours, and the one in piper-tts.
        for read in (lambda text: piper_phonemes(text, language), piper_voice(language).phonemize):
            assert read(prepared_for(typed, language)) == read(wanted)
    else:
        script = parse_markup(typed, "plain" if kind == "lines" else kind, lines=kind == "lines")
        assert " / ".join(passage.text for passage in script.passages) == wanted


def test_the_table_is_as_large_as_it_says():
    assert len(LINES) >= 300
    assert len({_language(*line.values[:2]) for line in LINES}) >= 35
    assert {line.values[0] for line in LINES} == set(KINDS)
    assert len({line.values[:3] for line in LINES}) == len(LINES)


def _language(kind, code):
    from fastvits.text.espeak_voices import espeak_voice_for

    return (code if kind == "phonemes" else espeak_voice_for(code) or code).split("-")[0]
