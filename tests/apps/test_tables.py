import pyarrow as pa
import pytest
from pyarrow import parquet

from quickstudy.apps.tables import read_rows
from quickstudy.errors import DataError, MissingError


def test_the_end_of_the_name_says_how_a_table_is_written(tmp_path):
    (tmp_path / "t.csv").write_bytes(b'\xef\xbb\xbfa,b\n1,"x, y"\n\n2,\n')
    (tmp_path / "t.tsv").write_text('a\tb\n1\t"x, y\n2\t\n')
    parquet.write_table(pa.table({"a": [1, 2], "b": ["x, y", None]}), tmp_path / "t.parquet")
    assert read_rows(tmp_path / "t.csv") == (["a", "b"], [["1", "x, y"], ["2", ""]])
    assert read_rows(tmp_path / "t.tsv") == (["a", "b"], [["1", '"x, y'], ["2", ""]])
    assert read_rows(tmp_path / "t.parquet") == (["a", "b"], [[1, "x, y"], [2, None]])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "an empty file"),
        ("t.csv", b"a,b\n1\n", "2 cells in each line of .*, got 1 in row 1"),
        ("t.csv", b"a\n\xff\n", "not CSV in UTF-8"),
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
