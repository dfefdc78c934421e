"""Models of any library, called in one way: a batch of rows in, probabilities out."""

from __future__ import annotations

import re
import sys
from abc import ABC, abstractmethod
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pickwise import arrow
from pickwise.arrays import as_numpy
from pickwise.pools.columns import some

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Model(ABC):
    """What predicts.

    Attributes
    ----------
    name : str
        What it is called in messages.
    takes : {"matrix", "table", "anything"}
        What it makes of a table: a matrix of numbers, the columns that it asks for, or whatever there is.
    columns : tuple of str or None
        The columns that it asks for by name.
    """

    name: str
    takes: Literal["matrix", "table", "anything"] = "matrix"
    columns: tuple[str, ...] | None = None

    def check(self, types: dict[str, Any], source: str) -> None:
        """Refuse columns that it cannot take, given the Arrow types of those it would get."""
        if self.takes == "matrix":
            _refuse_other_types(types, source, self.name)

    @abstractmethod
    def prepare(self, batch: Any, *, as_polars: bool) -> Any:
        """Make of a batch what `predict` takes."""

    @abstractmethod
    def predict(self, prepared: Any) -> Any:
        """Ask the model."""


def as_model(model: Any) -> Model:
    """Find out how a model is called.

    Parameters
    ----------
    model : object
        With ``predict_proba``; a `torch.nn.Module`; an `onnxruntime.InferenceSession`; or a function.

    Raises
    ------
    TypeError
        For anything else, such as regressors.
    ValueError
        For a session with several outputs that may be meant.
    """
    # A method by itself does not know what it was fitted with.
    owner = getattr(model, "__self__", None)
    if getattr(model, "__name__", "") == "predict_proba" and hasattr(owner, "predict_proba"):
        model = owner
    name = _name(model)
    if isinstance(model, type):
        raise TypeError(f"model: expected one that is fitted, got the class {name}")
    if hasattr(model, "predict_proba"):
        return Estimator(model, name)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module):
        return TorchModule(model, name)
    if all(hasattr(model, method) for method in ("run", "get_inputs", "get_outputs")):
        return OnnxSession(model, name)
    if callable(model):
        return Function(model, name)
    if hasattr(model, "decision_function"):
        raise TypeError(
            f"model: {name} has no predict_proba, only decision_function, whose values are no probabilities; fit "
            "sklearn.calibration.CalibratedClassifierCV around it, or pass a function"
        )
    if hasattr(model, "predict"):
        raise TypeError(
            f"model: {name} has no predict_proba, so it predicts values or labels, not probabilities (a regressor?); "
            "if its predict returns probabilities, pass that as a function"
        )
    raise TypeError(
        "model: expected a classifier with predict_proba, a PyTorch module, an ONNX Runtime session or a function, got "
        f"{name}"
    )


class Function(Model):
    """A function, which gets each batch as it is."""

    takes = "anything"

    def __init__(self, function: Any, name: str) -> None:
        self._function = function
        self.name = name

    def prepare(self, batch: Any, *, as_polars: bool) -> Any:
        """Turn what came from Polars back into a frame."""
        return _polars(batch) if as_polars else batch

    def predict(self, prepared: Any) -> Any:
        """Call it."""
        return self._function(prepared)


