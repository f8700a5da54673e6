"""Results on other data sets: a matrix of scores, data set by configuration."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from quickstudy.errors import DataError
from quickstudy.table_files import read_rows

__all__ = ["History", "impute_regret", "read_oboe", "read_results"]


@dataclass(frozen=True, eq=False)
class History:
    """Scores of configurations on data sets.

    Args:
        datasets: The names of n data sets.
        configs: The names of c configurations.
        scores: Of shape (n, c), greater is better; NaN where a configuration was not tried or
            failed.
        features: Meta-features of data sets, by name; those that are missing are unknown.
        guesses: What missing scores are expected to be, of shape (n, c); None or NaN if unknown.

    Raises:
        DataError: If the sizes differ, a name is there twice, a score is infinite, or a data set
            has no score.

    Example:
        >>> history = History(["iris", "wine"], ["tree", "svm"], [[0.9, 0.95], [0.8, 0.98]])
        >>> history.regret.tolist()
        [[1.0, 0.0], [1.0, 0.0]]
    """

    datasets: list[str]
    configs: list[str]
    scores: np.ndarray
    features: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    guesses: np.ndarray | None = None

    def __post_init__(self) -> None:
        shape = (len(self.datasets), len(self.configs))
        scores = np.array(self.scores, dtype=np.float64)
        if not scores.size:
            scores = scores.reshape(0, len(self.configs))
        object.__setattr__(self, "scores", scores)
        if scores.shape != shape:
            raise DataError(f"expected scores of shape {shape}, got {scores.shape}")
        for what, names in (("data set", self.datasets), ("configuration", self.configs)):
            if len(set(names)) < len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise DataError(f"expected each {what} once, got {twice!r} more often")
        if self.guesses is not None and np.shape(self.guesses) != shape:
            raise DataError(f"expected guesses of shape {shape}, got {np.shape(self.guesses)}")
        if np.isinf(scores).any():
            raise DataError("expected finite scores, or NaN for none, got an infinite one")
        if (empty := np.isnan(scores).all(1)).any():
            name = self.datasets[int(empty.argmax())]
            raise DataError(f"expected a score for each data set, got none for {name!r}: drop it")

    @property
    def regret(self) -> np.ndarray:
        """Scores mapped in each data set so that its best is 0 and its worst 1, shape (n, c)."""
        return _regret(self.scores)

    @property
    def filled(self) -> np.ndarray:
        """Scores, with guesses for those that are missing, shape (n, c)."""
        if self.guesses is None:
            return self.scores
        return np.where(np.isnan(self.scores), self.guesses, self.scores)

    @property
    def filled_regret(self) -> np.ndarray:
        """`regret` of the scores `filled`."""
        return _regret(self.filled)

    def without(self, datasets: Iterable[str]) -> History:
        """The history without some data sets.

        Example:
            >>> History(["a", "b"], ["x"], [[0.1], [0.2]]).without(["a"]).datasets
            ['b']
        """
        left_out = set(datasets)
        rows = [i for i, name in enumerate(self.datasets) if name not in left_out]
        return self._part(rows, list(range(len(self.configs))))

    def only(self, configs: Iterable[str]) -> History:
        """The history of some configurations alone, and of the data sets that have scores of them.

        Example:
            >>> History(["a"], ["x", "y"], [[0.1, 0.2]]).only(["y"]).scores.tolist()
            [[0.2]]
        """
        selected = set(configs)
        columns = [j for j, name in enumerate(self.configs) if name in selected]
        scores = self.scores[:, columns]
        return self._part(np.flatnonzero(~np.isnan(scores).all(1)).tolist(), columns)

    def _part(self, rows: list[int], columns: list[int]) -> History:
        place = np.ix_(rows, columns)
        return History(
            [self.datasets[i] for i in rows],
            [self.configs[j] for j in columns],
            self.scores[place],
            self.features,
            None if self.guesses is None else self.guesses[place],
        )


def impute_regret(regret: np.ndarray, rounds: int = 5) -> np.ndarray:
    """Regrets of shape (n, c) without gaps: a missing one is its mean given the others of its data
    set, under a Gaussian over configurations that is fitted again each round.

    Args:
        regret: As `History.regret`, NaN where it is missing.
        rounds: Of fitting; none with fewer than three data sets.
    """
    is_missing = np.isnan(regret)
    if not is_missing.any():
        return regret
    is_known = ~is_missing
    totals = np.where(is_known, regret, 0.0).sum(0)
    means = (totals + 0.5) / (is_known.sum(0) + 1)  # a config nobody tried is neither good nor bad
    filled = np.where(is_missing, means, regret)
    for _ in range(rounds if len(regret) > 2 else 0):
        mean = filled.mean(0)
        covariance = np.cov(filled.T) + 0.01 * np.eye(len(mean))
        for i in np.flatnonzero(is_missing.any(1)):
            out, given = is_missing[i], is_known[i]
            step = np.linalg.solve(covariance[np.ix_(given, given)], filled[i, given] - mean[given])
            filled[i, out] = mean[out] + covariance[np.ix_(out, given)] @ step
    return np.clip(filled, 0.0, 1.0)


def read_oboe(folder: str | Path) -> History:
    """The matrix of OBOE: 219 configurations on 418 OpenML data sets, as 1 - balanced error.

    C. Yang, Y. Akimoto, D. W. Kim, M. Udell: "OBOE: Collaborative Filtering for AutoML Model
    Selection", KDD 2019, https://arxiv.org/abs/1808.03233.

    Args:
        folder: Holds `error_matrix.csv`, and may hold `dataset_sizes.csv` (number, rows, columns),
            both of the package `oboe`.

    Raises:
        MissingError: If the matrix is not there.
        DataError: If it is damaged.
    """
    folder = Path(folder)
    sizes = folder / "dataset_sizes.csv"
    rows = read_rows(sizes)[1] if sizes.exists() else []
    features = {
        number.zfill(5): {
            "log_rows": math.log(float(n_rows)),
            "log_columns": math.log(float(n_columns)),
        }
        for number, n_rows, n_columns in rows
    }
    head, lines = read_rows(folder / "error_matrix.csv")
    names = [str(_oboe_name(text)) for text in head[1:]]
    errors = _numbers([line[1:] for line in lines], folder / "error_matrix.csv")
    return History([line[0] for line in lines], names, 1 - errors, features)


def read_results(
    path: str | Path, *, lower_is_better: bool = False, features: str | Path | None = None
) -> History:
    """Any table of results: a line a data set, a column a configuration, empty where unknown.

    Args:
        path: A .csv or .parquet file; its first column names the data sets.
        lower_is_better: The results are errors, losses or costs.
        features: A table of meta-features of the same kind.

    Raises:
        MissingError: If a file is not there, or Parquet cannot be read without pyarrow.
        DataError: If a table is damaged, or holds what is no number.
    """
    datasets, configs, results = _table(Path(path))
    features_of: dict[str, dict[str, float]] = {}
    if features is not None:
        names, columns, values = _table(Path(features))
        features_of = {
            name: {c: float(v) for c, v in zip(columns, row, strict=True) if math.isfinite(v)}
            for name, row in zip(names, values, strict=True)
        }
    return History(datasets, configs, -results if lower_is_better else results, features_of)


def _table(path: Path) -> tuple[list[str], list[str], np.ndarray]:
    head, lines = read_rows(path)
    if len(head) < 2 or not lines:
        raise DataError(
            f"expected in {path} a column that names data sets and columns of results, got "
            f"{len(head)} columns and {len(lines)} lines"
        )
    return [str(line[0]) for line in lines], head[1:], _numbers([x[1:] for x in lines], path)


def _numbers(lines: list[list[str | float | None]] | list[list[str]], path: Path) -> np.ndarray:
    def number(cell: str | float | None) -> float:
        try:
            return math.nan if cell is None or cell == "" else float(cell)
        except ValueError:
            raise DataError(f"expected numbers in {path}, got {cell!r}") from None

    return np.array([[number(cell) for cell in line] for line in lines], dtype=np.float64)


def _oboe_name(text: str) -> str:
    """A configuration's name, such as "kNN(n_neighbors=5, p=2)"."""
    try:
        config = ast.literal_eval(text)
        options = ", ".join(f"{k}={v}" for k, v in config["hyperparameters"].items())
        return f"{config['algorithm']}({options})"
    except (ValueError, SyntaxError, TypeError, KeyError, AttributeError):
        return text


def _regret(scores: np.ndarray) -> np.ndarray:
    best, worst = _best_and_worst(scores)
    return (best - scores) / np.where(best > worst, best - worst, 1.0)


def _best_and_worst(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best and the worst known score of each data set, of shape (n, 1)."""
    is_known = ~np.isnan(scores)
    best = np.where(is_known, scores, -np.inf).max(1, keepdims=True, initial=-np.inf)
    worst = np.where(is_known, scores, np.inf).min(1, keepdims=True, initial=np.inf)
    return best, worst
