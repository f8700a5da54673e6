"""Tables of results, and what is refused in them."""

import numpy as np
import pytest

from quickstudy.apps.automl import History, read_oboe, read_results
from quickstudy.errors import DataError, MissingError


@pytest.mark.parametrize(
    ("datasets", "configs", "scores", "message"),
    [
        (["a"], ["x", "y"], [[1.0]], "shape"),
        (["a", "a"], ["x"], [[1.0], [2.0]], "'a' more often"),
        (["a"], ["x", "x"], [[1.0, 2.0]], "'x' more often"),
        (["a"], ["x"], [[np.inf]], "finite"),
        (["a", "b"], ["x"], [[1.0], [np.nan]], "none for 'b'"),
    ],
)
def test_a_history_that_cannot_be_is_refused(datasets, configs, scores, message):
    with pytest.raises(DataError, match=message):
        History(datasets, configs, scores)


def test_regret_is_0_for_the_best_and_1_for_the_worst_and_unknown_where_not_tried():
    regret = History(["a", "b"], ["x", "y", "z"], [[0.5, 1.0, np.nan], [2, 2, 2]]).regret
    np.testing.assert_array_equal(regret, [[1, 0, np.nan], [0, 0, 0]])


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_of_results_is_read(tmp_path, suffix):
    path = tmp_path / f"results.{suffix}"
    if suffix == "csv":
        path.write_text("data,tree,svm\niris,0.1,\nwine,0.3,0.2\n")
    else:
        pa = pytest.importorskip("pyarrow")
        import pyarrow.parquet as pq

        columns = {"data": ["iris", "wine"], "tree": [0.1, 0.3], "svm": [None, 0.2]}
        pq.write_table(pa.table(columns), path)
    features = tmp_path / "features.csv"
    features.write_text("data,log_rows,odd\niris,5,\n")
    history = read_results(path, lower_is_better=True, features=features)
    assert (history.datasets, history.configs) == (["iris", "wine"], ["tree", "svm"])
    np.testing.assert_array_equal(history.scores, [[-0.1, np.nan], [-0.3, -0.2]])
    assert history.features == {"iris": {"log_rows": 5.0}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file"),
        (b"data\niris\n", "got 1 columns"),
        (b"data,tree\n", "0 lines"),
        (b"data,tree\niris,good\n", "'good'"),
        (b"data,tree\niris,1,2\n", "2 cells in each line"),
        (b"data,tree\niris,\x81\n", "UTF-8"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(tmp_path, content, message):
    path = tmp_path / "results.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_results(path)


def test_a_table_that_is_not_there_or_no_parquet_is_refused(tmp_path):
    with pytest.raises(MissingError, match="found none"):
        read_results(tmp_path / "results.csv")
    pytest.importorskip("pyarrow")
    with pytest.raises(MissingError, match="found none"):
        read_results(tmp_path / "results.parquet")
    (tmp_path / "results.parquet").write_text("no")
    with pytest.raises(DataError, match="as Parquet"):
        read_results(tmp_path / "results.parquet")


def test_the_matrix_of_oboe_is_read_with_its_sizes(tmp_path):
    config = "{'algorithm': 'KNN', 'hyperparameters': {'n_neighbors': 1, 'p': 2}}"
    (tmp_path / "error_matrix.csv").write_text(f',"{config}",other\n00003,0.25,0.5\n')
    history = read_oboe(tmp_path)
    assert history.configs == ["KNN(n_neighbors=1, p=2)", "other"]
    assert history.scores.tolist() == [[0.75, 0.5]]
    assert history.features == {}
    (tmp_path / "dataset_sizes.csv").write_text(",0,1\n3,100,1\n")
    features = read_oboe(tmp_path).features["00003"]
    assert features == {"log_rows": pytest.approx(4.605, abs=1e-3), "log_columns": 0}


def test_guesses_stand_for_what_is_missing_and_go_with_their_data_sets():
    scores, guesses = [[1.0, np.nan], [0.0, 2.0]], np.array([[9.0, 3.0], [9.0, 9.0]])
    history = History(["a", "b"], ["x", "y"], scores, guesses=guesses)
    assert history.filled.tolist() == [[1.0, 3.0], [0.0, 2.0]]
    assert history.filled_regret.tolist() == [[1.0, 0.0], [1.0, 0.0]]
    assert history.regret[0, 0] == 0.0
    assert history.without(["b"]).filled.tolist() == [[1.0, 3.0]]
    assert history.only(["y"]).filled.tolist() == [[2.0]]
    with pytest.raises(DataError, match="guesses of shape"):
        History(["a"], ["x"], [[1.0]], guesses=np.zeros((2, 1)))