class Estimator(Model):
    """What has ``predict_proba``, as scikit-learn's classifiers."""

    def __init__(self, estimator: Any, name: str) -> None:
        self._estimator = estimator
        self.name = name
        names = [str(column) for column in getattr(estimator, "feature_names_in_", ())]
        # LightGBM makes up names where it was fitted with none.
        if names and names != [f"Column_{number}" for number in range(len(names))]:
            self.columns = tuple(names)
            self.takes = "table"

    def check(self, types: dict[str, Any], source: str) -> None:
        """Refuse columns of which no matrix can be made, or not as many as it was fitted with."""
        super().check(types, source)
        wanted = getattr(self._estimator, "n_features_in_", None)
        kind = next(iter(types.values()))
        found = getattr(kind, "list_size", None) if arrow.is_list(kind) else len(types)
        if self.takes == "matrix" and None not in (wanted, found) and found != wanted:
            raise ValueError(
                f"{source}: expected {wanted} features, as {self.name} was fitted with, got {found} "
                f"({some(list(types))}); choose them with columns="
            )

    def prepare(self, batch: Any, *, as_polars: bool) -> Any:
        """Make a frame for one that was fitted with a frame, else a matrix."""
        if arrow.is_records(batch):
            if self.takes == "matrix":
                return as_matrix(batch)
            return _polars(batch) if as_polars else _pandas(batch)
        foreign = hasattr(batch, "__dlpack__") or arrow.is_arrow(batch)
        return as_numpy(batch, "rows") if foreign and not _has_names(batch) else batch

    def predict(self, prepared: Any) -> Any:
        """Return the probabilities of classes; of several labels the probability of each."""
        found = self._estimator.predict_proba(prepared)
        if not isinstance(found, (list, tuple)) or not all(np.ndim(label) == 2 for label in found):
            return found
        for number, label in enumerate(found):
            if np.shape(label)[1] != 2:
                raise ValueError(
                    f"predictions: expected two columns for each label, got {np.shape(label)[1]} for label {number}; "
                    "for several targets of several classes pass a function"
                )
        return np.stack([np.asarray(label)[:, 1] for label in found], axis=1)


class TorchModule(Model):
    """A `torch.nn.Module`, in evaluation mode and without gradients while it is called."""

    def __init__(self, module: Any, name: str) -> None:
        self._module = module
        self.name = name

    def check(self, types: dict[str, Any], source: str) -> None:
        """Refuse columns of which no tensor can be made."""
        _refuse_other_types(types, source, self.name, texts=False)

    def prepare(self, batch: Any, *, as_polars: bool) -> Any:  # noqa: ARG002 - a matrix all the same
        """Make a tensor on the device and, if it holds floats, of the type of its parameters."""
        torch = sys.modules["torch"]
        if arrow.is_records(batch):
            batch = as_matrix(batch, np.float32)
        if isinstance(batch, (list, tuple)) and len(batch) == 1 and isinstance(batch[0], torch.Tensor):
            batch = batch[0]  # as a DataLoader gives the rows of a TensorDataset
        if isinstance(batch, np.ndarray):
            # Torch knows no negative strides, and warns of what it must not write to.
            batch = torch.from_numpy(np.require(batch, requirements=["C", "W"]))
        if not isinstance(batch, torch.Tensor):
            return batch
        like = next(chain(self._module.parameters(), self._module.buffers()), None)
        if like is None:
            return batch
        is_of_floats = batch.is_floating_point() and like.is_floating_point()
        return batch.to(device=like.device, dtype=like.dtype if is_of_floats else None)

    def predict(self, prepared: Any) -> Any:
        """Call it; each of its modules is in the mode afterwards that it was in."""
        torch = sys.modules["torch"]
        training = [module for module in self._module.modules() if module.training]
        self._module.eval()
        try:
            with torch.inference_mode():
                return self._module(prepared)
        finally:
            for module in training:
                module.training = True


class OnnxSession(Model):
    """An `onnxruntime.InferenceSession` with one output of floats."""

    def __init__(self, session: Any, name: str) -> None:
        self._session = session
        self.name = name
        self._inputs = [(put.name, _onnx_type(put.type), len(put.shape or ())) for put in session.get_inputs()]
        if len(self._inputs) > 1:
            self.columns = tuple(name for name, _, _ in self._inputs)
            self.takes = "table"
        puts = session.get_outputs()
        # A classifier's label comes beside; scikit-learn's converter may write probabilities as dicts.
        found = [put for put in puts if re.fullmatch(r"tensor\((float|double|float16)\)", put.type)]
        found = found or [put for put in puts if put.type.startswith("seq(map(")]
        if len(found) != 1:
            names = ", ".join(f"{put.name!r} of {put.type}" for put in puts)
            raise ValueError(
                f"model: expected a session with one output of floats, got {len(found)} among {names}; choose one with "
                "a function such as lambda x: session.run(['probabilities'], {'input': x})[0]"
            )
        self._output = found[0].name

    def prepare(self, batch: Any, *, as_polars: bool) -> dict[str, Any]:  # noqa: ARG002
        """Make the inputs."""
        if isinstance(batch, dict):
            return batch
        if len(self._inputs) > 1:
            if not hasattr(batch, "columns"):
                names = some([name for name, _, _ in self._inputs])
                raise TypeError(f"rows: expected a table, or dicts, of the inputs {names}, got {type(batch).__name__}")
            return {name: _fitted(_column(batch, name), kind, rank) for name, kind, rank in self._inputs}
        name, kind, rank = self._inputs[0]
        return {name: _fitted(as_matrix(batch) if arrow.is_records(batch) else as_numpy(batch, "rows"), kind, rank)}

    def predict(self, prepared: dict[str, Any]) -> Any:
        """Run it."""
        found = self._session.run([self._output], prepared)[0]
        if isinstance(found, list):
            return np.array([list(row.values()) for row in found], np.float32)
        return found


