"""Images in class folders, in a directory or a zip, decoded once to a cache of bytes."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

import numpy as np
import safetensors
import safetensors.torch
import torch
from PIL import ExifTags, Image
from torch import Tensor

from quickstudy.cache import FileCache, cache_limit
from quickstudy.errors import DataError, QuickstudyError, UsageError, check_option
from quickstudy.progress import track
from quickstudy.tasks.image_files import FORMATS, content_hash, list_images, read_image_file
from quickstudy.tasks.sources import ClassData

__all__ = [
    "Fit",
    "Images",
    "Ink",
    "bit_depth",
    "decode_image",
    "decoded_key",
    "folder_bit_depth",
    "load_image_folder",
]

MAX_PIXELS = 64_000_000
MAX_DECODED_BYTES = 128_000_000
"""Bytes of an image as it is decoded, which for JPEG is near the size wanted."""

MAX_SIZE = 4096
"""Of the size wanted, in pixels."""

BIT_DEPTHS = (8, 10, 12, 14, 16)
"""Bits that cameras and scanners use of 16."""

REDUCING_GAP = 3
"""Large images are first averaged down to so many times the size wanted, in whole steps."""

BAND_PIXELS = 1_000_000
"""Of a large image, converted at once."""

DECODED_CACHE = FileCache("decoded")
DECODER_VERSION = 4
"""Changes with whatever changes the pixels."""

Ink = Literal["bright", "dark"]
Fit = Literal["pad", "grey", "stretch"]

EXIF_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings an image of each EXIF orientation upright."""


def decode_image(
    content: bytes,
    name: str,
    *,
    size: int,
    channels: int = 1,
    ink: Ink = "bright",
    fit: Fit = "pad",
    bits: int | None = None,
) -> np.ndarray:
    """Decode one image to uint8 of shape (channels, size, size).

    Of several frames, the first is read. What is transparent is paper.

    Args:
        name: For the error message.
        channels, ink, fit, bits: As of `Images`.

    Raises:
        DataError: If the file is no image, is damaged, or is far too large.
    """
    return Images(size, channels, ink, fit, bits).decode(content, name)


def bit_depth(images: Sequence[Any]) -> int:
    """How many bits the greys of 16-bit images use: the least of 8, 10, 12, 14 and 16 that holds
    the brightest pixel of them all; 16 without such images.

    A PGM says its brightest grey itself, so it does not count.

    Args:
        images: Paths, contents of files, Pillow images; arrays are passed over.

    Raises:
        MissingError, DataError: If an image is not there or cannot be read.

    Example:
        >>> bit_depth([Image.fromarray(np.full((4, 4), 900, np.uint16))])
        10
    """
    return _depth(_brightest_grey(image, f"image {i}") for i, image in enumerate(images))


def folder_bit_depth(path: Path, *, skip_unreadable: bool = False) -> int:
    """The same of the images of a folder or zip.

    Args:
        skip_unreadable: Pass over images that cannot be read.
    """

    def brightest(name: str, read: Callable[[], bytes]) -> int:
        try:
            return _brightest_grey(read(), f"{path}/{name}")
        except DataError:
            if skip_unreadable:
                return -1
            raise

    return _depth(brightest(name, read) for name, read in list_images(path))


def _depth(brightest: Iterable[int]) -> int:
    most = max(brightest, default=-1)
    return 16 if most < 0 else next(bits for bits in BIT_DEPTHS if most < 2**bits)


def _brightest_grey(image: Any, name: str) -> int:
    """The brightest of an image's greys of more than 8 bits; -1 of other images."""
    with _opened(image, name) as (opened, known_as):
        if opened is None or not _is_deep(opened):
            return -1
        _check_size(opened, known_as)
        return _brightest(opened, known_as)


@contextlib.contextmanager
def _opened(image: Any, name: str) -> Iterator[tuple[Image.Image | None, str]]:
    """A path, content or Pillow image as a Pillow image, not decoded yet, with its name; None for
    anything else. Pillow's errors become one that names it."""
    content = image
    if isinstance(image, str | os.PathLike):
        name, content = os.fspath(image), read_image_file(image)
    try:
        if isinstance(content, bytes):
            with Image.open(io.BytesIO(content), formats=tuple(FORMATS)) as opened:
                yield opened, name
        else:
            yield (image if isinstance(image, Image.Image) else None), name
    except QuickstudyError:
        raise
    except Exception as error:  # of many types, if the file is malformed
        raise DataError(f"{name} is not a readable image: replace or remove it") from error


