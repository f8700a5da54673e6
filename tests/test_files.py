import os

import pytest

from quickstudy.files import ESCAPE_UNENCODABLE, readable


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
