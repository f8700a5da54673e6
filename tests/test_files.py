import errno
import os
import stat
import tempfile

import pytest

from quickstudy.errors import DiskError, UsageError
from quickstudy.files import (
    ESCAPE_UNENCODABLE,
    check_output_file,
    check_writable,
    make_private,
    only_user_writes,
    readable,
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"plain", "plain"),
        ("熊".encode(), "熊"),
        (b"caf\xe9", r"caf\xe9"),
        (b"\xff\xe7\x86\x8a", r"\xff熊"),
    ],
)
def test_a_file_name_becomes_text(name, text):
    for kept in (os.fsdecode(name), name.decode("ascii", "surrogateescape")):
        assert readable(kept) == text
    assert readable(text) == text


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_any_text_can_be_encoded_and_bytes_of_names_stay(encoding):
    text = "±熊\udcff\ud800"
    coded = text.encode(encoding, ESCAPE_UNENCODABLE)
    assert b"\xff" in coded
    assert coded.endswith(rb"\ud800")
    assert ("±" in coded.decode(encoding, "replace")) == (encoding != "ascii")
    with pytest.raises(UnicodeDecodeError):
        b"\xff".decode("ascii", ESCAPE_UNENCODABLE)


posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")


@posix
def test_a_private_folder_is_for_the_user_alone(tmp_path):
    folder = tmp_path / "cache" / "own"
    make_private(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert only_user_writes(folder)
    (folder / "kept").touch()
    folder.chmod(0o755)
    make_private(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / "kept").exists()


@posix
@pytest.mark.parametrize("planted", ["writable", "link", "file"])
def test_what_others_could_have_planted_is_replaced(tmp_path, planted):
    folder, elsewhere = tmp_path / "own", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "library.so").touch()
    if planted == "link":
        folder.symlink_to(elsewhere)
    elif planted == "file":
        folder.touch()
    else:
        folder.mkdir()
        (folder / "library.so").touch()
        folder.chmod(0o777)
    make_private(folder)
    assert list(folder.iterdir()) == []
    assert only_user_writes(folder)
    assert (elsewhere / "library.so").exists()


@posix
def test_a_folder_where_others_could_replace_it_is_refused(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(DiskError, match="other users can write there"):
        make_private(shared / "own")
    shared.chmod(0o1777)  # as /tmp, where others can add but not replace
    make_private(shared / "own")


@posix
@pytest.mark.skipif(os.name == "posix" and os.getuid() != 0, reason="only root gives files away")
def test_a_folder_of_another_user_is_not_trusted(tmp_path):
    folder = tmp_path / "own"
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, -1)
    assert not only_user_writes(folder)
    make_private(folder)
    assert folder.stat().st_uid == os.getuid()


def test_a_place_that_can_be_written_is_left_as_it_was(tmp_path):
    check_writable(tmp_path / "new" / "run")
    check_output_file(tmp_path / "out.csv")
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "run" / "deep"):
        with pytest.raises(DiskError, match=r"cannot write to .*Not a directory"):
            check_writable(place)


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_disk_that_refuses_is_named_with_the_reason(tmp_path, monkeypatch, code):
    def refuse(dir):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(DiskError, match=f"cannot write to .*run .{os.strerror(code)}"):
        check_writable(tmp_path / "run")


def test_a_name_that_is_too_long_is_refused(tmp_path):
    with pytest.raises(DiskError, match="name too long"):
        check_writable(tmp_path / ("x" * 300))
    with pytest.raises(DiskError, match="name too long"):
        check_output_file(tmp_path / f"{'x' * 300}.csv")


def test_a_file_needs_its_folder_and_cannot_be_one(tmp_path):
    with pytest.raises(UsageError, match=r"expected a folder at .*no to write out\.csv into"):
        check_output_file(tmp_path / "no" / "out.csv")
    with pytest.raises(UsageError, match="expected a file to write to, got the folder"):
        check_output_file(tmp_path)
