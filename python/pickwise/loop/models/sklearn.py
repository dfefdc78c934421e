# ruff: noqa: N803, N806 - X and y are what scikit-learn calls them
"""Models of scikit-learn, and of all that look like them: Pipelines, XGBoost, LightGBM, skorch."""

from __future__ import annotations

import copy
import inspect
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import numpy as np

from pickwise.arrays import row_count
from pickwise.loop.models.base import (
    Class,
    LoopModel,
    Task,
    noting,
    read_state,
    write_state,
)
from pickwise.loop.models.estimators import (
    LightGBM,
    described_estimator,
    read_estimator,
    unfitted,
    versions,
    write_estimator,
)
from pickwise.options import one_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

How: TypeAlias = Literal["refit", "partial_fit"]
Calibrate: TypeAlias = Literal["sigmoid", "isotonic", "temperature"]

# With more folds than these a model is fitted more often, and hardly calibrated better.
_FOLDS = 5


class SklearnModel(LoopModel):
    """A model with ``fit`` and ``predict_proba``, in regression ``predict``, as those of scikit-learn.

    Parameters
    ----------
    estimator : object
        An estimator or Pipeline. It is cloned, never fitted itself, and gets the classes as numbers, 0 to classes - 1;
        the keys of a ``class_weight`` are the names of classes, and are numbered too.
    how : {"refit", "partial_fit"}
        By which method it learns. Either begins anew with all labels, so that a label that was corrected is forgotten,
        and a project that was killed comes to the same model. ``partial_fit`` is one pass over the rows, and can be
        told of classes that have no label yet, those of `set_classes`.
    calibrate : {"sigmoid", "isotonic", "temperature"}, optional
        How to make probabilities of what the model returns, by cross-validation in up to 5 folds
        (`sklearn.calibration.CalibratedClassifierCV`). With fewer than two labels of some class it is left out, and
        `describe` says so. "temperature" needs scikit-learn 1.8.
    task : {"multiclass", "multilabel", "regression"}
        What is predicted.

    Attributes
    ----------
    estimator_ : object
        The estimator that is fitted.

    Raises
    ------
    TypeError
        For what has not the methods that the task needs.
    ValueError
        For options that do not go together.

    References
    ----------
    J. Platt (1999). Probabilistic outputs for support vector machines.
    B. Zadrozny and C. Elkan (2002). Transforming classifier scores into accurate multiclass probability estimates.
    C. Guo, G. Pleiss, Y. Sun and K. Weinberger (2017). On calibration of modern neural networks.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> model = SklearnModel(LogisticRegression())
    >>> model.fit([[0.0], [1.0], [0.1], [0.9]], ["cat", "dog", "cat", "dog"]).classes_
    array(['cat', 'dog'], dtype=object)
    >>> model.predict([[0.0], [1.0]])
    array(['cat', 'dog'], dtype=object)
    """

    kind: ClassVar[str] = "sklearn"

    def __init__(
        self,
        estimator: Any,
        how: How = "refit",
        calibrate: Calibrate | None = None,
        *,
        task: Task = "multiclass",
    ) -> None:
        super().__init__(task)
        self.name = _name(estimator)
        self.how = one_of(how, "how", ("refit", "partial_fit"))
        self.calibrate = calibrate and one_of(calibrate, "calibrate", ("sigmoid", "isotonic", "temperature"))
        self.estimator = estimator
        self._estimator: Any = None
        self._calibrated = False
        self._calibration: str | None = None
        self._refuse_what_does_not_fit()

    @property
    def estimator_(self) -> Any:
        """The estimator that is fitted."""
        self._fitted_classes()
        return self._estimator

    @property
    def can_embed(self) -> bool:
        """Whether the estimator has ``embed``."""
        return callable(getattr(self.estimator, "embed", None))

    @property
    def can_committee(self) -> bool:
        """Whether the estimator has ``predict_committee``, or is a forest, a bagging or a voting one."""
        return callable(getattr(self.estimator, "predict_committee", None)) or _is_committee(self.estimator, self.task)

    @property
    def needed_of_each_class(self) -> int:
        """Calibration takes two."""
        return 1 if self.calibrate is None else 2

    def fresh(self, seed: int) -> SklearnModel:
        """Clone the estimator, and seed what draws at random and has no ``random_state``."""
        estimator, model = _clone(self.estimator), copy.copy(self)
        _set_seeds(estimator, seed)
        vars(model).update(estimator=estimator, _estimator=None, _classes=None)
        return model

    def save(self, folder: Path) -> bool:
        """Write the estimator: by its own ``save``, in the format of XGBoost or LightGBM, or with skops."""
        estimator = self.estimator_
        with noting(f"{self.name} was being saved"):
            if _saves_itself(estimator):
                estimator.save(folder)
                state: dict[str, Any] | None = {"format": "its own"}
            else:
                state = write_estimator(estimator, folder)
        if state is None:
            return False
        more = {"calibrated": self._calibrated, "calibration": self._calibration}
        write_state(folder, classes=self._fitted_classes(), **more, **state)
        return True

    def load(self, folder: Path, *, trusted: Sequence[str] = ()) -> None:
        """Read the estimator that `save` wrote.

        Parameters
        ----------
        folder : Path
        trusted : sequence of str
            Types that a skops file may hold beside those that skops trusts.

        Raises
        ------
        ValueError
            For types that are not trusted, and what is no saved model.
        """
        state = read_state(folder)
        if state["format"] == "its own":
            estimator = self._fresh()
            if not _saves_itself(estimator):
                raise ValueError(f"model: expected one with its own load, as what was saved there has, got {self.name}")
            with noting(f"{self.name} was being loaded"):
                estimator.load(folder)
        else:
            estimator = read_estimator(folder, state, trusted)
        self._take(estimator, state)

    @classmethod
    def restore(cls, folder: Path, description: Mapping[str, Any], trusted: Sequence[str] = ()) -> LoopModel:
        """Make a model of what `save` and `describe` wrote; nothing is imported that the description names."""
        state = read_state(folder)
        if state["format"] == "its own":
            return super().restore(folder, description, trusted)
        fitted = read_estimator(folder, state, trusted)
        template = unfitted(state) if isinstance(fitted, LightGBM) else _clone(fitted)
        if state["calibrated"]:
            template = template.estimator
        # Back from the codes that the fitted one has.
        _rename_weights(template, dict(enumerate(state["classes"])))
        model = cls(template, description["how"], description["calibrate"], task=description["task"])
        model._take(fitted, state)
        return model

    @property
    def _has_all_classes(self) -> bool:
        return self.how == "partial_fit"

    def _fit(self, X: Any, y: NDArray[Any], classes: list[Class]) -> None:
        estimator = self._fresh(classes)
        if self.how == "partial_fit":
            takes_classes = "classes" in inspect.signature(estimator.partial_fit).parameters
            estimator.partial_fit(X, y, **({"classes": np.arange(len(classes))} if takes_classes else {}))
            self._estimator = estimator
            return
        folds, calibration = self._plan_calibration(y, classes)
        if folds is not None:
            from sklearn.calibration import CalibratedClassifierCV

            # Not an ensemble of folds: labels are few, and the model shall have learnt from all of them.
            estimator = CalibratedClassifierCV(estimator, method=self.calibrate, cv=folds, ensemble=False)
        estimator.fit(X, y)
        self._estimator, self._calibrated, self._calibration = estimator, folds is not None, calibration

    def _plan_calibration(self, y: NDArray[Any], classes: list[Class]) -> tuple[int | None, str | None]:
        """Choose the number of folds, None if there are not enough labels, and word it."""
        if self.calibrate is None:
            return None, None
        counts = np.bincount(y, minlength=len(classes))
        fewest = int(counts.min())
        if fewest >= 2:
            folds = min(_FOLDS, fewest)
            return folds, f"{self.calibrate}, in {folds} folds"
        lacking = f"{fewest} of {classes[int(counts.argmin())]!r}"
        if not hasattr(self.estimator, "predict_proba"):
            raise ValueError(
                f"labels: expected at least two of each class, as {self.name} has probabilities only by calibration, "
                f"got {lacking}"
            )
        return None, f"none: two labels of each class are needed, and there is {lacking}"

    def _predict_proba(self, X: Any) -> Any:
        found = self._estimator.predict_proba(X)
        return _of_labels(found, self._estimator) if self.task == "multilabel" else found

    def _predict(self, X: Any) -> Any:
        return self._estimator.predict(X)

    def _embed(self, X: Any) -> Any:
        return self._estimator.embed(X)

    def _predict_committee(self, X: Any) -> Any:
        ensemble = self._estimator
        if callable(getattr(ensemble, "predict_committee", None)):
            return ensemble.predict_committee(X)
        if self._calibrated:
            ensemble = ensemble.calibrated_classifiers_[0].estimator
        if hasattr(ensemble, "steps"):
            X, ensemble = ensemble[:-1].transform(X), ensemble[-1]
        members, parts = ensemble.estimators_, _for_members(X, ensemble)
        if self.task == "regression":
            return np.stack([member.predict(part) for member, part in zip(members, parts, strict=True)])
        if self.task == "multilabel":
            return np.stack(
                [_of_labels(member.predict_proba(part), member) for member, part in zip(members, parts, strict=True)]
            )
        out = np.zeros((len(members), row_count(X, "X"), len(self._fitted_classes())))
        for found, member, part in zip(out, members, parts, strict=True):
            # A member that was fitted to a sample may have missed a class.
            found[:, np.asarray(member.classes_, dtype=np.int64)] = member.predict_proba(part)
        return out

    def _describe(self) -> dict[str, Any]:
        description = described_estimator(self.estimator)
        return {
            **description,
            "repr": repr(self.estimator),
            "how": self.how,
            "calibrate": self.calibrate,
            "calibration": self._calibration,
            "versions": versions(description),
        }

    def _fresh(self, classes: list[Class] | None = None) -> Any:
        estimator = _clone(self.estimator)
        if self.task == "multiclass" and classes is not None:
            _rename_weights(estimator, {name: code for code, name in enumerate(classes)})
        return estimator

    def _take(self, estimator: Any, state: Mapping[str, Any]) -> None:
        self._estimator, self._classes = estimator, state["classes"]
        self._calibrated, self._calibration = state["calibrated"], state["calibration"]

    def _refuse_what_does_not_fit(self) -> None:
        estimator, has = self.estimator, partial(_has, self.estimator)
        if isinstance(estimator, type):
            raise TypeError(f"model: expected an instance, got the class {estimator.__name__}; call it")
        if self.calibrate is not None and (self.task != "multiclass" or self.how != "refit"):
            raise ValueError(
                f"calibrate: expected None with task={self.task!r} and how={self.how!r}, got {self.calibrate!r}; only "
                "one class of several can be calibrated, each time anew"
            )
        if self.how == "partial_fit" and self.task == "multilabel":
            raise ValueError("how: expected 'refit' with task='multilabel', got 'partial_fit'")
        learns = "fit" if self.how == "refit" else "partial_fit"
        if not has(learns):
            mend = "; how='refit' begins anew each time" if self.how == "partial_fit" else ""
            raise TypeError(f"model: expected {learns}, got {self.name}, which has none{mend}")
        needed = "predict" if self.task == "regression" else "predict_proba"
        if has(needed) or (has("decision_function") and self.calibrate is not None):
            return
        mend = ""
        if has("decision_function") and self.task == "multiclass":
            mend = ", only decision_function; calibrate='sigmoid' makes probabilities of it"
        elif has("predict") and not has("decision_function"):
            mend = "; for numbers say task='regression'"
        raise TypeError(f"model: expected {needed}, got {self.name}, which has none{mend}")


