import io
import json
import os
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from quickstudy.errors import DataError, MissingError, UsageError
from quickstudy.tasks.images import (
    Images,
    content_hash,
    decode_image,
    list_images,
    load_image_folder,
)


def png(pixels, mode=None) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.asarray(pixels, dtype=np.uint8), mode).save(content, "PNG")
    return content.getvalue()


def gradient(size=8, start=0):
    return (np.arange(size * size).reshape(size, size) + start) % 256


@pytest.fixture
def folder(tmp_path):
    for c, name in enumerate(("b", "a/x")):
        place = tmp_path / "classes" / name
        place.mkdir(parents=True)
        for i in range(3):
            (place / f"{i}.png").write_bytes(png(gradient(start=64 * c + i)))
    return tmp_path / "classes"


def zipped(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.rglob("*.png"):
            archive.write(file, file.relative_to(folder))
    return path


def test_folder_names_are_the_classes_and_pixels_are_kept(folder):
    data = load_image_folder(folder, size=8)
    assert data.names == ["a/x", "b"]
    assert data.counts.tolist() == [3, 3]
    assert data.x.dtype == torch.uint8
    assert torch.equal(data.x[3, 0], torch.from_numpy(gradient()).to(torch.uint8))


def test_a_zip_holds_the_same_as_its_folder(folder, tmp_path):
    archive = zipped(folder, tmp_path / "classes.zip")
    assert torch.equal(load_image_folder(archive, size=8).x, load_image_folder(folder, size=8).x)
    assert content_hash(archive) == content_hash(folder)


def test_the_folder_above_a_class_is_its_group(tmp_path):
    for name in ("greek/alpha", "greek/beta", "latin/a"):
        place = tmp_path / "letters" / name
        place.mkdir(parents=True)
        (place / "1.png").write_bytes(png(gradient()))
    decoded, cached = (load_image_folder(tmp_path / "letters", size=8) for _ in range(2))
    assert decoded.groups.tolist() == cached.groups.tolist() == [0, 0, 1]


def test_a_changed_folder_is_decoded_anew_and_an_unchanged_one_is_not(folder, monkeypatch):
    first = load_image_folder(folder, size=8)
    monkeypatch.setattr("quickstudy.tasks.images.decode_image", None)  # the cache must serve
    assert torch.equal(load_image_folder(folder, size=8).x, first.x)
    monkeypatch.undo()
    (folder / "b" / "3.png").write_bytes(png(gradient()))
    assert load_image_folder(folder, size=8).counts.tolist() == [3, 4]


def test_a_damaged_cache_is_made_anew(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first = load_image_folder(folder, size=8)
    (kept,) = (tmp_path / "cache").rglob("*.safetensors")
    kept.write_bytes(kept.read_bytes()[:50])
    assert torch.equal(load_image_folder(folder, size=8).x, first.x)


def test_dark_ink_is_inverted():
    assert (decode_image(png(gradient()), "x", size=8, ink="dark") == 255 - gradient()).all()


def test_colour_has_three_channels():
    red = np.zeros((8, 8, 3))
    red[..., 0] = 200
    image = decode_image(png(red), "x", size=8, channels=3)
    assert image[:, 0, 0].tolist() == [200, 0, 0]


def test_what_is_transparent_or_beyond_the_edge_is_paper():
    clear = np.zeros((4, 8, 4))  # black, and wholly transparent
    assert decode_image(png(clear), "x", size=8, ink="dark").max() == 0
    wide = np.zeros((4, 8))  # all ink
    image = decode_image(png(wide), "x", size=8, ink="dark")[0]
    assert image[:2].max() == 0
    assert image[2:6].min() == 255


def test_hidden_files_and_other_files_are_passed_over(folder):
    (folder / "b" / "._0.png").write_bytes(b"junk")
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "0.png").write_bytes(b"junk")
    (folder / "b" / "notes.txt").write_text("hello")
    assert len(list_images(folder)) == 6


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "b" / "1.png").write_bytes(b"not a png"), "b/1.png is not a readable"),
        (lambda f: (f / "b" / "1.png").write_bytes(png(gradient())[:50]), "b/1.png is not a"),
        (lambda f: (f / "b" / "1.png").write_bytes(b""), "b/1.png is not a readable"),
        (lambda f: (f / "top.png").write_bytes(png(gradient())), "not top.png"),
        (lambda f: [p.unlink() for p in (f / "b").iterdir()], "at least two class folders"),
        (lambda f: [p.unlink() for p in f.rglob("*.png")], "expected images in"),
    ],
    ids=["no image", "truncated", "empty", "outside a class", "one class", "no images"],
)
def test_a_folder_that_cannot_serve_is_refused(folder, spoil, message):
    spoil(folder)
    with pytest.raises(DataError, match=message):
        load_image_folder(folder, size=8)


