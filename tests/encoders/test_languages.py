# ruff: noqa: RUF001

import pytest

from quickstudy.encoders.languages import SCRIPTS, not_english, unread_letters, unread_texts

GREETINGS = {
    "ar": "صباح الخير",
    "de": "Schönen guten Morgen, groß und klein",
    "en": "good morning",
    "fr": "ça va très bien, œuf",
    "ja": "おはようございます、コーヒーをどうぞ。人々",
    "ko": "안녕하세요",
    "pl": "dzień dobry, żółw",
    "ru": "доброе утро",
    "th": "สวัสดีตอนเช้า",
    "tr": "günaydın, İstanbul",
    "zh": "早上好",
}


@pytest.mark.parametrize("language", GREETINGS)
def test_a_text_is_read_by_an_encoder_of_its_language(language):
    assert unread_texts([GREETINGS[language]], [language]) == []


@pytest.mark.parametrize("language", ["ar", "ja", "ko", "ru", "th", "zh"])
def test_another_script_is_not_read_by_an_encoder_of_english(language):
    assert unread_texts(["good morning", GREETINGS[language]], ["en"]) == [1]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "123 - ?!",
        "🎉🎉",
        "ｆｕｌｌ ｗｉｄｔｈ",
        "𝐛𝐨𝐥𝐝 𝐥𝐞𝐭𝐭𝐞𝐫𝐬",
        "the Greek letter α",
        "naïve café",
    ],
)
def test_signs_styles_and_a_foreign_letter_are_no_other_language(text):
    assert unread_texts([text], ["en"]) == []


def test_a_language_whose_script_is_not_listed_gives_no_verdict():
    assert "el" not in SCRIPTS
    assert unread_letters(["καλημέρα", "good morning"], ["en", "el"]) == ""


def test_letters_that_a_vocabulary_lacks_are_not_read():
    texts = ["blåbær på brød", "bread with jam"]
    assert unread_texts(texts, ["en"], str.isascii) == [0]
    assert '(Latin, such as "å")' in unread_letters(texts, ["en"], str.isascii)


VOCABULARY = frozenset(
    (
        "a",
        "card",
        "has",
        "i",
        "in",
        "is",
        "lost",
        "my",
        "pay",
        "please",
        "the",
        "to",
        "was",
        "where",
    )
)


@pytest.mark.parametrize(
    ("texts", "english"),
    [
        (["where is my card", "please pay the card I lost", "is it my card"], True),
        (["où est ma carte de crédit", "je l'ai perdue hier dans la rue"], False),
        (["wo ist meine karte", "ich habe sie gestern in der stadt verloren"], False),
        (["kubectl nginx crashloopbackoff helm: the pod is what was lost in a sidecar"], True),
        (["bonjour"], True),  # too little to judge
        (["где моя карта где моя карта где моя карта где моя карта"], True),  # not in Latin letters
    ],
)
def test_words_tell_english_from_other_languages_in_latin_letters(texts, english):
    assert (not_english(texts, VOCABULARY.__contains__) == "") is english