def _clone(estimator: Any) -> Any:
    if not hasattr(estimator, "get_params"):
        return copy.deepcopy(estimator)
    from sklearn.base import clone

    return clone(estimator)


def _rename_weights(estimator: Any, names: Mapping[Any, Any]) -> None:
    """Rename the classes in each ``class_weight``; those that are not there have none."""
    if not hasattr(estimator, "get_params"):
        return
    changed = {
        key: {names[name]: weight for name, weight in value.items() if name in names}
        for key, value in estimator.get_params().items()
        if key.rpartition("__")[2] == "class_weight" and isinstance(value, dict)
    }
    if changed:
        estimator.set_params(**changed)


def _set_seeds(estimator: Any, seed: int) -> None:
    """Set each ``random_state`` that is None."""
    if not hasattr(estimator, "get_params"):
        return
    unset = [
        name
        for name, value in estimator.get_params().items()
        if name.rpartition("__")[2] == "random_state" and value is None
    ]
    if unset:
        estimator.set_params(**dict.fromkeys(unset, seed))


def _is_committee(estimator: Any, task: Task) -> bool:
    """Tell ensembles whose members each predict the whole task; of others ``estimators_`` are something else."""
    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    if not type(last).__module__.startswith("sklearn.") and "sklearn.ensemble" not in sys.modules:
        return False
    from sklearn import ensemble

    if task == "regression":
        kinds = (ensemble.RandomForestRegressor, ensemble.ExtraTreesRegressor, ensemble.BaggingRegressor)
        return isinstance(last, (*kinds, ensemble.VotingRegressor))
    if isinstance(last, (ensemble.RandomForestClassifier, ensemble.ExtraTreesClassifier)):
        return True
    if task == "multilabel":
        return False
    if isinstance(last, ensemble.VotingClassifier):
        return all(_has(member, "predict_proba") for _, member in last.estimators if member != "drop")
    return isinstance(last, ensemble.BaggingClassifier) and (
        last.estimator is None or _has(last.estimator, "predict_proba")
    )


