"""Columns as tables of other libraries, which are imported only here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    from numpy.typing import NDArray


def polars_frame(columns: dict[str, NDArray[Any]]) -> pl.DataFrame:
    """Make a Polars DataFrame; columns of objects hold strings."""
    try:
        import polars as pl
    except ImportError as error:
        raise ImportError("to_polars needs polars; install it with pip install 'pickwise[polars]'") from error
    return pl.DataFrame(
        {
            name: pl.Series(column.tolist(), dtype=pl.String) if column.dtype == object else column
            for name, column in columns.items()
        }
    )


def pandas_frame(columns: dict[str, NDArray[Any]]) -> pd.DataFrame:
    """Make a pandas DataFrame."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("to_pandas needs pandas; install it with pip install 'pickwise[pandas]'") from error
    return pd.DataFrame(columns)
