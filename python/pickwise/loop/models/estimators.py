# ruff: noqa: N803 - X is what scikit-learn calls it
"""Estimators as JSON and as files: what one is made of, and formats that run no code when they are read."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from pickwise.loop.models.base import plain_scalar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# What calibration puts into a model: plain Python objects that hold numbers, an estimator and nothing else.
_HARMLESS = (
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.calibration._TemperatureScaling",
)

_SKOPS, _XGBOOST, _LIGHTGBM = "model.skops", "model.xgboost.json", "model.lightgbm.txt"


def described(value: Any) -> Any:
    """Write a parameter as JSON can hold it, so that `built` makes it again.

    What JSON has no word for is an object of one key: ``tuple``, ``items`` (of a dict), ``float`` (not finite),
    ``dtype``, ``estimator`` with its ``parameters``; or ``repr``, for people only.
    """
    match plain_scalar(value):
        case float(number) if not math.isfinite(number):
            found: Any = {"float": repr(number)}
        case None | bool() | int() | float() | str() as scalar:
            found = scalar
        case list(items):
            found = [described(item) for item in items]
        case tuple(items):
            found = {"tuple": [described(item) for item in items]}
        case dict(items):
            found = {"items": [[described(key), described(item)] for key, item in items.items()]}
        case type() as kind if issubclass(kind, np.generic):
            found = {"dtype": np.dtype(kind).name}
        case other if hasattr(other, "get_params") and not isinstance(other, type):
            found = described_estimator(other)
        case other:
            found = {"repr": repr(other)}
    return found


def described_estimator(estimator: Any) -> dict[str, Any]:
    """Write the dotted name and the parameters of an estimator."""
    kind = type(estimator)
    parameters = estimator.get_params(deep=False) if hasattr(estimator, "get_params") else {}
    return {
        "estimator": f"{kind.__module__}.{kind.__qualname__}",
        "parameters": {name: described(value) for name, value in parameters.items()},
    }


def built(value: Any) -> Any:
    """Make a parameter of what `described` wrote, or of what a person wrote into a file of settings.

    Raises
    ------
    ValueError
        For what was written for people only.
    """
    match value:
        case list(items):
            found: Any = [built(item) for item in items]
        case {"estimator": name}:
            found = imported(name, value.get("parameters", {}))
        case {"tuple": list(items), **rest} if not rest:
            found = tuple(built(item) for item in items)
        case {"items": list(items), **rest} if not rest:
            found = {built(key): built(item) for key, item in items}
        case {"float": str(number), **rest} if not rest:
            found = float(number)
        case {"dtype": str(dtype), **rest} if not rest:
            found = np.dtype(dtype).type
        case {"repr": text, **rest} if not rest:
            raise ValueError(f"parameters: expected what JSON or TOML can hold, got {text}; pass the estimator itself")
        case Mapping():
            found = {key: built(item) for key, item in value.items()}
        case scalar:
            found = scalar
    return found


def imported(name: str, parameters: Mapping[str, Any]) -> Any:
    """Make an estimator of its dotted name. Only a class with ``fit`` is called; its module is imported.

    Examples
    --------
    >>> imported("sklearn.linear_model.LogisticRegression", {"C": 0.5})
    LogisticRegression(C=0.5)
    """
    module, _, attribute = str(name).rpartition(".")
    expected = f"estimator: expected the dotted name of a class with fit, as 'sklearn.svm.SVC', got {name!r}"
    if not module:
        raise ValueError(expected)
    try:
        kind = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        library = module.partition(".")[0]
        mend = "; install it with pip install 'pickwise[loop]'" if library == "sklearn" else ""
        raise ImportError(f"estimator: {name!r} needs the module {error.name!r}{mend}") from error
    except AttributeError:
        raise ValueError(f"{expected}, which {module} does not have") from None
    if not isinstance(kind, type) or not callable(getattr(kind, "fit", None)):
        raise ValueError(f"{expected}, which is something else")  # noqa: TRY004 - as for any other name
    try:
        return kind(**{key: built(item) for key, item in parameters.items()})
    except TypeError as error:
        raise TypeError(f"parameters: expected those of {name}: {error}") from None


def versions(description: Any) -> dict[str, str]:
    """Find the versions of the libraries that a description names."""
    found: dict[str, str] = {}
    if isinstance(description, list):
        for item in description:
            found |= versions(item)
    elif isinstance(description, dict):
        for item in description.values():
            found |= versions(item)
        library = str(description.get("estimator", "")).partition(".")[0]
        version = getattr(sys.modules.get(library), "__version__", None)
        if version is not None:
            found[library] = str(version)
    return found


class LightGBM:
    """A booster of LightGBM that was read back: it is all that LightGBM's own format holds of a classifier.

    Parameters
    ----------
    booster : lightgbm.Booster
    state : mapping
        What it was read with.
    """

    def __init__(self, booster: Any, state: Mapping[str, Any]) -> None:
        self.booster_ = booster
        self.state = {name: state[name] for name in ("format", "class", "parameters")}

    def predict(self, X: Any) -> Any:
        """Predict numbers; of a classifier probabilities, of two classes *P(second)*."""
        return self.booster_.predict(X)

    predict_proba = predict


def untrusted_types(folder: Path) -> list[str]:
    """List the types in a saved model that have to be named as trusted for it to be loaded."""
    file = folder / _SKOPS
    return _untrusted(file.read_bytes()) if file.exists() else []


def write_estimator(estimator: Any, folder: Path) -> dict[str, Any] | None:
    """Write an estimator, and return what is needed to read it; None if it has no safe format."""
    library = type(estimator).__module__.partition(".")[0]
    if library == "xgboost":
        estimator.save_model(folder / _XGBOOST)
        return _boosted("xgboost", estimator)
    if library == "lightgbm" or isinstance(estimator, LightGBM):
        estimator.booster_.save_model(folder / _LIGHTGBM)
        return estimator.state if isinstance(estimator, LightGBM) else _boosted("lightgbm", estimator)
    if not hasattr(estimator, "get_params"):
        return None
    skops = _skops()
    try:
        data = skops.dumps(estimator)
        # It writes some objects, such as lambdas, that it cannot make again. These are its own, so it may try.
        skops.loads(data, trusted=skops.get_untrusted_types(data=data))
    except Exception:  # noqa: BLE001 - whatever it stumbles over, this is no model that it can read back
        return None
    (folder / _SKOPS).write_bytes(data)
    return {"format": "skops"}


def read_estimator(folder: Path, state: Mapping[str, Any], trusted: Sequence[str]) -> Any:
    """Read what `write_estimator` wrote.

    Raises
    ------
    ValueError
        For types that are not trusted, and files that are something else.
    """
    if state["format"] == "skops":
        data = (folder / _SKOPS).read_bytes()
        unknown = [name for name in _untrusted(data) if name not in trusted]
        if unknown:
            raise ValueError(
                f"trusted: expected every type in {_SKOPS} to be trusted, got also {', '.join(unknown)}; if the file "
                f"comes from where you trust, load it with trusted={unknown}"
            )
        return _skops().loads(data, trusted=[*_HARMLESS, *trusted])
    estimator = unfitted(state)
    if state["format"] == "xgboost":
        estimator.load_model(folder / _XGBOOST)
        return estimator
    import lightgbm

    return LightGBM(lightgbm.Booster(model_file=folder / _LIGHTGBM), state)


def unfitted(state: Mapping[str, Any]) -> Any:
    """Make an estimator of XGBoost or LightGBM, and of nothing else, whatever the file says."""
    kinds = {
        "xgboost": ("XGBClassifier", "XGBRegressor", "XGBRFClassifier", "XGBRFRegressor"),
        "lightgbm": ("LGBMClassifier", "LGBMRegressor"),
    }
    library = state["format"]
    if state["class"] not in kinds.get(library, ()):
        raise ValueError(f"model: expected a saved model of XGBoost or LightGBM, got {library!r}, {state['class']!r}")
    try:
        kind = getattr(importlib.import_module(library), state["class"])
    except ImportError as error:
        raise ImportError(f"model: reading it needs {library}; install it with pip install {library}") from error
    return kind(**state["parameters"])


def _boosted(library: str, estimator: Any) -> dict[str, Any]:
    parameters = {
        name: value
        for name, value in estimator.get_params(deep=False).items()
        # NaN, for what is missing, is the default of that.
        if isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value))
    }
    return {"format": library, "class": type(estimator).__name__, "parameters": parameters}


def _untrusted(data: bytes) -> list[str]:
    try:
        return [name for name in _skops().get_untrusted_types(data=data) if name not in _HARMLESS]
    except (BadZipFile, KeyError, ValueError) as error:
        raise ValueError(f"model: expected a file of skops, got something else ({error})") from None


def _skops() -> Any:
    try:
        import skops.io
    except ImportError as error:
        raise ImportError("saving and loading models needs skops; pip install 'pickwise[loop]'") from error
    return skops.io
