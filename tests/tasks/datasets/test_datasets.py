import hashlib
import http.server
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from quickstudy.errors import DataError, MissingError, UsageError
from quickstudy.tasks.datasets import (
    DATASETS,
    caltech,
    load_dataset,
    omniglot,
    sign_digits,
    store,
)
from quickstudy.tasks.datasets._glyph_strokes import draw_glyphs
from quickstudy.tasks.image_files import content_hash, list_images


def test_glyphs_depend_on_the_seed_alone():
    state = np.random.get_state()[1].copy()
    first, again = (draw_glyphs(2, seed=3, n_characters=(4, 4), n_drawers=3) for _ in range(2))
    other = draw_glyphs(2, seed=4, n_characters=(4, 4), n_drawers=3)
    assert (first.images == again.images).all()
    assert (first.images != other.images).any()
    assert (np.random.get_state()[1] == state).all()


def test_an_alphabet_does_not_depend_on_how_many_are_drawn():
    one, two = (draw_glyphs(n, seed=3, n_characters=(4, 4), n_drawers=3) for n in (1, 2))
    assert (one.images == two.images[: len(one.images)]).all()


def test_glyph_characters_differ_more_than_drawings_of_one():
    drawn = draw_glyphs(1, seed=0, n_characters=(20, 20), n_drawers=10, image_size=28)
    x = drawn.images.reshape(20, 10, -1) / 255.0
    within = x.var(axis=1).sum(-1).mean()
    between = x.mean(axis=1).var(axis=0).sum()
    assert within > 0
    assert between > 0.3 * within


def test_splits_of_glyphs_share_no_image(monkeypatch):
    from quickstudy.tasks.datasets import glyphs

    monkeypatch.setattr(glyphs, "_PARTS", {"train": (2, 0), "validation": (2, 1), "test": (2, 2)})
    seen = set()
    for split in glyphs.DATASET.splits:
        data = load_dataset("glyphs", split)
        images = {hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in data.x}
        assert not images & seen
        seen |= images


def test_digits_are_ten_classes_of_real_images():
    data = load_dataset("digits", "test", image_size=20)
    assert data.x.shape == (1797, 1, 20, 20)
    assert data.names == list("0123456789")


def test_an_unknown_data_set_or_split_names_the_nearest():
    with pytest.raises(UsageError, match="'omniglot'"):
        load_dataset("omniglott", "train")
    with pytest.raises(UsageError, match="'validation'"):
        load_dataset("glyphs", "validaton")


def test_an_absent_data_set_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("QUICKSTUDY_DATA", str(tmp_path))
    with pytest.raises(MissingError, match="quickstudy data get omniglot"):
        load_dataset("omniglot", "train")


@pytest.mark.data("omniglot")
def test_omniglot_splits_are_disjoint_and_of_the_published_sizes():
    parts = {split: load_dataset("omniglot", split) for split in omniglot.DATASET.splits}
    assert [parts[s].n_classes for s in ("train", "validation", "test")] == [1028, 172, 423]
    assert [parts[s].n_classes for s in ("background", "evaluation")] == [964, 659]
    random = [set(parts[s].names) for s in ("train", "validation", "test")]
    assert len(set.union(*random)) == 1623
    by_alphabet = [{n.split("/")[0] for n in parts[s].names} for s in ("background", "evaluation")]
    assert [len(alphabets) for alphabets in by_alphabet] == [30, 20]
    assert not by_alphabet[0] & by_alphabet[1]
    assert all(set(p.counts.tolist()) == {20} for p in parts.values())


@pytest.mark.data("omniglot")
def test_held_out_alphabets_are_whole_and_only_of_the_background():
    parts = [
        load_dataset("omniglot", f"background{part}") for part in ("", "-train", "-validation")
    ]
    alphabets = [{name.partition("/")[0] for name in part.names} for part in parts]
    assert [len(a) for a in alphabets] == [30, 25, 5]
    assert alphabets[1] | alphabets[2] == alphabets[0]
    assert parts[1].n_classes + parts[2].n_classes == parts[0].n_classes
    for part, names in zip(parts, alphabets, strict=True):
        assert len(part.groups.unique()) == len(names)


# Of Lake's images_background_small1.zip and images_background_small2.zip, by `content_hash`.
SMALL = {
    "small1": (136, "949bf241b6f3b8520bc9b9272ab031923d81abf2f65ecd0680fe20e7ae0c190b"),
    "small2": (156, "18dc342b6f4d7eacee05ce21ea7f77cda1c8997cb3eb12f0ad32440c0363a6eb"),
}


@pytest.mark.data("omniglot")
@pytest.mark.parametrize("which", SMALL)
def test_the_small_backgrounds_are_those_of_lake_image_by_image(which):
    n_classes, expected = SMALL[which]
    data = load_dataset("omniglot", f"background-{which}")
    assert data.n_classes == n_classes
    folder, names = f"images_background_{which}", set(data.names)
    total = hashlib.sha256()
    for name, read in list_images(store.find("omniglot", "images_background.zip")):
        drawing = name.removeprefix("images_background/")
        if drawing.rpartition("/")[0] in names:
            image = hashlib.sha256(read()).digest()
            total.update(f"{folder}/{drawing}".encode() + b"\0" + image)
    assert total.hexdigest() == expected


