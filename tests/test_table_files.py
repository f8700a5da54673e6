import contextlib

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from quickstudy import table_files, text_files
from quickstudy.errors import DataError, MissingError
from quickstudy.table_files import as_csv, read_rows, stream_rows


def test_the_end_of_the_name_says_how_a_table_is_written(tmp_path):
    (tmp_path / "t.csv").write_bytes(b'\xef\xbb\xbfa,b\n1,"x, y"\n\n2,\n')
    (tmp_path / "t.tsv").write_text('a\tb\n1\t"x, y\n2\t\n')
    parquet.write_table(pa.table({"a": [1, 2], "b": ["x, y", None]}), tmp_path / "t.parquet")
    assert read_rows(tmp_path / "t.csv") == (["a", "b"], [["1", "x, y"], ["2", ""]])
    assert read_rows(tmp_path / "t.tsv") == (["a", "b"], [["1", '"x, y'], ["2", ""]])
    assert read_rows(tmp_path / "t.parquet") == (["a", "b"], [[1, "x, y"], [2, None]])


def test_after_semicolons_commas_are_decimal(tmp_path):
    (tmp_path / "t.csv").write_text("height;note\n1,5;a, b\n-2,25;1,2,3\n")
    assert read_rows(tmp_path / "t.csv") == (
        ["height", "note"],
        [["1.5", "a, b"], ["-2.25", "1,2,3"]],
    )


def test_lines_of_other_numbers_of_cells_are_left_out_if_asked(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "1,2\n" * 20 + "1,2,3\n1\n")
    with pytest.raises(DataError, match=r"2 cells in each line .* got 3 in row 21"):
        list(stream_rows(path)[1])
    with pytest.warns(UserWarning, match="^2 of 22 rows are left out: .* got 3 in row 21"):
        assert list(stream_rows(path, unequal="ignore")[1]) == [["1", "2"]] * 20
    path.write_text("a,b\n1,2\n1\n")
    with pytest.raises(DataError, match=r"got 1 in row 2.*1 of 2 rows are so"):
        list(stream_rows(path, unequal="ignore")[1])


@pytest.mark.parametrize("name", ["t.json", "t.xlsx", "t.pkl"])
def test_other_formats_are_refused_by_name(tmp_path, name):
    (tmp_path / name).write_bytes(b'[{"a": 1}]')
    with pytest.raises(DataError, match=r"expected CSV or Parquet, got .*: save it"):
        read_rows(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "an empty file"),
        ("t.csv", b"a,b\n1\n", "2 cells in each line of .*, got 1 in row 1"),
        ("t.csv", b"a\n\x81\n", "not CSV in UTF-8"),
        ("t.csv", b"a,b,a\n1,2,3\n", "every column name of .* once, got 'a' twice"),
        ("t.parquet", b"a", "as Parquet"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path, name, content, message):
    with pytest.raises(MissingError, match="found none"):
        read_rows(tmp_path / name)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_rows(tmp_path / name)


def parquet_of(tmp_path, **columns):
    parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    return tmp_path / "t.parquet"


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pa.array([b"a", b"b"]), "binary"),
        (pa.array([b"a", b"b"], pa.binary(1)), r"fixed_size_binary\[1\]"),
        (pa.array([[1], [2]]), "list<"),
        (pa.array([{"a": 1}, {"a": 2}]), "struct<"),
        (pa.array([b"a", b"b"]).dictionary_encode(), "binary"),
    ],
)
def test_parquet_of_bytes_or_lists_is_refused(tmp_path, values, kind):
    path = parquet_of(tmp_path, fine=[1, 2], it=values)
    with pytest.raises(DataError, match=f"in the column 'it' of .*, got {kind}"):
        read_rows(path)


def test_parquet_that_is_small_and_holds_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(text_files, "MAX_BYTES", 10_000_000)
    zeros = parquet_of(tmp_path, it=np.random.default_rng(0).permutation(2_000_000) * 0.0)
    assert zeros.stat().st_size < 200_000
    with pytest.raises(DataError, match="10,000,000 bytes at most, got 16"):
        read_rows(zeros)
    texts = parquet_of(tmp_path, it=["x" * 1000] * 20_000)  # one text, kept once and repeated
    assert texts.stat().st_size < 10_000
    with pytest.raises(DataError, match="bytes at most, got 20"):
        read_rows(texts)
    monkeypatch.setattr(table_files, "MAX_CELLS", 1000)
    with pytest.raises(DataError, match="1,000 cells and"):
        read_rows(parquet_of(tmp_path, it=[1] * 1001))


def test_a_csv_of_more_cells_than_memory_can_hold_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(table_files, "MAX_CELLS", 10)
    monkeypatch.setattr(table_files, "MAX_COLUMNS", 5)
    (tmp_path / "t.csv").write_text("a,b\n" + "1,2\n" * 4)
    assert len(read_rows(tmp_path / "t.csv")[1]) == 4
    for content in ("a,b\n" + "1,2\n" * 5, "a,b,c,d,e,f\n"):
        (tmp_path / "t.csv").write_text(content)
        with pytest.raises(DataError, match="10 cells and 5 columns at most"):
            read_rows(tmp_path / "t.csv")


def test_parquet_damaged_anywhere_is_read_or_refused(tmp_path):
    path = parquet_of(tmp_path, a=[1, 2, 3], b=["x", "y", None])
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), rng.integers(1, 4)):
            damaged[place] ^= 1 << rng.integers(0, 8)
        end = len(whole) if rng.random() < 0.5 else rng.integers(0, len(whole))
        path.write_bytes(damaged[:end])
        with contextlib.suppress(DataError):
            read_rows(path)


def test_a_file_larger_than_memory_is_refused_unread(tmp_path):
    for name in ("t.csv", "t.parquet"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(text_files.MAX_BYTES + 1)  # sparse: it takes no room
        with pytest.raises(DataError, match="4,294,967,296 bytes at most"):
            read_rows(tmp_path / name)


def test_the_folder_of_a_file_adds_no_column(tmp_path):
    (tmp_path / "year=2020").mkdir()
    path = parquet_of(tmp_path / "year=2020", a=[1])
    assert read_rows(path) == (["a"], [[1]])


@pytest.mark.parametrize(
    "cell",
    ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1", "-", "-1_0"],
)
def test_formulas_are_escaped_in_csv(tmp_path, cell):
    (tmp_path / "t.csv").write_bytes(as_csv({cell: [cell]}).encode())
    assert read_rows(tmp_path / "t.csv", ",") == ([f"'{cell}"], [[f"'{cell}"]])


@pytest.mark.parametrize("cell", ["-1.5", "+3", "-.5", "-1e-5", "a=1", "'x", "", "x@y.org", -1.5])
def test_numbers_and_other_texts_stay_as_they_are_in_csv(cell):
    assert as_csv({"a": [cell], "b": [1]}) == f"a,b\n{cell},1\n"
