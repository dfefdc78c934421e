"""ONNX Runtime sessions and PyTorch modules predict pools of any kind of rows."""

from __future__ import annotations

import sys
from contextlib import closing
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest

import pickwise as pw

if TYPE_CHECKING:
    from pathlib import Path

pa = pytest.importorskip("pyarrow")
pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pq = pytest.importorskip("pyarrow.parquet")

ROWS, DIMS = 3000, 4
NAMES = [f"x_{column}" for column in range(DIMS)]
X = np.random.default_rng(0).normal(size=(ROWS, DIMS)).astype(np.float32)
FRAME = pd.DataFrame(X, columns=NAMES)
TABLE = pa.table({"doc_id": [f"doc-{row}" for row in range(ROWS)], **{n: X[:, i].copy() for i, n in enumerate(NAMES)}})
WEIGHTS = np.random.default_rng(1).normal(size=(DIMS, 3)).astype(np.float32)


def softmax(values: np.ndarray) -> np.ndarray:
    e = np.exp(values - values.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def same(pool: object, expected: np.ndarray) -> None:
    np.testing.assert_allclose(read(pool), expected, atol=1e-6)


def read(pool: object) -> np.ndarray:
    with closing(pool.chunks()) as chunks:
        return np.concatenate([np.array(chunk.matrix) for chunk in chunks])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features")
    for name, rows in (("a", slice(1000)), ("b", slice(1000, ROWS))):
        pq.write_table(TABLE[rows], folder / f"{name}.parquet", row_group_size=300)
        np.save(folder / f"{name}.npy", X[rows])
    np.save(folder / "fortran.npy", np.asfortranarray(X))
    return folder


# ONNX Runtime.


def session(outputs: list[str], *, inputs: int = 1, dtype: str = "FLOAT") -> object:
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    from onnx import helper

    kind = getattr(onnx.TensorProto, dtype)
    width = DIMS // inputs
    puts = [helper.make_tensor_value_info(f"x_{n}" if inputs > 1 else "x", kind, [None, width]) for n in range(inputs)]
    types = {"label": (onnx.TensorProto.INT64, [None]), "probabilities": (kind, [None, 3]), "logits": (kind, [None, 3])}
    weights = helper.make_tensor("w", kind, WEIGHTS.shape, WEIGHTS.ravel())
    nodes = [helper.make_node("Concat", [put.name for put in puts], ["all"], axis=1)] if inputs > 1 else []
    nodes += [
        helper.make_node("MatMul", ["all" if inputs > 1 else "x", "w"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["logits"], ["label"], axis=1, keepdims=0),
    ]
    values = [helper.make_tensor_value_info(name, *types[name]) for name in outputs]
    graph = helper.make_graph(nodes, "g", puts, values, [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("dtype", ["FLOAT", "DOUBLE"])
def test_onnx(files: Path, dtype: str) -> None:
    expected = softmax(X @ WEIGHTS)
    model = session(["label", "probabilities"], dtype=dtype)
    for rows in (X, X.astype(np.float64), np.asfortranarray(X), files / "[ab].npy"):
        same(pw.predict(model, rows, batch_size=500), expected)
    for rows in (TABLE, FRAME, pl.from_arrow(TABLE), files / "*.parquet"):
        same(pw.predict(model, rows, columns="x_*", batch_size=500), expected)
    same(pw.predict(model, [X[:10], {"x": X[10:].astype("f4" if dtype == "FLOAT" else "f8")}]), expected)


def test_onnx_with_an_input_for_each_column(files: Path) -> None:
    model = session(["probabilities"], inputs=DIMS)
    for rows in (TABLE, FRAME, pl.from_arrow(TABLE), files / "*.parquet"):
        same(pw.predict(model, rows), softmax(X @ WEIGHTS))
    with pytest.raises(TypeError, match=r"rows: expected a table, or dicts, of the inputs 'x_0', .*got ndarray"):
        read(pw.predict(model, X))
    with pytest.raises(ValueError, match=r"rows: no column 'x_3', as InferenceSession expects"):
        pw.predict(model, TABLE.drop("x_3"))


def test_onnx_with_several_outputs() -> None:
    message = (
        r"model: expected a session with one output of floats, got 2 among 'probabilities' of tensor\(float\), "
        r"'logits' of tensor\(float\); choose one with a function such as lambda x: session.run"
    )
    with pytest.raises(ValueError, match=message):
        pw.predict(session(["probabilities", "logits"]), X)
    with pytest.raises(ValueError, match=r"got 0 among 'label' of tensor\(int64\)"):
        pw.predict(session(["label"]), X)


def test_onnx_whose_probabilities_are_dicts() -> None:
    put = SimpleNamespace
    puts = [put(name="label", type="tensor(int64)"), put(name="p", type="seq(map(int64,tensor(float)))")]
    model = SimpleNamespace(
        get_inputs=lambda: [put(name="x", type="tensor(float)", shape=[None, DIMS])],
        get_outputs=lambda: puts,
        run=lambda names, feeds: [[dict(enumerate(row)) for row in softmax(feeds["x"] @ WEIGHTS)]],
    )
    same(pw.predict(model, X), softmax(X @ WEIGHTS))


# PyTorch.


@pytest.fixture(params=["stand-in", "torch"])
def torch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> object:
    if request.param == "torch":
        return pytest.importorskip("torch")
    monkeypatch.setitem(sys.modules, "torch", stand_in := torch_like())
    return stand_in


MODES: list[object] = []  # those that are on


class Tensor:
    def __init__(self, array: np.ndarray, device: str = "cpu", *, requires_grad: bool = False) -> None:
        self.array, self.device, self.requires_grad = array, device, requires_grad

    shape = property(lambda self: self.array.shape)
    dtype = property(lambda self: self.array.dtype)

    def __getitem__(self, rows: object) -> Tensor:
        return Tensor(self.array[rows], self.device)

    def __matmul__(self, other: Tensor) -> Tensor:
        assert self.device == other.device
        assert self.dtype == other.dtype
        return Tensor(self.array @ other.array, self.device, requires_grad=not MODES)

    def to(self, *, device: str, dtype: object) -> Tensor:
        return Tensor(self.array if dtype is None else self.array.astype(dtype), device)

    def is_floating_point(self) -> bool:
        return self.array.dtype.kind == "f"

    def detach(self) -> Tensor:
        return Tensor(self.array, self.device)

    def cpu(self) -> Tensor:
        return Tensor(self.array)

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        assert not self.requires_grad
        assert self.device == "cpu"
        return self.array


class Module:
    def __init__(self) -> None:
        self.training = True

    def parameters(self) -> list[Tensor]:
        return [value for module in self.modules() for value in vars(module).values() if isinstance(value, Tensor)]

    def buffers(self) -> list[Tensor]:
        return []

    def modules(self) -> list[Module]:
        return [self, *(value for value in vars(self).values() if isinstance(value, Module))]

    def eval(self) -> None:
        for module in self.modules():
            module.training = False

    def __call__(self, x: Tensor) -> Tensor:
        return self.forward(x)


class InferenceMode:
    def __enter__(self) -> None:
        MODES.append(self)

    def __exit__(self, *_: object) -> None:
        MODES.pop()


def from_numpy(array: np.ndarray) -> Tensor:
    assert array.flags.writeable
    assert array.flags.c_contiguous
    return Tensor(array)


def torch_like() -> object:
    """Stand in for the little of PyTorch that is used, on NumPy."""
    return SimpleNamespace(
        Tensor=Tensor,
        from_numpy=from_numpy,
        inference_mode=InferenceMode,
        nn=SimpleNamespace(Module=Module, Parameter=lambda tensor: Tensor(tensor.array, "gpu", requires_grad=True)),
        __spec__=None,
    )


def test_torch(torch: object, files: Path) -> None:
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.frozen = torch.nn.Module()
            self.frozen.training = False
            self.weights = torch.nn.Parameter(torch.from_numpy(WEIGHTS.copy()))

        def forward(self, x: object) -> object:
            assert not self.training
            assert not self.frozen.training
            assert x.device == self.weights.device
            return x @ self.weights

    net = Net()
    expected = pw.select(X @ WEIGHTS, 20, pw.Entropy(from_logits=True))
    tensor = torch.from_numpy(X.copy())
    batches = [[tensor[:1000]], tensor[1000:]]
    read_only = X.copy()
    read_only.flags.writeable = False
    for rows in (X, X.astype(np.float64), read_only, tensor, batches, files / "[ab].npy", files / "fortran.npy"):
        pool = pw.predict(net, rows)
        same(pool, X @ WEIGHTS)
        np.testing.assert_array_equal(pw.select(pool, 20, pw.Entropy(from_logits=True)).indices, expected.indices)
        assert net.training
        assert not net.frozen.training
    for rows in (TABLE, FRAME, pl.from_arrow(TABLE), files / "*.parquet"):
        same(pw.predict(net, rows, columns="x_*"), X @ WEIGHTS)

    class Fails(torch.nn.Module):
        def forward(self, x: object) -> object:
            raise RuntimeError("out of memory")

    net = Fails()
    with pytest.raises(RuntimeError, match="out of memory"):
        read(pw.predict(net, X))
    assert net.training
