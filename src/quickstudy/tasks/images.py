"""Images in class folders, in a directory or a zip, decoded once to a cache of bytes."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

import numpy as np
import safetensors
import safetensors.torch
import torch
from PIL import Image, ImageOps
from platformdirs import user_cache_path
from torch import Tensor

from quickstudy.errors import DataError, MissingError, UsageError, check_option
from quickstudy.files import write_atomically
from quickstudy.progress import track
from quickstudy.tasks.sources import ClassData

__all__ = ["Images", "content_hash", "decode_image", "list_images", "load_image_folder"]

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
MOST_PIXELS = 64_000_000
MOST_BYTES = 64_000_000

Ink = Literal["bright", "dark"]


def list_images(path: Path) -> list[tuple[str, Callable[[], bytes]]]:
    """List the images of a folder or zip, in sorted order: name (with slashes) and reader.

    Hidden files are passed over.

    Raises:
        MissingError: If `path` is not there.
        DataError: If it is neither a folder nor a zip, or holds no image.
    """
    if path.is_dir():
        files = [p for p in path.rglob("*") if p.is_file()]
        found = {p.relative_to(path).as_posix(): partial(_read_file, p) for p in files}
    elif not path.exists():
        raise MissingError(f"expected a folder or zip of images at {path}, found nothing")
    else:
        try:
            archive = zipfile.ZipFile(path)  # closed with the last of its readers
            found = {m.filename: partial(_read_member, archive, m) for m in archive.infolist()}
        except zipfile.BadZipFile as error:
            raise DataError(f"{path} is neither a folder nor a whole zip: {error}") from None
    images = [(name, read) for name, read in sorted(found.items()) if _is_image(name)]
    if not images:
        raise DataError(f"expected images in {path}, found none ({', '.join(sorted(SUFFIXES))})")
    if odd := [name for name, _ in images if not _is_utf8(name)]:
        raise DataError(f"expected file names in UTF-8 in {path}, got {odd[0]!r}: rename it")
    return images


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
    return path.suffix.lower() in SUFFIXES and not hidden


def _is_utf8(name: str) -> bool:
    """Whether a name is text; of one that is not, Python keeps the bytes as surrogates."""
    return name.encode(errors="ignore").decode() == name


def _read_file(path: Path) -> bytes:
    if path.stat().st_size > MOST_BYTES:
        raise DataError(f"{path} has over {MOST_BYTES} bytes: make it smaller")
    return path.read_bytes()


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    if member.file_size > MOST_BYTES:
        raise DataError(f"{member.filename} has over {MOST_BYTES} bytes: make it smaller")
    try:
        return archive.read(member)  # reads no more than it says it holds
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
        raise DataError(
            f"{member.filename} in {archive.filename} cannot be read ({error}): get another copy"
        ) from None


def content_hash(path: Path) -> str:
    """SHA-256 over, for each image in sorted order, its name, a zero byte and its SHA-256."""
    total = hashlib.sha256()
    for name, read in track(list_images(path), "checking content"):
        total.update(name.encode() + b"\0" + hashlib.sha256(read()).digest())
    return total.hexdigest()


def decode_image(
    content: bytes, name: str, *, size: int, channels: int = 1, ink: Ink = "bright"
) -> np.ndarray:
    """Decode one image to uint8 of shape (channels, size, size).

    An image that is not square is centred on paper; what is transparent is paper.

    Args:
        name: For the error message.
        channels: 1 for grey, 3 for colour.
        ink: "dark" inverts, so that dark strokes on white paper become bright on black.

    Raises:
        DataError: If the file is no image, is damaged, or is far too large.
    """
    with _readable(name), Image.open(io.BytesIO(content), formats=FORMATS) as image:
        return _prepare(image, name, size, channels, ink)


@contextlib.contextmanager
def _readable(name: str) -> Iterator[None]:
    """Say which image cannot be read."""
    try:
        yield
    except DataError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise DataError(f"{name} is not a readable image: replace or remove it") from None


def _prepare(image: Image.Image, name: str, size: int, channels: int, ink: Ink) -> np.ndarray:
    """Bring an image to uint8 of shape (channels, size, size)."""
    mode, paper = ("RGB" if channels == 3 else "L"), (255 if ink == "dark" else 0)
    if image.width * image.height > MOST_PIXELS:
        raise DataError(f"{name} has {image.width}x{image.height} pixels: make it smaller")
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):  # Pillow would clip at 255
        upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    if upright.mode in ("I", "F"):
        raise DataError(f"{name} has pixels of mode {upright.mode!r}: convert it to 8 or 16 bits")
    if upright.has_transparency_data:
        sheet = Image.new("RGBA", upright.size, (paper, paper, paper, 255))
        upright = Image.alpha_composite(sheet, upright.convert("RGBA"))
    flat = upright.convert(mode)
    if flat.size != (size, size):
        colour = (paper, paper, paper) if channels == 3 else paper
        flat = ImageOps.pad(flat, (size, size), Image.Resampling.LANCZOS, colour)
    pixels = np.asarray(flat, dtype=np.uint8).reshape(size, size, channels).transpose(2, 0, 1)
    return 255 - pixels if ink == "dark" else pixels


@dataclass(frozen=True)
class Images:
    """Turns images into what a learner takes: a tensor (n, channels, size, size) from 0 to 1.

    Args:
        size: Side to resize to, in pixels.
        channels: 1 for grey, 3 for colour.
        ink: "dark" inverts, so that dark strokes on white paper become bright on black.

    Raises:
        UsageError: If an option is out of range.

    Example:
        >>> Images(28)([Image.new("L", (40, 40), 255)]).shape
        torch.Size([1, 1, 28, 28])
    """

    size: int = 28
    channels: int = 1
    ink: Ink = "bright"

    def __post_init__(self) -> None:
        check_option("ink", self.ink, get_args(Ink))
        if self.size < 1 or self.channels not in (1, 3):
            raise UsageError(
                f"expected size >= 1 and 1 or 3 channels, got {self.size} and {self.channels}"
            )

    def __call__(self, images: Sequence[Any]) -> Tensor:
        """Read paths and prepare Pillow images; arrays (channels, size, size) are taken as they
        are, but for bytes, which are divided by 255.

        Raises:
            MissingError: If a path leads to no file.
            DataError: If a file is no image, an image is damaged or far too large, or an array
                has another shape.
        """
        return torch.stack([self._one(image, f"image {i}") for i, image in enumerate(images)])

    def _one(self, image: Any, name: str) -> Tensor:
        how = {"size": self.size, "channels": self.channels, "ink": self.ink}
        if isinstance(image, str | os.PathLike):
            path = Path(image)
            if not path.is_file():
                raise MissingError(f"expected an image at {path}, found none")
            pixels = decode_image(_read_file(path), str(path), **how)
        elif isinstance(image, Image.Image):
            with _readable(name):
                pixels = _prepare(image, name, **how)
        else:
            pixels = np.asarray(image)
            expected = (self.channels, self.size, self.size)
            if pixels.shape != expected or not (
                pixels.dtype == np.uint8 or pixels.dtype.kind == "f"
            ):
                raise DataError(
                    f"expected paths, Pillow images or arrays {expected} of bytes or floats, got "
                    f"as {name} {type(image).__name__} {pixels.shape} of {pixels.dtype}"
                )
        scale = 255 if pixels.dtype == np.uint8 else 1
        return torch.from_numpy(pixels.astype(np.float32) / scale)


def load_image_folder(
    path: str | Path, *, size: int = 28, channels: int = 1, ink: Ink = "bright"
) -> ClassData:
    """Load images whose folder is their class, from a directory or a zip.

    Decoded images are kept in the user's cache folder, so the next load takes no time.

    Args:
        path: Folder or zip; the class of `a/b/1.png` is `a/b`, of the group `a`.
        size: Side to resize to, in pixels.
        channels: 1 for grey, 3 for colour.
        ink: "dark" inverts, so that dark strokes on white paper become bright on black.

    Returns:
        Images uint8 of shape (n, channels, size, size), classes in sorted order.

    Raises:
        MissingError: If `path` is not there.
        DataError: If it holds fewer than two class folders, or a damaged image.
    """
    path = Path(path)
    cache = _cache_file(path, f"decoder 3/{size}/{channels}/{ink}")
    if cache and cache.exists():
        with contextlib.suppress(safetensors.SafetensorError, KeyError, ValueError):
            tensors = safetensors.torch.load(cache.read_bytes())
            coded = bytes(tensors["names"].tolist())
            names = json.loads(coded)
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
    images = [
        decode_image(read(), f"{path}/{name}", size=size, channels=channels, ink=ink)
        for name, read in track(listed, "decoding images")
    ]
    number = {name: c for c, name in enumerate(names)}
    x = torch.from_numpy(np.ascontiguousarray(np.stack(images)))  # colours come last from Pillow
    y = torch.tensor([number[o] for o in owners])
    if cache:
        cache.parent.mkdir(parents=True, exist_ok=True)
        coded = torch.tensor(list(json.dumps(names).encode()), dtype=torch.uint8)
        write_atomically(cache, safetensors.torch.save({"x": x, "y": y, "names": coded}))
    return ClassData(x, y, names, groups=_groups(names))


def _groups(names: list[str]) -> torch.Tensor:
    """A number for the folder that each class folder is in."""
    parents = [str(PurePosixPath(name).parent) for name in names]
    number = {parent: g for g, parent in enumerate(sorted(set(parents)))}
    return torch.tensor([number[parent] for parent in parents])


def _cache_file(path: Path, how: str) -> Path | None:
    """Where the decoded form of `path` as it is now belongs; None for a path that is not there."""
    if not path.exists():
        return None
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    stamp = hashlib.sha256(how.encode())
    for file in files:
        stat = file.stat()
        about = f"{os.path.abspath(file)}\0{stat.st_size}\0{stat.st_mtime_ns}\n"
        stamp.update(os.fsencode(about))  # which names that are no UTF-8 pass
    return user_cache_path("quickstudy") / "decoded" / f"{stamp.hexdigest()[:32]}.safetensors"
