"""Models of the loop: anything with ``fit`` and ``predict_proba``, plain functions, or none at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pickwise.loop.models.base import TASKS, Class, LoopModel, Model, Task
from pickwise.loop.models.estimators import built, imported
from pickwise.loop.models.external import ExternalModel
from pickwise.loop.models.functions import FunctionModel
from pickwise.loop.models.sklearn import Calibrate, How, SklearnModel

__all__ = [
    "TASKS",
    "Calibrate",
    "Class",
    "ExternalModel",
    "FunctionModel",
    "How",
    "LoopModel",
    "Model",
    "SklearnModel",
    "Task",
    "as_loop_model",
    "from_description",
]


def as_loop_model(
    model: Any,
    task: Task = "multiclass",
    *,
    parameters: Mapping[str, Any] | None = None,
    how: How = "refit",
    calibrate: Calibrate | None = None,
) -> LoopModel:
    """Make a model of the loop of whatever there is.

    Parameters
    ----------
    model : object
        - an estimator or Pipeline, of scikit-learn or like it, or any object with ``fit`` and ``predict_proba``;
        - the dotted name of a class of estimators, such as ``"sklearn.linear_model.LogisticRegression"``;
        - a mapping of functions by name, as `FunctionModel` takes them, or a description as `from_description` does;
        - None: it is trained elsewhere, and its predictions are handed over (`ExternalModel`);
        - a `LoopModel`, which is returned as it is.
    task : {"multiclass", "multilabel", "regression"}
        What is predicted.
    parameters : mapping, optional
        With a dotted name: what the class is called with.
    how : {"refit", "partial_fit"}
        For estimators; see `SklearnModel`.
    calibrate : {"sigmoid", "isotonic", "temperature"}, optional
        For estimators; see `SklearnModel`.

    Returns
    -------
    LoopModel

    Raises
    ------
    TypeError
        For anything else, and for what has not the methods that the task needs.
    ValueError
        For options of another kind of model, and for a `LoopModel` of another task.
    ImportError
        For a dotted name in a module that is not installed.

    Examples
    --------
    >>> as_loop_model("sklearn.naive_bayes.GaussianNB")
    SklearnModel(GaussianNB, task='multiclass')
    >>> as_loop_model(None).trains
    False
    """
    if parameters is not None and not isinstance(model, str):
        raise ValueError(f"parameters: expected them with the dotted name of a class, got them with {model!r}")
    if isinstance(model, str):
        model = imported(model, parameters or {})
    elif isinstance(model, Mapping) and "estimator" in model:
        description = {"how": how, "calibrate": calibrate, **model, "task": task}
        return from_description(description)
    if not isinstance(model, (LoopModel, Mapping)) and model is not None:
        return SklearnModel(model, how, calibrate, task=task)
    if how != "refit" or calibrate is not None:
        raise ValueError(f"model: expected an estimator with how={how!r} and calibrate={calibrate!r}, got {model!r}")
    if model is None:
        return ExternalModel(task)
    if isinstance(model, Mapping):
        return FunctionModel(**{**model, "task": task})
    assert isinstance(model, LoopModel)  # noqa: S101 - nothing else is left
    if model.task != task:
        raise ValueError(f"model: expected one with task={task!r}, got {model!r}")
    return model


def from_description(description: Mapping[str, Any]) -> LoopModel:
    """Make a model, not fitted, of what a file of settings or `LoopModel.describe` says.

    Parameters
    ----------
    description : mapping
        ``estimator``, the dotted name of a class, and its ``parameters``, in which such a mapping stands for another
        estimator; ``how``, ``calibrate`` and ``task``. Or ``kind="external"``. Modules that it names are imported: do
        not take it from where you would take no code.

    Returns
    -------
    LoopModel

    Raises
    ------
    ValueError
        For a name that is not of a class with ``fit``, and for parameters that were written for people only.
    TypeError
        For parameters that the class does not have.
    ImportError
        For a module that is not installed.

    Examples
    --------
    >>> settings = {"estimator": "sklearn.linear_model.LogisticRegression", "parameters": {"C": 0.5}}
    >>> from_description(settings).estimator
    LogisticRegression(C=0.5)
    """
    task = description.get("task", "multiclass")
    if description.get("kind") == "external":
        return ExternalModel(task)
    if "estimator" not in description:
        raise ValueError(f"model: expected a description with the dotted name of an estimator, got {dict(description)}")
    estimator = built({key: description[key] for key in ("estimator", "parameters") if key in description})
    how, calibrate = description.get("how", "refit"), description.get("calibrate")
    return SklearnModel(estimator, how, calibrate, task=task)
