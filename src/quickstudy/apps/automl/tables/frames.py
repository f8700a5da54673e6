"""Convert tables of any library to data frames of pandas.

Needs pandas and Narwhals, which quickstudy's extra `automl` installs.
"""

# pandas types `frame[name]` as Series or DataFrame, and its conversions as scalars too
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false

from __future__ import annotations

from typing import Any

import numpy as np

from quickstudy.errors import DataError, require

require("pandas", "automl")
require("narwhals", "automl")
import narwhals as nw  # noqa: E402
import pandas as pd  # noqa: E402

__all__ = ["as_column", "as_frame", "is_frame"]


def as_frame(X: Any) -> pd.DataFrame:
    """Convert a table to a data frame of pandas with unique column names.

    Args:
        X: An array of two dimensions, whose columns are called "0", "1" and so on, or a frame of
            pandas, Polars, PyArrow or another library that Narwhals supports.

    Raises:
        DataError: If it has no rows or no columns, or two columns have the same name.

    Example:
        >>> as_frame([[1, "a"], [2, "b"]]).columns.tolist()
        ['0', '1']
    """
    frame = X if isinstance(X, pd.DataFrame) else _from_narwhals(X)
    if frame is None:
        if hasattr(X, "toarray"):
            raise DataError("expected a dense table, got a sparse matrix: use X.toarray()")
        shape = np.shape(X)
        if len(shape) != 2:
            raise DataError(f"expected a table of rows and columns, got shape {shape}")
        frame = pd.DataFrame(X)
    frame = frame.reset_index(drop=True)
    frame.columns = [str(name) for name in frame.columns]
    if not frame.shape[0] or not frame.shape[1]:
        raise DataError(f"expected rows and columns, got a table of shape {frame.shape}")
    if (repeated := frame.columns[frame.columns.duplicated()]).size:
        raise DataError(f"expected each column once, got {repeated[0]!r} more often: rename one")
    return frame


def _from_narwhals(X: Any) -> pd.DataFrame | None:
    """A frame of another library in pandas; None if it is no frame."""
    try:
        frame = nw.from_native(X, pass_through=True)
        if isinstance(frame, nw.LazyFrame):
            frame = frame.collect()
        return frame.to_pandas() if isinstance(frame, nw.DataFrame) else None
    except nw.exceptions.DuplicateError as error:
        reason = " ".join(str(error).split())
        raise DataError(f"expected each column once, got some more often ({reason})") from None


def as_column(y: Any) -> pd.Series:
    """A target, of any kind of array, series or frame of one column, as a series of objects.

    Example:
        >>> as_column(np.array([[1], [2]])).tolist()
        [1, 2]
    """
    series = nw.from_native(y, pass_through=True, allow_series=True)
    if isinstance(series, nw.Series):
        y = series.to_pandas()
    elif (frame := _from_narwhals(y)) is not None:
        y = frame
    return pd.Series(np.asarray(y, dtype=object).ravel())


def is_frame(X: Any) -> bool:
    """Whether it is a frame with named columns, of any library."""
    return isinstance(X, pd.DataFrame) or isinstance(
        nw.from_native(X, pass_through=True), nw.DataFrame | nw.LazyFrame
    )
