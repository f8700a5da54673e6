import io
import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from quickstudy.errors import DataError, MissingError, UsageError
from quickstudy.tasks.image_files import SUFFIXES, content_hash, list_images
from quickstudy.tasks.images import (
    EXIF_TRANSPOSES,
    Images,
    bit_depth,
    decode_image,
    folder_bit_depth,
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
    monkeypatch.setattr(Images, "decode", None)  # the cache must serve
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


def test_swapped_files_of_equal_size_and_time_are_decoded_anew(tmp_path):
    for name, pixels in (("a", gradient()), ("b", gradient(start=64))):
        (tmp_path / name).mkdir()
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / name / "0.bmp")
    first, second = (tmp_path / name / "0.bmp" for name in "ab")
    before = load_image_folder(tmp_path, size=8)
    content, stats = [p.read_bytes() for p in (first, second)], [p.stat() for p in (first, second)]
    assert stats[0].st_size == stats[1].st_size
    for path, other, stat in zip((first, second), reversed(content), stats, strict=True):
        path.write_bytes(other)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    after = load_image_folder(tmp_path, size=8)
    assert torch.equal(after.x, before.x.flip(0))
    assert not torch.equal(after.x, before.x)


def test_a_cache_of_decoded_images_that_cannot_be_written_is_done_without(
    folder, tmp_path, monkeypatch
):
    first = load_image_folder(folder, size=8)
    (tmp_path / "quickstudy").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert torch.equal(load_image_folder(folder, size=8).x, first.x)


@pytest.mark.parametrize(
    "suffix", ["gif", "tif", "tiff", "ppm", "pgm", "webp", "bmp", "png", "avif", "PNG", "jfif"]
)
def test_every_format_is_read_from_folders_and_lists(suffix, tmp_path):
    if f".{suffix.lower()}" not in SUFFIXES:
        pytest.skip("this Pillow is built without it")
    for level in (50, 200):
        (tmp_path / str(level)).mkdir()
        Image.new("L", (8, 8), level).save(tmp_path / str(level) / f"0.{suffix}")
        Image.new("L", (8, 8), level).save(tmp_path / str(level) / "1.png")
    data = load_image_folder(tmp_path, size=8)
    assert data.counts.tolist() == [2, 2]
    assert data.x.float().mean((1, 2, 3)).tolist() == pytest.approx([200, 200, 50, 50], abs=3)
    (tmp_path / "nameless").write_bytes((tmp_path / "50" / f"0.{suffix}").read_bytes())
    assert Images(8)([tmp_path / "nameless"]).mean().item() == pytest.approx(50 / 255, abs=0.01)


def test_links_to_class_folders_are_followed_and_loops_of_links_are_not(folder, tmp_path):
    (tmp_path / "chosen").mkdir()
    for name in ("a", "b"):
        (tmp_path / "chosen" / name).symlink_to(folder / name)
    (folder / "b" / "loop").symlink_to(folder)
    data = load_image_folder(tmp_path / "chosen", size=8)
    assert data.names == ["a/x", "b", "b/loop/a/x"]
    assert load_image_folder(folder, size=8).names == ["a/x", "b"]


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_16_bit_images_are_scaled_by_the_bits_that_the_support_uses(bits, tmp_path):
    most = 2**bits - 1
    ramp = np.linspace(0, most, 64).round().astype(np.uint16).reshape(8, 8)
    for name, pixels in (("a", ramp), ("b", ramp // 2)):
        (tmp_path / name).mkdir()
        Image.fromarray(pixels).save(tmp_path / name / "0.png")
        Image.fromarray(pixels).save(tmp_path / name / "1.tif")
    paths = [tmp_path / name / file for name in "ab" for file in ("0.png", "1.tif")]
    assert bit_depth(paths) == folder_bit_depth(tmp_path) == bits
    expected = torch.from_numpy(ramp / most).float()
    torch.testing.assert_close(Images(8)(paths)[0, 0], expected, atol=1 / 255, rtol=0)
    data = load_image_folder(tmp_path, size=8).x.float() / 255
    torch.testing.assert_close(data[:, 0], Images(8)(paths)[:, 0])
    query = Images(8).fitted(paths)([paths[2]])  # darker than the support, alone
    torch.testing.assert_close(query[0, 0], expected / 2, atol=1 / 255 + 1 / most, rtol=0)


def test_a_pgm_says_its_brightest_grey_itself(tmp_path):
    (tmp_path / "x.pgm").write_bytes(b"P5 2 2 1023\n" + np.full(4, 1023, ">u2").tobytes())
    deep = Image.fromarray(np.full((2, 2), 200, np.uint16))
    found = Images(2)([tmp_path / "x.pgm", deep])
    torch.testing.assert_close(found[:, 0, 0, 0], torch.tensor([1.0, 200 / 255]))


def test_what_is_lost_in_reading_is_said(tmp_path):
    frames = [Image.new("L", (8, 8), level) for level in (10, 200)]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    with pytest.warns(UserWarning, match="several frames, the first"):
        assert Images(8)([tmp_path / "two.gif"]).max() < 0.1
    deep = [Image.fromarray(np.full((8, 8), level, np.uint16)) for level in (900, 2000)]
    with pytest.warns(UserWarning, match="brighter than the 10 bits"):
        assert Images(8).fitted(deep[:1])([deep[1]]).min() == 1


def test_an_image_that_is_not_square_is_padded_or_stretched():
    wide = Image.new("L", (40, 8), 200)
    margins = {"pad": 0, "grey": 127 / 255, "stretch": 200 / 255}
    for fit, margin in margins.items():
        pixels = Images(10, fit=fit)([wide])[0, 0]
        assert pixels[:4].min().item() == pixels[6:].max().item() == pytest.approx(margin)
        assert pixels[4:6].mean().item() == pytest.approx(200 / 255)


def test_large_images_are_averaged_down_and_turned_upright(tmp_path):
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8))
    large = coarse.resize((800, 800), Image.Resampling.BOX)
    plain = Images(8)([large])
    at_once = np.asarray(large.resize((8, 8), Image.Resampling.LANCZOS)) / 255
    torch.testing.assert_close(plain[0, 0].double(), torch.from_numpy(at_once), atol=0.03, rtol=0)
    exif = Image.Exif()
    for orientation in EXIF_TRANSPOSES:
        exif[0x0112] = orientation
        back = {5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, orientation)
        turned = large.convert("RGB").transpose(EXIF_TRANSPOSES[back])
        turned.save(tmp_path / "x.png", exif=exif)
        upright = Images(8)([tmp_path / "x.png"])
        torch.testing.assert_close(upright, plain, atol=0.02, rtol=0)
        turned.save(tmp_path / "x.jpg", exif=exif, quality=100)
        upright = Images(8)([tmp_path / "x.jpg"])
        torch.testing.assert_close(upright, plain, atol=0.1, rtol=0)


