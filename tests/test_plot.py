"""The picture of a selection: the pool, what is selected and labelled, and for a cover the radius at each pick."""

from __future__ import annotations

import numpy as np
import pytest

import pickwise as pw


def test_plot():
    pytest.importorskip("matplotlib")
    x = np.random.default_rng(0).normal(size=(500, 12)).astype(np.float32)
    cover = pw.k_center(x, 20, labelled=[1, 2, 3])
    for labelled in (None, [1, 2, 3], x[:5]):
        figure = cover.plot(x, labelled)
        assert len(figure.axes) == 2
        names = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        assert names[0] == "pool (500)"
        assert names[-1] == "selected (20)"
    assert len(pw.k_center(x[:, :1], 3).plot(x[:, :1]).axes) == 2
    chosen = pw.select(np.random.default_rng(0).dirichlet(np.ones(3), 500), 10)
    assert len(chosen.plot(x).axes) == 1
    with pytest.raises(ValueError, match=r"^embeddings: expected the pool"):
        cover.plot(x[:5])
