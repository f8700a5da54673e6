"""Which texts are in a language that an encoder does not know."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

__all__ = ["letters_of", "not_english", "unread_letters", "unread_texts", "word_shares"]

LATIN = frozenset(("LATIN",))
CHINESE = frozenset(("CJK", "BOPOMOFO", "IDEOGRAPHIC"))

SCRIPTS = {
    **dict.fromkeys(("de", "en", "es", "fr", "it", "nl", "pl", "pt", "tr"), LATIN),
    "ar": frozenset(("ARABIC",)),
    "ja": CHINESE | {"HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"},
    "ko": CHINESE | {"HANGUL"},
    "ru": frozenset(("CYRILLIC",)),
    "th": frozenset(("THAI",)),
    "zh": CHINESE,
}
"""What languages are written in, as the first words of Unicode's names of the letters."""

MAX_UNREAD_SHARE = 0.1
"""Share of a text's letters that an encoder may not know, as of a name in another language."""

MIN_WORDS = 10
"""Words from which texts are judged by their words."""

MIN_VOCABULARY_SHARE, MIN_FUNCTION_WORD_SHARE = 0.75, 0.1
"""English texts exceed one of the two. Shares of words, measured (docs/research/text_encoders.md):

| | in MiniLM's vocabulary | function words |
|---|---|---|
| clinc150 | 96 % | 40 % |
| prose on software | 85 to 96 % | 18 to 40 % |
| 13 other languages | 12 to 63 % | 0 to 7 % |
"""

FUNCTION_WORD = re.compile(
    "a|and|are|be|can|for|from|have|how|i|in|is|it|my|not|of|on|that|the|there|they|this|to|what|"
    "which|with|would|you|your"
)
"""Of English."""

WORD = re.compile(r"[^\W\d_]+")


def letters_of(text: str) -> Counter[str]:
    """How often each letter is in a text, of ligatures and wide letters the plain ones.

    Example:
        >>> dict(letters_of("Ill, 8 ﬁ"))
        {'I': 1, 'l': 2, 'f': 1, 'i': 1}
    """
    return Counter(letter for letter in unicodedata.normalize("NFKC", text) if letter.isalpha())


def unread_texts(
    texts: Sequence[str],
    languages: Iterable[str],
    reads: Callable[[str], bool] = lambda letter: True,
) -> list[int]:
    """The rows of texts that have too many letters which none of some languages is written in.

    Args:
        texts: The texts.
        languages: By ISO 639-1 code. Nothing is unread if the scripts of one of them are not in
            `SCRIPTS`.
        reads: Whether an encoder's vocabulary has a letter.

    Example:
        >>> unread_texts(["where is my card", "где моя карта"], ["en"])
        [1]
        >>> unread_texts(["where is my card", "где моя карта"], ["en", "ru"])
        []
    """
    return list(_unread(texts, languages, reads))


def unread_letters(
    texts: Sequence[str],
    languages: Iterable[str],
    reads: Callable[[str], bool] = lambda letter: True,
) -> str:
    """What `unread_texts` finds, for a message; empty if it finds nothing.

    Example:
        >>> unread_letters(["where is my card", "где моя карта"], ["en"])
        '1 of 2 texts is in letters that it does not know (Cyrillic, such as "а")'
    """
    unread = _unread(texts, languages, reads)
    if not unread:
        return ""
    letter, _ = sum(unread.values(), Counter()).most_common(1)[0]
    script = _script(letter).capitalize().replace("Cjk", "Chinese")
    are = "is" if len(unread) == 1 else "are"
    return (
        f"{len(unread)} of {len(texts)} texts {are} in letters that it does not know ({script}, "
        f'such as "{letter}")'
    )


def not_english(texts: Sequence[str], in_vocabulary: Callable[[str], bool]) -> str:
    """Why texts in Latin letters do not seem to be English, for a message; empty if they do.

    They are judged together, by their words: too few are in an English vocabulary, and too few are
    function words such as "the". Neither is enough alone: technical terms are in no vocabulary, and
    a list of names has no function words.

    Args:
        texts: The texts.
        in_vocabulary: Whether a word, in small letters without accents, is in the vocabulary.

    Example:
        >>> known = {"die", "in", "was", "a", "card"}
        >>> text = "Wo ist meine Karte? Ich habe die Karte in Bonn verloren."
        >>> not_english([text], known.__contains__)
        'only 18% of the words are in its English vocabulary'
    """
    words = _latin_words(texts)
    if len(words) < MIN_WORDS:
        return ""
    vocabulary, function_words = word_shares(texts, in_vocabulary)
    if vocabulary >= MIN_VOCABULARY_SHARE or function_words >= MIN_FUNCTION_WORD_SHARE:
        return ""
    return f"only {vocabulary:.0%} of the words are in its English vocabulary"


def word_shares(texts: Sequence[str], in_vocabulary: Callable[[str], bool]) -> tuple[float, float]:
    """Of the words in Latin letters, the shares in a vocabulary and of English function words.

    Example:
        >>> word_shares(["the card", "die Karte"], {"the", "card"}.__contains__)
        (0.5, 0.25)
    """
    words = _latin_words(texts)
    n_words = max(len(words), 1)
    n_function_words = sum(map(bool, map(FUNCTION_WORD.fullmatch, words)))
    return sum(map(in_vocabulary, words)) / n_words, n_function_words / n_words


def _latin_words(texts: Iterable[str]) -> list[str]:
    """Words in the letters a to z once accents are taken off, in small letters."""
    words = (word for text in texts for word in WORD.findall(_without_accents(text)))
    return [word for word in words if word.isascii()]


def _unread(
    texts: Sequence[str], languages: Iterable[str], reads: Callable[[str], bool]
) -> dict[int, Counter[str]]:
    """The letters of each text that are not read, where they are too many."""
    languages = list(languages)
    if not all(language in SCRIPTS for language in languages):
        return {}
    scripts = frozenset[str]().union(*(SCRIPTS[language] for language in languages))
    unread = {}
    known: dict[str, bool] = {}
    for row, text in enumerate(texts):
        letters = letters_of(text)
        for letter in letters.keys() - known.keys():
            known[letter] = _script(letter) in scripts and reads(letter)
        not_read = Counter({letter: n for letter, n in letters.items() if not known[letter]})
        if not_read.total() > MAX_UNREAD_SHARE * letters.total():
            unread[row] = not_read
    return unread


def _script(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0]


def _without_accents(text: str) -> str:
    letters = unicodedata.normalize("NFD", text.lower())
    return "".join(letter for letter in letters if unicodedata.category(letter) != "Mn")