@pytest.mark.skipif(os.name != "posix", reason="names are text elsewhere")
def test_file_names_that_are_no_utf_8_are_refused(folder):
    (folder / "b" / "note.txt").write_text("no image")
    (folder / "b" / "note.txt").rename(os.fsdecode(bytes(folder / "b" / "note") + b"\xe9"))
    assert len(load_image_folder(folder, size=8).y) == 6
    (folder / "b" / "0.png").rename(os.fsdecode(bytes(folder / "b" / "caf") + b"\xe9.png"))
    with pytest.raises(DataError, match=r"expected file names in UTF-8 in .*got 'b/caf.*: rename"):
        load_image_folder(folder, size=8)


def test_a_missing_path_and_a_damaged_zip_are_refused(folder, tmp_path):
    with pytest.raises(MissingError, match="found nothing"):
        load_image_folder(tmp_path / "nowhere", size=8)
    archive = zipped(folder, tmp_path / "classes.zip")
    archive.write_bytes(archive.read_bytes()[:-30])
    with pytest.raises(DataError, match="nor a whole zip"):
        load_image_folder(archive, size=8)


def test_a_member_of_a_zip_with_flipped_bits_is_refused(folder, tmp_path):
    archive = zipped(folder, tmp_path / "classes.zip")
    content = bytearray(archive.read_bytes())
    content[content.index(b"IDAT") + 6] ^= 255
    archive.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        load_image_folder(archive, size=8)


def test_bombs_are_refused_before_they_are_decoded(tmp_path):
    huge = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(huge, "PNG")
    with pytest.raises(DataError):
        decode_image(huge.getvalue(), "huge.png", size=8)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/0.png", bytes(70_000_000))
        archive.writestr("b/0.png", b"")
    with pytest.raises(DataError, match="make it smaller"):
        load_image_folder(tmp_path / "bomb.zip", size=8)


def test_names_survive_the_cache(tmp_path):
    for name in ("ä", "日本"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_bytes(png(gradient()))
    names = load_image_folder(tmp_path, size=8).names
    assert load_image_folder(tmp_path, size=8).names == names
    assert json.loads(json.dumps(names)) == ["ä", "日本"]


def test_images_of_any_kind_are_read_alike(tmp_path):
    grey = np.full((8, 8), 200, np.uint8)
    kinds = {
        "grey.png": Image.fromarray(grey),
        "deep.png": Image.fromarray(grey.astype(np.uint16) * 257),
        "cmyk.jpg": Image.merge("CMYK", [Image.new("L", (8, 8), v) for v in (0, 0, 0, 55)]),
        "alpha.png": Image.fromarray(np.dstack([grey] * 3 + [np.full_like(grey, 255)])),
    }
    for name, image in kinds.items():
        image.save(tmp_path / name)
    both = [*kinds.values(), *(tmp_path / name for name in kinds)]
    pixels = Images(8)(both)
    assert pixels.shape == (8, 1, 8, 8)
    torch.testing.assert_close(pixels, torch.full_like(pixels, 200 / 255), atol=0.01, rtol=0)


def test_images_that_cannot_be_read_are_refused_by_name(tmp_path, monkeypatch):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no more")
    content = io.BytesIO()
    Image.new("L", (64, 64), 9).save(content, "PNG")
    (tmp_path / "cut.png").write_bytes(content.getvalue()[:-30])
    (tmp_path / "big.png").write_bytes(content.getvalue())
    read = Images(8)
    with pytest.raises(MissingError, match=r"expected an image at .*none.png"):
        read([tmp_path / "none.png"])
    for name in ("broken.png", "cut.png"):
        with pytest.raises(DataError, match=f"{name} is not a readable image"):
            read([tmp_path / name])
    with pytest.raises(DataError, match="image 1 has pixels of mode 'F'"):
        read([Image.new("L", (8, 8)), Image.new("F", (8, 8))])
    with pytest.raises(DataError, match=r"arrays \(1, 8, 8\) .* image 0 ndarray \(8, 8\)"):
        read([np.zeros((8, 8))])
    with pytest.raises(DataError, match="image 0 is not a readable image"):
        read([Image.open(tmp_path / "cut.png")])
    monkeypatch.setattr("quickstudy.tasks.images.MOST_PIXELS", 1000)
    for big in (tmp_path / "big.png", Image.new("L", (64, 64))):
        with pytest.raises(DataError, match="has 64x64 pixels: make it smaller"):
            read([big])
    with pytest.raises(UsageError, match="1 or 3 channels"):
        Images(8, channels=2)
