import hashlib
from dataclasses import replace

import pytest
import torch

from quickstudy.errors import DataError, UsageError
from quickstudy.tasks import EpisodeSampler, TextData
from quickstudy.tasks.datasets import DATASETS, clinc150, load_dataset, store


def letters(texts):
    """Embeds a text as how often each letter is in it."""
    return torch.tensor([[float(text.count(chr(97 + i))) for i in range(26)] for text in texts])


@pytest.mark.data("clinc150")
def test_splits_share_no_domain_and_hold_every_query():
    parts = [clinc150.load(split) for split in ("train", "validation", "test")]
    assert [len(part.names) for part in parts] == [75, 30, 45]
    assert [len(part.groups.unique()) for part in parts] == [5, 2, 3]
    assert len(set().union(*(set(part.groups.tolist()) for part in parts))) == 10
    assert len(set().union(*(part.names for part in parts))) == 150
    assert all(set(part.y.bincount().tolist()) == {150} for part in parts)
    assert sum(len(part.texts) for part in parts) == 22_500


@pytest.mark.data("clinc150")
def test_all_intents_come_in_the_parts_of_the_authors():
    parts = [clinc150.load(f"all-{part}") for part in clinc150.PARTS]
    assert [set(part.y.bincount().tolist()) for part in parts] == [{100}, {20}, {30}]
    assert len({tuple(part.names) for part in parts}) == 1
    test = parts[2]
    at = test.names.index("pin change")
    assert test.texts[test.y.tolist().index(at)] == (
        "i'm struggling to remind myself the pin number to my card"
    )


@pytest.mark.data("clinc150")
def test_out_of_scope_queries_are_apart():
    asked = {part: clinc150.out_of_scope(part) for part in clinc150.PARTS}
    assert [len(texts) for texts in asked.values()] == [100, 100, 1000]
    assert "a show on broadway" in asked["validation"]
    with pytest.raises(UsageError, match="'test'"):
        clinc150.out_of_scope("tests")


@pytest.mark.data("clinc150")
def test_embedded_queries_are_drawn_as_episodes_with_the_names_as_attributes():
    data = load_dataset("clinc150", "test", encoder=letters)
    episode = EpisodeSampler(data, n_way=5, n_shot=0, n_query=3)[0]
    expected = letters([data.names[c] for c in episode.classes])
    assert torch.equal(episode.support.attributes, expected)
    assert episode.query.x.shape == (15, 26)


@pytest.mark.data("clinc150")
def test_texts_need_an_encoder():
    with pytest.raises(UsageError, match="encoder"):
        load_dataset("clinc150", "test")


@pytest.mark.data("clinc150")
def test_content_is_the_pinned_one():
    for file, digest in clinc150.DATASET.files.items():
        content = store.find("clinc150", file).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest


def test_files_that_are_no_images_are_checked_byte_by_byte(tmp_path, monkeypatch):
    monkeypatch.setenv("QUICKSTUDY_DATA", str(tmp_path / "home"))
    content = {"data_full.json": b"{}", "domains.json": b"[]"}
    for file, text in content.items():
        (tmp_path / file).write_bytes(text)
    with pytest.raises(DataError, match="get another copy"):
        store.add("clinc150", tmp_path)
    digests = {file: hashlib.sha256(text).hexdigest() for file, text in content.items()}
    monkeypatch.setitem(DATASETS, "clinc150", replace(clinc150.DATASET, files=digests))
    store.add("clinc150", tmp_path)
    assert store.find("clinc150", "domains.json").read_bytes() == b"[]"


def test_images_are_embedded_as_they_are_kept():
    data = load_dataset(
        "digits", "test", image_size=8, encoder=lambda x: torch.stack(x).sum((2, 3))
    )
    raw = load_dataset("digits", "test", image_size=8)
    assert torch.equal(data.x, raw.x.sum((2, 3)))
    assert data.names == raw.names


def test_text_data_keeps_names_and_groups():
    data = TextData(["a", "b b"], torch.tensor([0, 1]), ["first", "second"], torch.tensor([3, 5]))
    embedded = data.embed(letters)
    assert embedded.names == ["first", "second"]
    assert embedded.groups.tolist() == [3, 5]
    assert embedded.x[1, 1] == 2
