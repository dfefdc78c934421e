"""A project: rounds over a pool, a model and annotators, that go on where they were, whatever ends the process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from pickwise.loop import answering, changing, driving, seeding, training
from pickwise.loop.driving import last_round
from pickwise.loop.history import Round, State
from pickwise.loop.hooks import run_hooks
from pickwise.loop.joined import JoinedProject
from pickwise.loop.making import Objects, join, make, reopen
from pickwise.loop.models.external import ExternalModel
from pickwise.loop.store import set_fact
from pickwise.options import as_count

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence
    from contextlib import ExitStack

    from pickwise.annotators.base import Annotator, RowId, Task
    from pickwise.loop.context import Context
    from pickwise.loop.drift import Drift
    from pickwise.loop.hooks import Hook
    from pickwise.loop.ledger import Recorded
    from pickwise.loop.models.base import LoopModel
    from pickwise.loop.stopping import Criterion
    from pickwise.strategies import Strategy


class Project(JoinedProject):
    """An active-learning project in a folder; made by `create`, driven after `open`, looked at after `join`.

    Attributes
    ----------
    folder : Path

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> import pickwise as pw
    >>> from pickwise.annotators import SimulatedAnnotators
    >>> from sklearn.linear_model import LogisticRegression
    >>> x = np.random.default_rng(0).normal(size=(500, 4))
    >>> truth = np.where(x[:, 0] > 0, "spam", "ham")
    >>> folder = tempfile.TemporaryDirectory()
    >>> project = pw.Project.create(
    ...     folder.name + "/spam", x[:400], model=LogisticRegression(), annotator=SimulatedAnnotators(truth),
    ...     classes=["ham", "spam"], batch_size=20, evaluation=(x[400:], truth[400:]),
    ... )
    >>> project.run(rounds=4)
    '4 of 4 rounds are done'
    >>> project.status().labelled, project.history()[-1].metrics["accuracy"] > 0.9
    (80, True)
    >>> project.close(); folder.cleanup()
    """

    def __init__(self, context: Context, held: ExitStack, hooks: Sequence[Hook] = ()) -> None:
        super().__init__(context, held)
        self._hooks = list(hooks)

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        pool: Any = None,
        *,
        model: Any = None,
        annotator: Annotator | None = None,
        strategy: str | Strategy | None = None,
        initial_strategy: str | Strategy = "random",
        batch_size: int = 100,
        budget: int | None = None,
        until: Criterion | None = None,
        task: str = "multiclass",
        classes: Iterable[str | int] | None = None,
        ids: Any = None,
        id: str | None = None,  # noqa: A002 - as in select
        columns: Sequence[str] | None = None,
        embeddings: Any = None,
        evaluation: Any = None,
        overlap: int = 1,
        overlap_share: float = 1.0,
        merge: str | None = None,
        metric: str | None = None,
        seed: int = 0,
        drift_threshold: float = 0.25,
        drift_share: float = 0.3,
        database: str = "",
        hooks: Sequence[Hook] = (),
    ) -> Project:
        """Make a project in a folder that is not there yet, or is empty.

        Parameters
        ----------
        path : path
            The folder.
        pool : array_like, list of str, path or table, optional
            The rows: features, texts, or paths of images, in memory or in files. None where a model that is trained
            elsewhere hands over its predictions. Only a path is remembered; anything else is passed to `open` again.
        model : object, optional
            A scikit-learn-like estimator or Pipeline, a `FunctionModel`, or anything with ``fit`` and
            ``predict_proba``; the dotted name of an estimator or ``{"estimator": name, "parameters": {...}}``, which
            are remembered; None or an `ExternalModel` where predictions are handed over to `fit`.
        annotator : Annotator, optional
            Who answers. Without one `tasks` tells what is asked, and `record` takes the answers.
        strategy : str or Strategy
            What rows are selected by, "auto" by default ("margin" of several labels, "greedy_xy" in regression).
        initial_strategy : str or Strategy
            The same before a model has learnt anything.
        batch_size : int
            Rows that a round asks for.
        budget : int, optional
            Rows that may be asked for in all.
        until : Criterion, optional
            When to stop, such as ``Plateau() | Budget(2000)``.
        task : {"multiclass", "multilabel", "regression"}
        classes : iterable of str or int, optional
            Their names; labels of other names are refused. By default those of the labels that come.
        ids : array_like, optional
            Of a pool in memory, one for each row; positions by default.
        id, columns : optional
            Of a pool that is a table: the column of ids, which it needs, and the features, all others by default.
        embeddings : array_like, path, or column, optional
            For strategies that go by them; by default those of a model with ``embed``, else a matrix of floats itself.
        evaluation : (X, y), optional
            Rows outside of the pool to measure models on; passed to `open` again. Rows of the pool are held out by
            `hold_out`.
        overlap, overlap_share : int and float
            Annotators who answer each row, and the share of rows that this holds for: one answers each of the others.
        merge : {"majority", "dawid_skene", "crowdlab"}, optional
            How their answers become one label; "majority", and the median in regression. "crowdlab" fits an estimator
            five times more for each state of the labels, as `label_quality` does.
        metric : str, optional
            What models are judged by: "accuracy", "macro_f1" or "log_loss"; "macro_f1", "micro_f1" or "accuracy" of
            several labels a row; "r2" or "mae".
        seed : int
            Of all that is drawn.
        drift_threshold, drift_share : float
            How much a new pool may differ from the one before (PSI), and which share of the next round goes to the rows
            that are far from all labelled ones where it differs more.
        database : str
            A PostgreSQL URL without a password, such as "postgresql+psycopg://host/name"; by default a file of SQLite.
        hooks : sequence of callable
            Called with the project and the round when a round has ended.

        Returns
        -------
        Project
            Which drives the project until it is closed.

        Raises
        ------
        FileExistsError
            If there is something in the folder.
        TypeError, ValueError
            For arguments that make no sense.
        """
        told = {
            "task": task,
            "classes": classes,
            "id": id,
            "columns": columns,
            "strategy": strategy,
            "initial_strategy": initial_strategy,
            "batch_size": batch_size,
            "budget": budget,
            "until": until,
            "overlap": overlap,
            "overlap_share": overlap_share,
            "merge": merge,
            "metric": metric,
            "seed": seed,
            "drift_threshold": drift_threshold,
            "drift_share": drift_share,
            "database": database,
        }
        objects = Objects(pool, model, annotator, ids, embeddings, evaluation)
        return cls(*make(path, objects, told), hooks=hooks)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        pool: Any = None,
        *,
        model: Any = None,
        annotator: Annotator | None = None,
        ids: Any = None,
        embeddings: Any = None,
        evaluation: Any = None,
        hooks: Sequence[Hook] = (),
    ) -> Project:
        """Go on with a project, from wherever its last process has left it.

        Parameters
        ----------
        path : path
            The folder.
        pool, model, annotator, ids, embeddings, evaluation, hooks
            As in `create`; what was a path or a name there is remembered.

        Returns
        -------
        Project
            Which drives the project until it is closed.

        Raises
        ------
        FileNotFoundError
            If there is no project.
        BlockingIOError
            If another process drives it.
        ValueError
            If the pool is another one than before, or the database is of a newer version.
        """
        return cls(*reopen(path, Objects(pool, model, annotator, ids, embeddings, evaluation)), hooks=hooks)

    @staticmethod
    def join(path: str | os.PathLike[str]) -> JoinedProject:
        """Look at a project, and record labels, whoever drives it meanwhile.

        Parameters
        ----------
        path : path
            The folder.

        Returns
        -------
        JoinedProject
            With `status`, `history`, `labels`, `tasks`, `record`, `export` and `report`.
        """
        return JoinedProject(*join(path))

    @property
    def model(self) -> LoopModel | None:
        """The model, as it is in memory."""
        return self._context.model

    def seed(self, labels: Any) -> Recorded:
        """Record labels that are there already.

        Parameters
        ----------
        labels : mapping or (ids, labels)
            The label of each row, by its id. A pandas Series is a mapping.

        Returns
        -------
        Recorded

        Raises
        ------
        ValueError, TypeError
            For a row that is not in the pool, is held out or has two labels, and for what is no label; then nothing is
            recorded.
        """
        return seeding.seed(self._context, labels, held_out=False)

    def hold_out(self, labels: Any) -> Recorded:
        """Record labels of rows that models are measured on; they are never asked for, and no model learns from them.

        Parameters
        ----------
        labels : mapping or (ids, labels)

        Raises
        ------
        ValueError
            For rows that were asked for or labelled, which models have learnt from.
        """
        return seeding.seed(self._context, labels, held_out=True)

    def ask(self, k: int | None = None) -> list[Task]:
        """Begin a round: choose rows, and ask the annotator for their labels.

        Parameters
        ----------
        k : int, optional
            How many, the batch size by default; fewer where the budget or the pool ends.

        Returns
        -------
        list of Task
            Best first; empty where there is nothing left to ask for. If a process was killed while it asked, it is
            what that one had chosen.

        Raises
        ------
        RuntimeError
            If the round before is still open.
        """
        context, last = self._context, last_round(self._context)
        if last is not None and last.state is State.planned:
            return driving.push(context, last.number)
        driving.refuse_open(last)
        wanted = context.settings.batch_size if k is None else as_count(k, "k", least=1)
        left = self.status().budget_left
        room = wanted if left is None else min(wanted, left)
        return driving.begin(context, room) if room else []

    def relabel(self, ids: Iterable[RowId] | int) -> list[Task]:
        """Begin a round that asks again for rows that have labels.

        Parameters
        ----------
        ids : iterable of int or str, or int
            The rows; or how many of those whose labels are the least certain (ActiveLab), by the same models as
            `label_quality`.

        Returns
        -------
        list of Task
        """
        driving.refuse_open(last_round(self._context))
        return driving.begin_again(self._context, ids)

    def label_quality(self) -> dict[RowId, float]:
        """Return how probable the model finds the label of each row, 0 to 1; the lowest are the likeliest mistakes.

        It is the self-confidence of confident learning (Northcutt, Jiang & Chuang, 2021). A model agrees with what it
        has learnt; so an estimator is fitted five times more, each time to four fifths of the labels, and the others
        are predicted. It is done once for the same labels. Functions, predictions that are handed over, and models that
        raise where they learn from fewer rows are taken as they are.

        Returns
        -------
        dict of int or str to float

        Raises
        ------
        ValueError
            Where no model of single classes has learnt yet.
        """
        return training.qualities(self._context)

    def collect(self) -> Recorded:
        """Fetch the answers of the annotator, and close the round if it has them all.

        Returns
        -------
        Recorded
        """
        context = self._context
        if context.annotator is not None and not context.annotator.remembers:
            context.annotator.push(self.tasks())
        done = answering.collect(context)
        last = last_round(context)
        if last is not None and last.state.awaits_answers and last.answered >= last.asked:
            driving.close(context)
        return done

    def close_round(self) -> Round:
        """Wait for no more answers, and write the files of the round.

        Returns
        -------
        Round
        """
        driving.close(self._context)
        return self.history()[-1]

    def fit(self, predictions: Any = None) -> Round:
        """Let the model learn from all labels, measure it, and keep it.

        Parameters
        ----------
        predictions : path, array_like or table, optional
            Of a model that is trained elsewhere: what it predicts for the pool now. It may come before all labels.

        Returns
        -------
        Round
            The last one, with what was measured.
        """
        context = self._context
        if predictions is not None:
            if not isinstance(context.model, ExternalModel):
                raise TypeError("predictions: expected None with a model that is trained here")
            context.model.hand_over(predictions)
            if last_round(context) is None:
                seeding.begin(context)
        last = last_round(context, State.closed, State.trained)
        if last is None:
            raise RuntimeError(
                "fit: expected labels, got none; seed() records those that you have, ask() asks for some"
            )
        training.learn(context, last.number)
        ended = next(each for each in self.history() if each.number == last.number)
        if self._hooks:
            run_hooks(self._hooks, self, ended)
        return ended

    def evaluate(self) -> dict[str, float]:
        """Measure the model on the rows that are held out for it.

        Returns
        -------
        dict of str to float
            Empty where there are none.
        """
        return training.measure(self._context).metrics

    def step(self) -> Round | None:
        """Do what comes next: ask, collect, and learn.

        Returns
        -------
        Round or None
            The round that has ended; None where answers are still waited for, or there is nothing left to ask for.
        """
        context, last = self._context, last_round(self._context)
        if last is None or last.state in (State.trained, State.planned):
            if not self.ask():
                return None
            last = last_round(context)
        if last is not None and last.state.awaits_answers:
            self.collect()
            last = last_round(context)
        return self.fit() if last is not None and last.state is State.closed else None

    def run(self, rounds: int | None = None, until: Criterion | None = None, *, every: float | None = None) -> str:
        """Go on until there is a reason to stop.

        Parameters
        ----------
        rounds : int, optional
            Rounds of the project in all, those that are done already included.
        until : Criterion, optional
            When to stop, beside what `create` was told.
        every : float, optional
            Where answers are waited for: seconds after which it looks for more, again and again. An annotator that is
            not reached then is tried again, with a warning. By default `run` returns.

        Returns
        -------
        str
            Why it has stopped: a criterion, the end of the pool, or answers that are waited for.
        """
        limits, criteria = driving.reasons(self.settings, rounds, until)
        step = self.step if every is None else driving.patient(self._context, self.step, every)
        began = time.monotonic()
        while (why := driving.reason_to_stop(self._context, limits, criteria, time.monotonic() - began)) is None:
            if step() is None:
                left = self.status().open
                if left:
                    return f"{left} rows have no answer yet"
                why = "no row is left to ask for"
                break
        with self._context.store.write() as connection:
            set_fact(connection, "stopped", why)
        return why

    def replace_pool(self, pool: Any, *, ids: Any = None, embeddings: Any = None) -> Drift | None:
        """Take another pool, or more of the same, and compare it with the one before.

        Labelled rows that are no longer in it are kept, so that models go on learning from them. Where it differs much
        a share of the next round goes to the rows that are far from all labelled ones, and `run` begins again.

        Parameters
        ----------
        pool, ids, embeddings
            As in `create`. Rows that were labelled have the ids that they had.

        Returns
        -------
        Drift or None
            None where no model has learnt yet.

        Raises
        ------
        RuntimeError
            If answers of a round are waited for.
        TypeError, ValueError
            If ids are of another type, or rows that are known by their positions would be others.
        """
        driving.refuse_open(last_round(self._context))
        return changing.replace_pool(self._context, pool, ids=ids, embeddings=embeddings)

    def promote(self, number: int | None = None) -> str:
        """Deploy the model of a round: `deployed.json` names it from now on.

        Parameters
        ----------
        number : int, optional
            The round; that of the best model by default.

        Returns
        -------
        str
            The name of the model.
        """
        return training.promote(self._context, number)

    def rollback(self) -> str:
        """Deploy the model again that was deployed before this one, and return its name."""
        return self._context.models.rollback()
