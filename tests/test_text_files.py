"""Files of text: encodings, packing, separators; as every reader of tables sees them."""

import gzip

import pytest

from quickstudy import text_files
from quickstudy.apps.automl.tables.files import read_frame
from quickstudy.apps.recommend import load_interactions
from quickstudy.errors import DataError
from quickstudy.table_files import read_rows
from quickstudy.text_files import encoding_of, separator_of

ROLES = {"user": "name", "item": "size", "rating": "size"}


@pytest.mark.parametrize(
    ("text", "separator"),
    [
        ("a,b\n1,2\n", ","),
        ("a;b\n1,5;2,5\n", ";"),
        ("a, m;b;c\n1;2;3\n", ";"),
        ("a\tb\n1\t2,5\n", "\t"),
        ("a|b\n1|x\n", "|"),
        ('"a;b",c\n"1;2",3\n', ","),
        ("what; why, how\nx\n", ","),
        ("a;b", ";"),
        ("a", ","),
        ("", ","),
    ],
)
def test_the_first_lines_say_what_separates_cells(text, separator):
    assert separator_of(text) == separator


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("packed", [False, True])
def test_text_is_read_in_the_encodings_that_say_which_they_are(tmp_path, encoding, packed):
    content = "name;size\nJürgen;1,5\n".encode(encoding)
    path = tmp_path / ("t.csv.gz" if packed else "t.csv")
    path.write_bytes(gzip.compress(content) if packed else content)
    assert read_rows(path) == (["name", "size"], [["Jürgen", "1.5"]])
    assert read_frame(path).to_numpy().tolist() == [["Jürgen", "1.5"]]
    assert list(load_interactions(path, columns=ROLES).users) == ["Jürgen"]


def test_a_packed_table_that_is_damaged_or_too_large_is_refused(tmp_path, monkeypatch):
    path, content = tmp_path / "t.csv.gz", gzip.compress(b"a,b\n" + b"1,2\n" * 5000)
    path.write_bytes(content[:-20])
    for read in (read_rows, read_frame):
        with pytest.raises(DataError, match="cannot be unpacked"):
            read(path)
    path.write_bytes(content)
    monkeypatch.setattr(text_files, "MAX_BYTES", 10_000)
    for read in (read_rows, read_frame):
        with pytest.raises(DataError, match=r"10,000 bytes at most, got .* when it is decoded"):
            read(path)


def test_what_spreadsheets_write_in_windows_is_read_with_a_warning(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes("name;size\n“Jürgen”;1,5\n€;2\n".encode("cp1252"))
    with pytest.warns(UserWarning, match="is not UTF-8 and is read as Windows-1252"):
        assert read_rows(path) == (["name", "size"], [["“Jürgen”", "1.5"], ["€", "2"]])
    with pytest.warns(UserWarning, match="is not UTF-8 and is read as Windows-1252"):
        assert read_frame(path)["name"].tolist() == ["“Jürgen”", "€"]
    with pytest.warns(UserWarning, match="is not UTF-8 and is read as Windows-1252"):
        assert load_interactions(path, columns=ROLES).users == ["“Jürgen”", "€"]


@pytest.mark.parametrize(
    "content",
    [b"PK\x03\x04\xff\x00", "表\n".encode("shift-jis") + b"\x81\n", b"a\n\xff\x00\n", b"\xff\xfea"],
)
def test_what_is_no_text_is_refused(tmp_path, content):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match="not CSV in UTF-8"):
        encoding_of(path)
