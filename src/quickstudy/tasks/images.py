"""Images in class folders, in a directory or a zip, decoded once to a cache of bytes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import safetensors.torch
import torch
from PIL import Image, UnidentifiedImageError
from platformdirs import user_cache_path

from quickstudy.errors import DataError, MissingError
from quickstudy.files import write_atomically
from quickstudy.tasks.sources import ClassData

__all__ = ["content_hash", "decode_image", "list_images", "load_image_folder"]

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
MOST_PIXELS = 64_000_000

Ink = Literal["bright", "dark"]


def list_images(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the name (relative, with slashes) and bytes of every image, in sorted order.

    Raises:
        MissingError: If `path` is not there.
        DataError: If it is neither a folder nor a zip, or holds no image.
    """
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        found = [(p.relative_to(path).as_posix(), p) for p in files]
        if not found:
            raise DataError(
                f"expected images in {path}, found none ({', '.join(sorted(SUFFIXES))})"
            )
        for name, file in sorted(found):
            yield name, file.read_bytes()
        return
    if not path.exists():
        raise MissingError(f"expected a folder or zip of images at {path}, found nothing")
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(
                n for n in archive.namelist() if PurePosixPath(n).suffix.lower() in SUFFIXES
            )
            if not names:
                raise DataError(f"expected images in {path}, found none")
            for name in names:
                yield name, archive.read(name)
    except zipfile.BadZipFile as error:
        raise DataError(f"{path} is neither a folder nor a whole zip: {error}") from None


def content_hash(path: Path) -> str:
    """SHA-256 over, for each image in sorted order, its name, a zero byte and its SHA-256."""
    total = hashlib.sha256()
    for name, content in sorted(list_images(path)):
        total.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    return total.hexdigest()


def decode_image(
    content: bytes, name: str, *, size: int, channels: int = 1, ink: Ink = "bright"
) -> np.ndarray:
    """Decode one image to uint8 of shape (channels, size, size).

    Args:
        name: For the error message.
        channels: 1 for grey, 3 for colour.
        ink: "dark" inverts, so that dark strokes on white paper become bright on black.

    Raises:
        DataError: If the file is no image, is damaged, or is far too large.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise DataError(f"{name} has {image.width}x{image.height} pixels: make it smaller")
            grey = image.convert("RGB" if channels == 3 else "L")
            if grey.size != (size, size):
                grey = grey.resize((size, size), Image.Resampling.LANCZOS)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{name} is not a readable image: replace or remove it") from None
    pixels = np.asarray(grey, dtype=np.uint8).reshape(size, size, channels).transpose(2, 0, 1)
    return 255 - pixels if ink == "dark" else pixels


def load_image_folder(
    path: Path, *, size: int, channels: int = 1, ink: Ink = "bright"
) -> ClassData:
    """Load images whose folder is their class, from a directory or a zip.

    Decoded images are kept in the user's cache folder, so the next load takes no time.

    Args:
        path: Folder or zip; the class of `a/b/1.png` is `a/b`.
        size: Side to resize to, in pixels.

    Returns:
        Images uint8 of shape (n, channels, size, size), classes in sorted order.

    Raises:
        MissingError: If `path` is not there.
        DataError: If it holds fewer than two class folders, or a damaged image.
    """
    path = Path(path)
    cache = _cache_file(path, f"{size}/{channels}/{ink}")
    if cache and cache.exists():
        content = cache.read_bytes()
        tensors = safetensors.torch.load(content)
        return ClassData(tensors["x"], tensors["y"], json.loads(bytes(tensors["names"].tolist())))
    images, owners = [], []
    for name, content in list_images(path):
        owners.append(str(PurePosixPath(name).parent))
        images.append(
            decode_image(content, f"{path}/{name}", size=size, channels=channels, ink=ink)
        )
    names = sorted(set(owners))
    if len(names) < 2:
        raise DataError(
            f"expected at least two class folders in {path}, found {len(names)}: put the images "
            "of each class in a folder named after it"
        )
    number = {name: c for c, name in enumerate(names)}
    x, y = torch.from_numpy(np.stack(images)), torch.tensor([number[o] for o in owners])
    if cache:
        cache.parent.mkdir(parents=True, exist_ok=True)
        coded = torch.tensor(list(json.dumps(names).encode()), dtype=torch.uint8)
        write_atomically(cache, safetensors.torch.save({"x": x, "y": y, "names": coded}))
    return ClassData(x, y, names)


def _cache_file(path: Path, how: str) -> Path | None:
    """Where the decoded form of `path` as it is now belongs; None for a path that is not there."""
    if not path.exists():
        return None
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    stamp = hashlib.sha256(how.encode())
    for file in files:
        stat = file.stat()
        stamp.update(f"{os.path.abspath(file)}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return user_cache_path("quickstudy") / "decoded" / f"{stamp.hexdigest()[:32]}.safetensors"
