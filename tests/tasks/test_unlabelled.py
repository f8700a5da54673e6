import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from quickstudy.errors import DataError, MissingError, UsageError
from quickstudy.tasks import UnlabelledData, load_unlabelled_images
from quickstudy.tasks.images import Images, decode_image


def draw(folder, names, seed=0, side=12):
    """Images of noise."""
    generator = np.random.default_rng(seed)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (side, side), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


@pytest.fixture
def photos(tmp_path):
    return draw(tmp_path / "photos", ["b.png", "a.png", "more/c.png"])


def test_a_folder_may_be_flat_or_nested_and_its_images_come_in_the_order_of_their_names(photos):
    pool = load_unlabelled_images(photos, size=12)
    files = [photos / name for name in ("a.png", "b.png", "more/c.png")]
    decoded = [decode_image(file.read_bytes(), file.name, size=12) for file in files]
    assert len(pool) == 3
    assert torch.equal(pool.x, torch.from_numpy(np.stack(decoded)))
    assert torch.equal(pool.rows(torch.tensor([2, 0])), pool.x[[2, 0]].float() / 255)


def test_a_zip_holds_the_same_as_its_folder(photos, tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for file in photos.rglob("*.png"):
            archive.write(file, file.relative_to(photos))
    zipped = load_unlabelled_images(tmp_path / "photos.zip", size=12)
    assert torch.equal(zipped.x, load_unlabelled_images(photos, size=12).x)


def test_images_are_decoded_once_and_with_the_cache_off_all_the_same(photos, monkeypatch):
    first = load_unlabelled_images(photos, size=12).x
    with monkeypatch.context() as patched:
        patched.setattr(Images, "decode", None)  # the cache must serve
        assert torch.equal(load_unlabelled_images(photos, size=12).x, first)
    monkeypatch.setenv("QUICKSTUDY_CACHE", "off")
    assert torch.equal(load_unlabelled_images(photos, size=12).x, first)


MEASURE = """
import resource, sys, torch
from quickstudy.tasks import load_unlabelled_images
def anonymous():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
before = anonymous()
pool = load_unlabelled_images(sys.argv[1], size=512)
for _ in range(3):
    pool.rows(torch.randperm(len(pool))[:4])
print(len(pool), pool.x.nbytes // 1024, anonymous() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_folder(tmp_path):
    folder = draw(tmp_path / "photos", [f"{i}.bmp" for i in range(240)], side=512)
    words = [sys.executable, "-c", MEASURE, str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    n, of_all, taken = map(int, done.stdout.split())
    assert (n, of_all) == (240, 61440)
    assert taken < of_all / 3


def test_unreadable_images_are_left_out_and_counted(photos):
    (photos / "d.png").write_bytes(b"no image")
    for _ in range(2):  # decoded, and from the cache
        with pytest.warns(UserWarning, match="1 of 4 images in .* cannot be read and are left out"):
            pool = load_unlabelled_images(photos, size=12)
        assert len(pool) == 3


def test_what_cannot_serve_is_said_in_a_line(tmp_path):
    with pytest.raises(DataError, match=r"two readable images or more in .*, found 1 of 1"):
        load_unlabelled_images(draw(tmp_path / "one", ["a.png"]))
    alike = tmp_path / "alike"
    for i in range(3):
        draw(alike, [f"{i}.png"])
    with pytest.raises(DataError, match=r"alike: expected examples that differ, got 3 that are"):
        load_unlabelled_images(alike)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for name in ("a.png", "b.png"):
        (damaged / name).write_bytes(b"no image")
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(DataError, match=r"two readable images or more in .*, found 0 of 2"),
    ):
        load_unlabelled_images(damaged)
    with pytest.raises(MissingError, match="found nothing"):
        load_unlabelled_images(tmp_path / "absent")


def test_arrays_frames_and_lists_serve():
    pandas = pytest.importorskip("pandas")
    x = np.arange(6.0).reshape(3, 2)
    for examples in (x, torch.from_numpy(x), pandas.DataFrame(x), list(x), x.tolist()):
        pool = UnlabelledData.from_examples(examples)
        assert torch.equal(pool.x, torch.from_numpy(x).float())
    images = [Image.new("RGB", (4, 3), colour) for colour in ("red", "blue")]
    assert UnlabelledData.from_examples(images).x.shape == (2, 3, 3, 4)


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        (["hi", "bye"], "texts: give encode="),
        ([torch.zeros(2), torch.zeros(3)], r"one shape, got \(2,\) and \(3,\)"),
        (np.array([["a"], ["b"]]), "expected numbers, got <U1"),
        (np.array([[0.0], [np.nan]]), "finite examples"),
        (np.zeros((1, 2)), "two examples or more, got 1"),
        (np.zeros((5, 2)), "5 that are all alike"),
        (np.zeros(5), r"shape \(n, ...\), got shape \(5,\)"),
    ],
)
def test_examples_that_cannot_serve_are_refused(examples, message):
    with pytest.raises(DataError, match=message):
        UnlabelledData.from_examples(examples)


def test_parts_share_no_example_and_copies_stay_together():
    x = torch.rand(200, 3).repeat(2, 1)
    parts = UnlabelledData(x).split((0.7, 0.3))
    rows = [{tuple(row) for row in part.rows(torch.arange(len(part))).tolist()} for part in parts]
    assert sum(map(len, parts)) == 400
    assert not rows[0] & rows[1]
    assert 100 < len(rows[0]) < 180
    more = UnlabelledData(torch.cat([x, torch.rand(50, 3)])).split((0.7, 0.3))
    kept = {tuple(row) for row in more[0].rows(torch.arange(len(more[0]))).tolist()}
    assert rows[0] <= kept


def test_quarter_turns_and_mirrors_are_examples_of_their_own_that_take_no_memory():
    x = torch.rand(5, 1, 4, 4)
    pool = UnlabelledData(x).with_mirrors().with_rotations()
    assert len(pool) == 40
    assert pool.x is x
    everything = pool.rows(torch.arange(40)).unflatten(0, (4, 2, 5))
    for k in range(4):
        assert torch.equal(everything[k, 0], x.rot90(k, (-2, -1)))
        assert torch.equal(everything[k, 1], x.flip(-1).rot90(k, (-2, -1)))
    with pytest.raises(DataError, match="square images"):
        UnlabelledData(torch.rand(5, 3)).with_rotations()


def test_a_range_outside_is_a_usage_error():
    with pytest.raises(UsageError):
        load_unlabelled_images("photos", size=0)