def as_matrix(batch: Any, dtype: Any = None) -> NDArray[Any]:
    """Make a matrix of a record batch: of numbers, in which a null is NaN; of a list a row; or of texts, 1-D."""
    names, first = batch.schema.names, batch.column(0)
    if arrow.is_list(first.type):
        matrix = arrow.matrix(first, f"column {names[0]!r}", 0, None)
        return matrix if dtype is None else matrix.astype(dtype, copy=False)
    if arrow.is_string(first.type):
        arrow.refuse_nulls(first, f"column {names[0]!r}", 0)
        return np.array(first.to_pylist(), dtype=object)
    columns = [_numbers(column) for column in batch.columns]
    # At least float32, so that integers and nulls fit in.
    kind = np.result_type(np.float32, *columns) if dtype is None else dtype
    out = np.empty((batch.num_rows, len(columns)), kind)
    for place, column in enumerate(columns):
        out[:, place] = column
    return out


def _refuse_other_types(types: dict[str, Any], source: str, model: str, *, texts: bool = True) -> None:
    from pyarrow import types as kinds

    def is_number(kind: Any) -> bool:
        return bool(kinds.is_floating(kind) or kinds.is_integer(kind) or kinds.is_boolean(kind))

    if len(types) == 1:
        kind = next(iter(types.values()))
        if (texts and arrow.is_string(kind)) or (arrow.is_list(kind) and is_number(kind.value_type)):
            return
    for name, kind in types.items():
        if not is_number(kind):
            raise ValueError(
                f"{source}: the column {name!r} holds {kind}, but {model} takes numbers, or one column of lists"
                f"{' or of text' if texts else ''}; choose its features with columns=, or pass a function of a batch"
            )


def _numbers(column: Any) -> NDArray[Any]:
    import pyarrow as pa

    if arrow.is_boolean(column.type):
        column = column.cast(pa.uint8())
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _column(batch: Any, name: str) -> NDArray[Any]:
    """Take a column of a record batch or frame."""
    if not arrow.is_records(batch):
        return np.asarray(batch[name])
    column = batch.column(name)
    return np.array(column.to_pylist(), dtype=object) if arrow.is_string(column.type) else _numbers(column)


def _fitted(values: NDArray[Any], kind: Any, rank: int) -> NDArray[Any]:
    """Give an input the type and the dimensions that a session expects."""
    values = np.ascontiguousarray(values, values.dtype if kind is None else kind)
    return values.reshape(-1, 1) if values.ndim == 1 and rank == 2 else values


def _onnx_type(text: str) -> Any:
    """Find NumPy's type of a tensor, None where it has none."""
    name = text.removeprefix("tensor(").removesuffix(")")
    with suppress(TypeError):
        return np.dtype({"float": "float32", "double": "float64", "string": "object"}.get(name, name))
    return None


def _has_names(batch: Any) -> bool:
    """Whether something is pandas' own, or a frame of another library."""
    return hasattr(batch, "iloc") or hasattr(batch, "columns")


def _pandas(batch: Any) -> Any:
    try:
        return batch.to_pandas()
    except ImportError as error:
        message = "model: was fitted with a DataFrame, which needs pandas; install it with pip install pandas"
        raise ImportError(message) from error


def _polars(batch: Any) -> Any:
    import polars as pl

    return pl.from_arrow(batch) if arrow.is_records(batch) else batch


def _name(model: Any) -> str:
    name = getattr(model, "__name__", None)
    return name if isinstance(name, str) else type(model).__name__