DECODE = """
import os, resource, sys
from quickstudy.tasks.images import decode_image

def most():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

for path in sys.argv[1:]:
    if not os.fork():
        content, before = open(path, "rb").read(), most()
        decode_image(content, "x", size=28)
        print(most() - before, flush=True)
        os._exit(0)
    os.wait()
"""
"""Each image in a process of its own; all of them have imported what they need before."""


def test_a_large_image_takes_little_more_memory_than_its_own_form(tmp_path):
    own = {"P": 36, "1": 36, "L": 36, "I;16": 72, "JPEG": 0}  # MB
    for mode in own:
        image = Image.new("RGB" if mode == "JPEG" else mode, (6000, 6000))
        options = {"transparency": 0} if mode in ("P", "1") else {}
        image.save(tmp_path / mode, "JPEG" if mode == "JPEG" else "PNG", **options)
    command = [sys.executable, "-c", DECODE, *(str(tmp_path / mode) for mode in own)]
    added = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert len(added) == len(own)
    for (mode, size), megabytes in zip(own.items(), added, strict=True):
        assert int(megabytes) < size + 25, mode


def test_an_image_a_pixel_high_is_read():
    assert Images(8, ink="dark")([Image.new("L", (1000, 1))]).sum() == 8


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
    with pytest.warns(UserWarning, match=r"1 of 7 files in .* are passed over, .*: 'b/notes.txt'"):
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
    with pytest.warns(UserWarning, match="passed over"):
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


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_members_compressed_in_any_way_are_read_or_refused(folder, tmp_path, method):
    path = tmp_path / "classes.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in folder.rglob("*.png"):
            archive.write(file, file.relative_to(folder))
        start = archive.infolist()[0].header_offset + 60
    assert torch.equal(load_image_folder(path, size=8).x, load_image_folder(folder, size=8).x)
    content = bytearray(path.read_bytes())
    for at in range(start, start + 30):
        content[at] ^= 255
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        load_image_folder(path, size=8)


def test_a_zip_of_a_strange_version_is_refused(folder, tmp_path):
    path = zipped(folder, tmp_path / "classes.zip")
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 6] = 255
    path.write_bytes(content)
    with pytest.raises(DataError, match="neither a folder nor a whole zip: zip file version"):
        load_image_folder(path, size=8)


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
    monkeypatch.setattr("quickstudy.tasks.images.MAX_PIXELS", 1000)
    for big in (tmp_path / "big.png", Image.new("L", (64, 64))):
        with pytest.raises(DataError, match="has 64x64 pixels: make it smaller"):
            read([big])
    with pytest.raises(UsageError, match="1 or 3 channels"):
        Images(8, channels=2)
    with pytest.raises(UsageError, match="a size of 1 to 4096"):
        Images(10**7)
    with pytest.raises(UsageError, match="bits of 8, 10, 12, 14, 16"):
        Images(8, bits=9)
