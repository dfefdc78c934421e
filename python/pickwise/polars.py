"""Scores as Polars expressions, for pipelines that need not fit into memory.

Each function takes columns and makes an expression, which Polars evaluates batch by batch, also in its streaming
engine. The scores are those of the functions of the same name for arrays, in double precision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pickwise import committee, multilabel, scores
from pickwise.expressions import expression

if TYPE_CHECKING:
    import polars as pl

    from pickwise.expressions import Columns, Invalid
    from pickwise.scores import How, Task


def entropy(
    *columns: Columns,
    base: float | None = None,
    normalize: bool = False,
    from_logits: bool = False,
    temperature: float = 1.0,
    task: Task = "multiclass",
    how: How = "mean",
    invalid: Invalid = "raise",
) -> pl.Expr:
    """Shannon entropy of each row, as `pickwise.entropy`.

    Parameters
    ----------
    *columns : str, Expr or selector
        One column of lists or arrays of floats; or a column of floats for each class; or one column of floats, *P(y=1)*
        of two classes.
    base, normalize, from_logits, temperature, task, how
        As in `pickwise.entropy`.
    invalid : {"raise", "null"}
        What to do about rows that are no probabilities, rows with a null inside a list among them: refuse them, or
        score them null.

    Returns
    -------
    Expr
        Of Float64, named as the first column. A row in which a column is null scores null.

    Raises
    ------
    TypeError
        If there are no columns. When the expression is evaluated: for columns of anything but floats.
    ValueError
        For options that make no sense. When the expression is evaluated: for rows that are no probabilities, as in
        `pickwise.entropy`, and for lists of different lengths that meet in one batch; a column of arrays has none.

    Notes
    -----
    The expression is elementwise: the streaming engine evaluates it batch by batch, and it may be filtered by, sorted
    by and used in ``over``. Rows are numbered within their batch in messages. The highest scores are those that
    `pickwise.select` finds, to the last bit. Lists and arrays are not copied; columns are, a block at a time. Needs
    pyarrow.

    Examples
    --------
    >>> import polars as pl
    >>> import pickwise as pw
    >>> frame = pl.DataFrame({"id": ["a", "b"], "probs": [[0.5, 0.5], [1.0, 0.0]]})
    >>> frame.with_columns(score=pw.polars.entropy("probs", base=2))["score"].to_list()
    [1.0, 0.0]
    >>> frame = pl.DataFrame({"p_cat": [0.5, 1.0, None], "p_dog": [0.5, 0.0, None]})
    >>> frame.select(pw.polars.entropy(pl.col("^p_.*$"), normalize=True)).to_series().to_list()
    [1.0, 0.0, None]
    """
    return expression(
        scores.entropy,
        columns,
        invalid,
        task=task,
        how=how,
        base=base,
        normalize=normalize,
        from_logits=from_logits,
        temperature=temperature,
    )


def margin(
    *columns: Columns,
    from_logits: bool = False,
    temperature: float = 1.0,
    task: Task = "multiclass",
    how: How = "mean",
    invalid: Invalid = "raise",
) -> pl.Expr:
    """One minus the lead of the most probable class over the second, as `pickwise.margin`.

    Parameters
    ----------
    *columns : str, Expr or selector
        As in `entropy`.
    from_logits, temperature, task, how
        As in `pickwise.margin`.
    invalid : {"raise", "null"}
        As in `entropy`.

    Returns
    -------
    Expr
        Of Float64, from 0 to 1.

    Raises
    ------
    TypeError, ValueError
        As `entropy` does.

    Examples
    --------
    >>> import polars as pl
    >>> import pickwise as pw
    >>> frame = pl.DataFrame({"id": ["a", "b"], "probs": [[0.25, 0.75], [0.5, 0.5]]})
    >>> frame.filter(pw.polars.margin("probs") > 0.75)["id"].to_list()
    ['b']
    """
    return expression(
        scores.margin, columns, invalid, task=task, how=how, from_logits=from_logits, temperature=temperature
    )


def least_confidence(
    *columns: Columns,
    from_logits: bool = False,
    temperature: float = 1.0,
    task: Task = "multiclass",
    how: How = "mean",
    invalid: Invalid = "raise",
) -> pl.Expr:
    """One minus the probability of the most probable class, as `pickwise.least_confidence`.

    Parameters
    ----------
    *columns : str, Expr or selector
        As in `entropy`.
    from_logits, temperature, task, how
        As in `pickwise.least_confidence`.
    invalid : {"raise", "null"}
        As in `entropy`.

    Returns
    -------
    Expr
        Of Float64, from 0 to 1.

    Raises
    ------
    TypeError, ValueError
        As `entropy` does.

    Examples
    --------
    >>> import polars as pl
    >>> import pickwise as pw
    >>> frame = pl.DataFrame({"id": ["a", "b"], "probs": [[0.25, 0.75], [0.5, 0.5]]})
    >>> frame.top_k(1, by=pw.polars.least_confidence("probs"))["id"].to_list()
    ['b']
    """
    return expression(
        scores.least_confidence, columns, invalid, task=task, how=how, from_logits=from_logits, temperature=temperature
    )


def ratio(
    *columns: Columns,
    from_logits: bool = False,
    temperature: float = 1.0,
    task: Task = "multiclass",
    how: How = "mean",
    invalid: Invalid = "raise",
) -> pl.Expr:
    """Probability of the second class over that of the most probable, as `pickwise.ratio`.

    Parameters
    ----------
    *columns : str, Expr or selector
        As in `entropy`.
    from_logits, temperature, task, how
        As in `pickwise.ratio`.
    invalid : {"raise", "null"}
        As in `entropy`.

    Returns
    -------
    Expr
        Of Float64, from 0 to 1.

    Raises
    ------
    TypeError, ValueError
        As `entropy` does.

    Examples
    --------
    >>> import polars as pl
    >>> import pickwise as pw
    >>> frame = pl.DataFrame({"p": [0.5, 0.8, 0.2]})  # P(y=1)
    >>> frame.select(pw.polars.ratio("p")).to_series().round(6).to_list()
    [1.0, 0.25, 0.25]
    """
    return expression(
        scores.ratio, columns, invalid, task=task, how=how, from_logits=from_logits, temperature=temperature
    )


def max_loss(
    *columns: Columns, from_logits: bool = False, temperature: float = 1.0, invalid: Invalid = "raise"
) -> pl.Expr:
    """Loss of a row if its most probable label is the only one it has, as `pickwise.max_loss`.

    Parameters
    ----------
    *columns : str, Expr or selector
        One column of lists or arrays of floats, the probability of each label by itself; or two columns of floats or
        more, one for each label.
    from_logits, temperature
        As in `pickwise.max_loss`.
    invalid : {"raise", "null"}
        As in `entropy`.

    Returns
    -------
    Expr
        Of Float64, from 0 to 2 * labels - 2 (to 2 for one label).

    Raises
    ------
    TypeError, ValueError
        As `entropy` does.

    Examples
    --------
    >>> import polars as pl
    >>> import pickwise as pw
    >>> frame = pl.DataFrame({"labels": [[1.0, 0.0, 0.0], [0.75, 0.75, 0.0]]})
    >>> frame.select(pw.polars.max_loss("labels")).to_series().to_list()
    [0.0, 2.0]
    """
    return expression(
        multilabel.max_loss, columns, invalid, form="labels", from_logits=from_logits, temperature=temperature
    )


def mean_max_loss(
    *columns: Columns, from_logits: bool = False, temperature: float = 1.0, invalid: Invalid = "raise"
) -> pl.Expr:
    """Mean loss of a row over the labels that are predicted, as `pickwise.mean_max_loss`.

    Parameters
    ----------
    *columns : str, Expr or selector
        As in `max_loss`.
    from_logits, temperature
        As in `pickwise.mean_max_loss`.
    invalid : {"raise", "null"}
        As in `entropy`.

    Returns
    -------
    Expr
        Of Float64, from 0 to 2 * labels - 2 (to 2 for one label).

    Raises
    ------
    TypeError, ValueError
        As `entropy` does.

    Examples
    --------
    >>> import polars as pl
    >>> import pickwise as pw
    >>> frame = pl.DataFrame({"labels": [[1.0, 0.0, 0.0], [1.0, 0.75, 0.0]]})
    >>> frame.select(pw.polars.mean_max_loss("labels")).to_series().to_list()
    [0.0, 2.0]
    """
    return expression(
        multilabel.mean_max_loss, columns, invalid, form="labels", from_logits=from_logits, temperature=temperature
    )


def mmc(
    *columns: Columns,
    counts: str | pl.Expr | None = None,
    from_logits: bool = False,
    temperature: float = 1.0,
    invalid: Invalid = "raise",
) -> pl.Expr:
    """Loss of a row if its `counts` most probable labels are the ones it has, as `pickwise.mmc`.

    Parameters
    ----------
    *columns : str, Expr or selector
        As in `max_loss`.
    counts : str or Expr, optional
        A column of integers: how many labels each row has.
    from_logits, temperature
        As in `pickwise.mmc`.
    invalid : {"raise", "null"}
        As in `entropy`. Counts out of range are always refused.

    Returns
    -------
    Expr
        Of Float64, from 0 to labels; without `counts` to labels / 2.

    Raises
    ------
    TypeError, ValueError
        As `entropy` does, and for counts that are no integers or out of range.

    Examples
    --------
    >>> import polars as pl
    >>> import pickwise as pw
    >>> frame = pl.DataFrame({"labels": [[0.75, 0.5, 0.25], [1.0, 1.0, 0.0]], "count": [1, 1]})
    >>> frame.select(pw.polars.mmc("labels", counts="count")).to_series().to_list()
    [1.0, 1.0]
    """
    return expression(
        multilabel.mmc, columns, invalid, form="labels", counts=counts, from_logits=from_logits, temperature=temperature
    )


def bald(*columns: Columns, from_logits: bool = False, temperature: float = 1.0, invalid: Invalid = "raise") -> pl.Expr:
    """Mutual information of label and model, as `pickwise.bald`.

    Parameters
    ----------
    *columns : str, Expr or selector
        One column of lists or arrays of floats for each member of the committee. Where a member has a column for each
        class, ``pl.concat_list`` makes one of them.
    from_logits, temperature
        As in `pickwise.bald`.
    invalid : {"raise", "null"}
        As in `entropy`.

    Returns
    -------
    Expr
        Of Float64, in nats, from 0 to ln classes. A row in which a member is null scores null.

    Raises
    ------
    TypeError, ValueError
        As `entropy` does, and for members that differ in their classes.

    Examples
    --------
    >>> import polars as pl
    >>> import pickwise as pw
    >>> frame = pl.DataFrame({"one": [[1.0, 0.0], [0.5, 0.5]], "two": [[0.0, 1.0], [0.5, 0.5]]})
    >>> frame.select(pw.polars.bald("one", "two")).to_series().round(4).to_list()
    [0.6931, 0.0]
    """
    return expression(
        committee.bald, columns, invalid, form="members", from_logits=from_logits, temperature=temperature
    )


def consensus_kl(
    *columns: Columns, from_logits: bool = False, temperature: float = 1.0, invalid: Invalid = "raise"
) -> pl.Expr:
    """Mean Kullback-Leibler divergence of the members from their mean, as `pickwise.consensus_kl`.

    The same number as `bald`, and the same arguments.

    Examples
    --------
    >>> import polars as pl
    >>> import pickwise as pw
    >>> frame = pl.DataFrame({"one": [[0.3, 0.7], [0.2, 0.8]], "two": [[0.4, 0.6], [0.5, 0.5]]})
    >>> frame.select(pw.polars.consensus_kl("one", "two")).to_series().round(6).to_list()
    [0.005509, 0.050672]
    """
    return expression(
        committee.consensus_kl,
        columns,
        invalid,
        form="members",
        from_logits=from_logits,
        temperature=temperature,
    )


def predictive_entropy(
    *columns: Columns, from_logits: bool = False, temperature: float = 1.0, invalid: Invalid = "raise"
) -> pl.Expr:
    """Entropy of the mean prediction of a committee, as `pickwise.predictive_entropy`.

    Takes the arguments of `bald`.

    Examples
    --------
    >>> import polars as pl
    >>> import pickwise as pw
    >>> frame = pl.DataFrame({"one": [[1.0, 0.0], [0.5, 0.5]], "two": [[0.0, 1.0], [0.5, 0.5]]})
    >>> frame.select(pw.polars.predictive_entropy("one", "two")).to_series().round(4).to_list()
    [0.6931, 0.6931]
    """
    return expression(
        committee.predictive_entropy, columns, invalid, form="members", from_logits=from_logits, temperature=temperature
    )


def expected_entropy(
    *columns: Columns, from_logits: bool = False, temperature: float = 1.0, invalid: Invalid = "raise"
) -> pl.Expr:
    """Mean entropy of the members of a committee, as `pickwise.expected_entropy`.

    Takes the arguments of `bald`.

    Examples
    --------
    >>> import polars as pl
    >>> import pickwise as pw
    >>> frame = pl.DataFrame({"one": [[1.0, 0.0], [0.5, 0.5]], "two": [[0.0, 1.0], [0.5, 0.5]]})
    >>> frame.select(pw.polars.expected_entropy("one", "two")).to_series().round(4).to_list()
    [0.0, 0.6931]
    """
    return expression(
        committee.expected_entropy, columns, invalid, form="members", from_logits=from_logits, temperature=temperature
    )


def vote_entropy(*columns: Columns, from_logits: bool = False, invalid: Invalid = "raise") -> pl.Expr:
    """Entropy of the votes of a committee, as `pickwise.vote_entropy`.

    Parameters
    ----------
    *columns : str, Expr or selector
        For each member a column of votes, integers from 0 to 2**32 - 1, or one of probabilities as in `bald`.
    from_logits : bool
        As in `pickwise.vote_entropy`.
    invalid : {"raise", "null"}
        As in `entropy`. Votes out of range are always refused.

    Returns
    -------
    Expr
        Of Float64, in nats, from 0 to ln members.

    Raises
    ------
    TypeError, ValueError
        As `bald` does, and for votes out of range.

    Examples
    --------
    >>> import polars as pl
    >>> import pickwise as pw
    >>> frame = pl.DataFrame({"one": [0, 0, 2], "two": [1, 0, 2], "three": [2, 1, 2]})
    >>> frame.select(pw.polars.vote_entropy("one", "two", "three")).to_series().round(4).to_list()
    [1.0986, 0.6365, 0.0]
    """
    return expression(committee.vote_entropy, columns, invalid, form="votes", from_logits=from_logits)


def variation_ratios(*columns: Columns, from_logits: bool = False, invalid: Invalid = "raise") -> pl.Expr:
    """Share of the members that do not vote for the winner, as `pickwise.variation_ratios`.

    Takes the arguments of `vote_entropy`.

    Examples
    --------
    >>> import polars as pl
    >>> import pickwise as pw
    >>> frame = pl.DataFrame({"one": [0, 0, 2], "two": [1, 0, 2], "three": [2, 1, 2]})
    >>> frame.select(pw.polars.variation_ratios("one", "two", "three")).to_series().round(4).to_list()
    [0.6667, 0.3333, 0.0]
    """
    return expression(committee.variation_ratios, columns, invalid, form="votes", from_logits=from_logits)