@pytest.mark.data("omniglot")
@pytest.mark.parametrize("which", SMALL)
def test_a_small_background_holds_out_an_alphabet_of_20_characters_or_more(which):
    parts = [
        load_dataset("omniglot", f"background-{which}{part}")
        for part in ("", "-train", "-validation")
    ]
    alphabets = [{name.partition("/")[0] for name in part.names} for part in parts]
    assert alphabets[0] == set(omniglot.SMALL[which])
    assert [len(a) for a in alphabets] == [5, 4, 1]
    assert alphabets[1] | alphabets[2] == alphabets[0]
    assert parts[2].n_classes >= 20


@pytest.mark.data("omniglot")
def test_omniglot_ink_is_bright_and_rotations_are_new_classes():
    data = load_dataset("omniglot", "validation")
    assert data.rows(torch.arange(100)).mean() < 0.3
    assert data.with_rotations().n_classes == 4 * 172


@pytest.mark.data("omniglot")
def test_omniglot_content_is_the_pinned_one():
    for file, digest in omniglot.DATASET.files.items():
        assert content_hash(store.find("omniglot", file)) == digest


@pytest.mark.data("caltech101_84")
def test_caltech_splits_are_disjoint_photographs_in_colour():
    parts = {
        split: load_dataset("caltech101_84", split, image_size=84)
        for split in caltech.DATASET.splits
    }
    assert [part.n_classes for part in parts.values()] == [64, 16, 20]
    assert len(set().union(*(part.names for part in parts.values()))) == 100
    assert sum(len(part.y) for part in parts.values()) == 8242
    assert parts["test"].x.shape[1:] == (3, 84, 84)
    red, blue = (parts["test"].x[:, channel].float() for channel in (0, 2))
    assert float((red - blue).abs().mean()) > 5  # colour, not grey three times


@pytest.mark.data("caltech101_84")
def test_caltech_content_is_the_pinned_one():
    for file, digest in caltech.DATASET.files.items():
        assert content_hash(store.find("caltech101_84", file)) == digest


@pytest.mark.data("sign_digits")
def test_sign_digits_are_ten_classes_of_photographs_in_colour():
    data = load_dataset("sign_digits", "test", image_size=84)
    assert data.x.shape == (2062, 3, 84, 84)
    assert data.names == list("0123456789")
    assert int(data.counts.min()) > 200
    red, blue = (data.x[:, channel].float() for channel in (0, 2))
    assert float((red - blue).abs().mean()) > 5


@pytest.mark.data("sign_digits")
def test_sign_digits_content_is_the_pinned_one():
    for file, digest in sign_digits.DATASET.files.items():
        assert content_hash(store.find("sign_digits", file)) == digest


def test_a_data_set_without_a_place_on_the_web_is_only_added():
    with pytest.raises(UsageError, match="quickstudy data add caltech101_84 --from"):
        store.get("caltech101_84")


@pytest.fixture
def parcel(tmp_path, monkeypatch):
    """A small data set behind a local server: (its files' folder, QUICKSTUDY_DATA)."""
    import zipfile

    source, home = tmp_path / "source", tmp_path / "home"
    source.mkdir()
    with zipfile.ZipFile(source / "few.zip", "w") as archive:
        archive.writestr("a/1.png", b"one")
        archive.writestr("b/1.png", b"two")
    handler = lambda *args: Quiet(*args, directory=str(source))  # noqa: E731
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("QUICKSTUDY_DATA", str(home))
    files = {"few.zip": content_hash(source / "few.zip")}
    url = f"http://127.0.0.1:{server.server_port}/"
    monkeypatch.setitem(DATASETS, "omniglot", replace(omniglot.DATASET, files=files, url=url))
    yield source, home
    server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def test_get_fetches_and_checks_a_data_set(parcel):
    source, home = parcel
    assert store.get("omniglot") == home / "omniglot"
    assert (home / "omniglot/few.zip").read_bytes() == (source / "few.zip").read_bytes()
    assert store.is_here("omniglot", DATASETS["omniglot"])


@pytest.mark.parametrize("way", ["get", "add"])
def test_other_content_is_refused_and_leaves_nothing(parcel, way, monkeypatch):
    source, home = parcel
    files = {"few.zip": "0" * 64}
    monkeypatch.setitem(DATASETS, "omniglot", replace(DATASETS["omniglot"], files=files))
    with pytest.raises(DataError, match="get another copy"):
        store.get("omniglot") if way == "get" else store.add("omniglot", source)
    assert not list(home.rglob("*.zip"))


def test_an_unreachable_server_is_a_clear_error(parcel, monkeypatch):
    url = "http://127.0.0.1:9/"
    monkeypatch.setitem(DATASETS, "omniglot", replace(DATASETS["omniglot"], url=url))
    with pytest.raises(MissingError, match="quickstudy data add omniglot --from"):
        store.get("omniglot")


def test_add_takes_a_local_copy_and_names_what_is_missing(parcel, tmp_path):
    source, home = parcel
    with pytest.raises(MissingError, match=r"expected few\.zip"):
        store.add("omniglot", tmp_path)
    store.add("omniglot", source)
    assert (home / "omniglot/few.zip").exists()


def test_a_missing_data_set_is_fetched_only_where_it_can_be(tmp_path, monkeypatch):
    monkeypatch.setenv("QUICKSTUDY_DATA", str(tmp_path))
    with pytest.raises(MissingError, match="data add caltech101_84 --from") as caught:
        load_dataset("caltech101_84", "train")
    assert "data get" not in str(caught.value)
