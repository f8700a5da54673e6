"""Files of images, in a folder or a zip: which there are, and their bytes."""

from __future__ import annotations

import hashlib
import os
import warnings
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from PIL import features

from quickstudy.errors import DataError, MissingError
from quickstudy.progress import track

__all__ = ["FORMATS", "SUFFIXES", "content_hash", "list_images", "read_image_file"]

FORMATS = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "WEBP": (".webp",) if features.check("webp") else (),
    "AVIF": (".avif",) if features.check("avif") else (),
}
"""The formats that are read, and how their names end. Pillow's others run programs, or are for
screens and games, and have had most of its faults."""

SUFFIXES = {suffix for suffixes in FORMATS.values() for suffix in suffixes}

MAX_BYTES = 64_000_000
"""Of a file."""


def list_images(path: Path) -> list[tuple[str, Callable[[], bytes]]]:
    """List the images of a folder or zip, in sorted order: name (with slashes) and reader.

    Folders that are links are followed. Hidden files are passed over; a warning counts the others
    that are no image by their names.

    Raises:
        MissingError: If `path` is not there.
        DataError: If it is neither a folder nor a zip, or holds no image.
    """
    if path.is_dir():
        readers = {
            _as_utf8(p.relative_to(path).as_posix()): partial(_read_file, p) for p in _walk(path)
        }
    elif not path.exists():
        raise MissingError(f"expected a folder or zip of images at {path}, found nothing")
    else:
        try:
            archive = zipfile.ZipFile(path)  # closed with the last of its readers
        except Exception as error:  # of many types, if the file is malformed
            raise DataError(f"{path} is neither a folder nor a whole zip: {error}") from None
        members = [m for m in archive.infolist() if not m.is_dir()]
        readers = {m.filename: partial(_read_member, archive, m) for m in members}
    visible = [(name, read) for name, read in sorted(readers.items()) if not _is_hidden(name)]
    images = [(name, read) for name, read in visible if _is_image(name)]
    if not images:
        raise DataError(f"expected images in {path}, found none ({', '.join(sorted(SUFFIXES))})")
    if odd := [name for name, _ in images if not _is_utf8(name)]:
        raise DataError(f"expected file names in UTF-8 in {path}, got {odd[0]!r}: rename it")
    if others := [name for name, _ in visible if not _is_image(name)]:
        warnings.warn(
            f"{len(others)} of {len(visible)} files in {path} are passed over, as their names do "
            f"not end as those of images do: {others[0]!a}{', ...' if others[1:] else ''}",
            stacklevel=1,
        )
    return images


def _walk(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """All files below a folder. Links are followed, but not to a folder that they lie in."""
    here = folder.resolve()
    if here in above:
        return
    for path in folder.iterdir():
        if path.is_dir():
            yield from _walk(path, above | {here})
        elif path.is_file():
            yield path


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


def _as_utf8(name: str) -> str:
    """A file name whose bytes are UTF-8 as that text, also in a locale of another encoding."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def _is_utf8(name: str) -> bool:
    """Whether a name is text; of one that is not, Python keeps the bytes as surrogates."""
    return name.encode(errors="ignore").decode() == name


def _read_file(path: Path) -> bytes:
    if path.stat().st_size > MAX_BYTES:
        raise DataError(f"{path} has over {MAX_BYTES} bytes: make it smaller")
    return path.read_bytes()


def read_image_file(path: str | os.PathLike[str]) -> bytes:
    if not os.path.isfile(path):
        raise MissingError(f"expected an image at {os.fspath(path)}, found none")
    return _read_file(Path(path))


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    if member.file_size > MAX_BYTES:
        raise DataError(f"{member.filename} has over {MAX_BYTES} bytes: make it smaller")
    try:
        return archive.read(member)  # reads no more than it says it holds
    except Exception as error:  # each way to compress has errors of its own
        raise DataError(
            f"{member.filename} in {archive.filename} cannot be read ({error}): get another copy"
        ) from None


def content_hash(path: Path) -> str:
    """SHA-256 over, for each image in sorted order, its name, a zero byte and its SHA-256."""
    total = hashlib.sha256()
    for name, read in track(list_images(path), "checking content"):
        total.update(name.encode() + b"\0" + hashlib.sha256(read()).digest())
    return total.hexdigest()