def _for_members(X: Any, ensemble: Any) -> list[Any]:
    """Make of the rows what each member was fitted with: scikit-learn's own validated array, or columns of it."""
    members = ensemble.estimators_
    if hasattr(ensemble, "named_estimators_"):  # voting passes rows on as they are
        return [X] * len(members)
    from sklearn.utils import check_array

    X = check_array(X, accept_sparse="csr", dtype=None, ensure_all_finite=False)
    every = np.arange(X.shape[1])
    columns = getattr(ensemble, "estimators_features_", [every] * len(members))
    return [X if np.array_equal(some, every) else X[:, some] for some in columns]


def _of_labels(found: Any, estimator: Any) -> Any:
    """Take *P(y=1)* of each label, where there is a matrix for each; that of a label never seen as 1 has one column."""
    if not isinstance(found, (list, tuple)) or np.ndim(found[0]) != 2:
        return found
    classes = getattr(estimator, "classes_", [np.array([0, 1])] * len(found))
    return np.stack(
        [p[:, list(c).index(1)] if 1 in c else np.zeros(len(p)) for p, c in zip(found, classes, strict=True)], axis=1
    )


def _has(thing: Any, method: str) -> bool:
    return callable(getattr(thing, method, None))


def _saves_itself(estimator: Any) -> bool:
    return _has(estimator, "save") and _has(estimator, "load")


def _name(estimator: Any) -> str:
    """Name a Pipeline by its last step."""
    if hasattr(estimator, "steps") and not isinstance(estimator, type):
        return f"{type(estimator).__name__} of {_name(estimator.steps[-1][1])}"
    return type(estimator).__name__