def _is_deep(image: Image.Image) -> bool:
    """Whether an image has greys of more than 8 bits, whose range it does not say."""
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format != "PPM")


def _brightest(image: Image.Image, name: str) -> int:
    """The brightest of greys of up to 16 bits."""
    low, high = (int(value) for value in image.getextrema())  # pyright: ignore[reportArgumentType]
    if low < 0 or high >= 2**16:
        raise DataError(f"{name} has greys from {low} to {high}: convert it to 8 or 16 bits")
    return high


def _check_size(image: Image.Image, name: str) -> None:
    """Refuse an image that is too large, before it is decoded."""
    channels = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}.get(image.mode, 4)
    pixels = image.width * image.height
    if pixels > MAX_PIXELS or pixels * channels > MAX_DECODED_BYTES:
        raise DataError(f"{name} has {image.width}x{image.height} pixels: make it smaller")


@dataclass(frozen=True)
class Images:
    """Turns images into what a learner takes: a tensor (n, channels, size, size) from 0 to 1.

    Args:
        size: Side to resize to, in pixels.
        channels: 1 for grey, 3 for colour.
        ink: "dark" inverts, so that dark strokes on white paper become bright on black.
        fit: An image that is not square is centred on paper by "pad", which suits strokes; centred
            on middle grey by "grey", which pretrained networks take for zero; or made to fill the
            square by "stretch", so that a statistic sees no margin.
        bits: How many bits 16-bit images use, of which the brightest grey becomes 1. By default
            those of the images of a call, see `bit_depth`; `fitted` sets it for later calls.

    Raises:
        UsageError: If an option is out of range.

    Example:
        >>> Images(28)([Image.new("L", (40, 40), 255)]).shape
        torch.Size([1, 1, 28, 28])
    """

    size: int = 28
    channels: int = 1
    ink: Ink = "bright"
    fit: Fit = "pad"
    bits: int | None = None

    def __post_init__(self) -> None:
        check_option("ink", self.ink, get_args(Ink))
        check_option("fit", self.fit, get_args(Fit))
        if not 1 <= self.size <= MAX_SIZE or self.channels not in (1, 3):
            raise UsageError(
                f"expected a size of 1 to {MAX_SIZE} and 1 or 3 channels, got {self.size} and "
                f"{self.channels}"
            )
        if self.bits not in (None, *BIT_DEPTHS):
            raise UsageError(f"expected bits of {', '.join(map(str, BIT_DEPTHS))}, got {self.bits}")

    def fitted(self, images: Sequence[Any]) -> Images:
        """These options with the `bits` that a support set uses, so that queries are scaled as it
        is.

        Raises:
            MissingError, DataError: If an image is not there or cannot be read.
        """
        return self if self.bits else replace(self, bits=bit_depth(images))

    def __call__(self, images: Sequence[Any]) -> Tensor:
        """Read paths and prepare Pillow images; arrays (channels, size, size) are taken as they
        are, but for bytes, which are divided by 255.

        Raises:
            MissingError: If a path leads to no file.
            DataError: If a file is no image, an image is damaged or far too large, or an array
                has another shape.
        """
        how = self.fitted(images)
        return torch.stack([how._one(image, f"image {i}") for i, image in enumerate(images)])

    def decode(self, content: bytes, name: str) -> np.ndarray:
        """Decode the content of a file to uint8 of shape (channels, size, size)."""
        with _opened(content, name) as (image, _):
            assert image is not None
            return self._decode(image, name)

    def _decode(self, image: Image.Image, name: str) -> np.ndarray:
        """Decode an image that is opened, to uint8 of shape (channels, size, size)."""
        if image.width * image.height <= MAX_PIXELS:  # JPEG decodes to a fraction of its size
            image.draft(None, (2 * self.size, 2 * self.size))
        return self._prepare(image, name)

    def _one(self, image: Any, name: str) -> Tensor:
        if isinstance(image, str | os.PathLike):
            name, image = os.fspath(image), read_image_file(image)
        if isinstance(image, bytes):
            pixels = self.decode(image, name)
        elif isinstance(image, Image.Image):
            with _opened(image, name):
                pixels = self._prepare(image, name)
        else:
            pixels = self._array(image, name)
        scale = 255 if pixels.dtype == np.uint8 else 1
        return torch.from_numpy(pixels.astype(np.float32) / scale)

    def _array(self, image: Any, name: str) -> np.ndarray:
        pixels = np.asarray(image)
        expected = (self.channels, self.size, self.size)
        if pixels.shape != expected or not (pixels.dtype == np.uint8 or pixels.dtype.kind == "f"):
            raise DataError(
                f"expected paths, Pillow images or arrays {expected} of bytes or floats, got "
                f"as {name} {type(image).__name__} {pixels.shape} of {pixels.dtype}"
            )
        return pixels

    def _prepare(self, image: Image.Image, name: str) -> np.ndarray:
        """Bring an image to uint8 of shape (channels, size, size)."""
        _check_size(image, name)
        _warn_of_what_is_left_out(image)
        if image.mode == "F":
            raise DataError(f"{name} has pixels of mode 'F': convert it to 8 or 16 bits")
        image.load()
        bits = 16
        if _is_deep(image):
            bits = self.bits or bit_depth([image])
            if _brightest(image, name) >= 2**bits:
                warnings.warn(
                    f"Some 16-bit images are brighter than the {bits} bits that the support set "
                    f"uses: they are cut off at {2**bits - 1}.",
                    stacklevel=1,
                )
        fitted = self._resized(image, bits)
        turn = EXIF_TRANSPOSES.get(image.getexif().get(ExifTags.Base.Orientation, 1))
        if turn is not None:
            fitted = fitted.transpose(turn)
        side = (self.size, self.size)
        if fitted.size != side:
            margin = 127 if self.fit == "grey" else self._paper
            sheet = Image.new(fitted.mode, side, (margin,) * len(fitted.getbands()))
            margins = (
                round((self.size - fitted.width) / 2),
                round((self.size - fitted.height) / 2),
            )
            sheet.paste(fitted, margins)
            fitted = sheet
        pixels = np.asarray(fitted, dtype=np.uint8).reshape(*side, self.channels)
        pixels = pixels.transpose(2, 0, 1)
        return 255 - pixels if self.ink == "dark" else pixels

    @property
    def _paper(self) -> int:
        return 255 if self.ink == "dark" else 0

    def _resized(self, image: Image.Image, bits: int) -> Image.Image:
        """An image in 8 bits, without transparency, that fits the square.

        A large one is averaged down on the way, a band of rows at a time, so that all of it is
        never held in another form.
        """
        width, height = image.size
        goal: tuple[int, int] = (self.size, self.size)
        if self.fit != "stretch":
            scale = self.size / max(width, height)
            goal = (max(1, round(width * scale)), max(1, round(height * scale)))
        across, down = (
            max(1, side // (REDUCING_GAP * to)) for side, to in zip(image.size, goal, strict=True)
        )
        if across == down == 1:
            flat = self._flat(image, bits)
        else:
            mode = "RGB" if self.channels == 3 else "L"
            flat = Image.new(mode, (-(-width // across), -(-height // down)))
            rows = down * max(1, BAND_PIXELS // (width * down))
            for top in range(0, height, rows):
                band = image.crop((0, top, width, min(top + rows, height)))
                flat.paste(self._flat(band, bits).reduce((across, down)), (0, top // down))
        if flat.size == goal:
            return flat
        covered = (0, 0, width / across, height / down)  # the last pixels stand for fewer
        return flat.resize(goal, Image.Resampling.LANCZOS, covered)

    def _flat(self, image: Image.Image, bits: int) -> Image.Image:
        """An image on paper, in 8 bits of grey or colour."""
        if image.mode == "I" or image.mode.startswith("I;16"):
            greys = np.asarray(image).astype(np.float32) * (255 / (2**bits - 1))
            image = Image.fromarray(greys.clip(0, 255).astype(np.uint8))
        if image.has_transparency_data:
            sheet = Image.new("RGBA", image.size, (self._paper,) * 3 + (255,))
            image = Image.alpha_composite(sheet, image.convert("RGBA"))
        return image.convert("RGB" if self.channels == 3 else "L")


def _warn_of_what_is_left_out(image: Image.Image) -> None:
    if getattr(image, "is_animated", False) and image.format != "MPO":  # of phones, one photograph
        warnings.warn("Of images with several frames, the first is read.", stacklevel=1)
    tile = getattr(image, "tile", None)
    if tile and image.mode in ("RGB", "RGBA") and "16" in str(tile[0][3]):
        warnings.warn(
            "Of images in colour with 16 bits a channel, the upper 8 are read.", stacklevel=1
        )


def load_image_folder(
    path: str | Path,
    *,
    size: int = 28,
    channels: int = 1,
    ink: Ink = "bright",
    fit: Fit = "pad",
    bits: int | None = None,
) -> ClassData:
    """Load images whose folder is their class, from a directory or a zip.

    Decoded images are saved in the user's cache by the content of all of them, so the next load
    only reads the files; see `quickstudy.cache`.

    Args:
        path: Folder or zip; the class of `a/b/1.png` is `a/b`, of the group `a`.
        size: Side to resize to, in pixels.
        channels, ink, fit: As of `Images`.
        bits: As of `Images`; by default by all images in `path`.

    Returns:
        Images uint8 of shape (n, channels, size, size), classes in sorted order.

    Raises:
        MissingError: If `path` is not there.
        DataError: If it holds fewer than two class folders, or a damaged image.
    """
    path = Path(path)
    how = Images(size, channels, ink, fit, bits)
    key = f"{decoded_key(path, how)}.safetensors" if cache_limit() and path.exists() else ""
    if key and (content := DECODED_CACHE.get(key)):
        with contextlib.suppress(safetensors.SafetensorError, KeyError, ValueError):
            tensors = safetensors.torch.load(content)
            names = json.loads(bytes(tensors["names"].tolist()))
            return ClassData(tensors["x"], tensors["y"], names, groups=_groups(names))
    listed = list_images(path)
    owners = [str(PurePosixPath(name).parent) for name, _ in listed]
    names = sorted(set(owners))
    if len(names) < 2:
        raise DataError(
            f"expected at least two class folders in {path}, found {len(names)}: put the images "
            "of each class in a folder named after it"
        )
    if "." in names:
        stray = listed[owners.index(".")][0]
        raise DataError(f"expected every image of {path} in the folder of its class, not {stray}")
    fitted, images = how, []
    for name, read in track(listed, "decoding images"):
        with _opened(read(), f"{path}/{name}") as (image, known_as):
            assert image is not None
            if fitted.bits is None and _is_deep(image):
                fitted = replace(how, bits=folder_bit_depth(path))  # of all that come, too
            images.append(fitted._decode(image, known_as))
    number = {name: c for c, name in enumerate(names)}
    x = torch.from_numpy(np.ascontiguousarray(np.stack(images)))  # colours come last from Pillow
    y = torch.tensor([number[o] for o in owners])
    if key and key == f"{decoded_key(path, how)}.safetensors":  # as it was when it was decoded
        coded = torch.tensor(list(json.dumps(names).encode()), dtype=torch.uint8)
        DECODED_CACHE.put(key, safetensors.torch.save({"x": x, "y": y, "names": coded}))
    return ClassData(x, y, names, groups=_groups(names))


def _groups(names: list[str]) -> torch.Tensor:
    """A number for the folder that each class folder is in."""
    parents = [str(PurePosixPath(name).parent) for name in names]
    number = {parent: g for g, parent in enumerate(sorted(set(parents)))}
    return torch.tensor([number[parent] for parent in parents])


def decoded_key(path: Path, how: Images) -> str:
    """What names the decoded form of a folder or zip: all of its content, and how it is decoded."""
    if path.is_dir():
        content = content_hash(path)
    else:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    about = f"{DECODER_VERSION}\0{content}\0{how}"
    return hashlib.sha256(about.encode()).hexdigest()[:32]
