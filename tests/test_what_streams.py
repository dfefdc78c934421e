"""Every strategy takes rows piece by piece, or names the closest one that does."""

from __future__ import annotations

import re

import pytest

import pickwise as pw
from pickwise.strategies import REGISTRY, settled


@pytest.mark.parametrize("name", REGISTRY)
def test_a_reducer_or_the_closest_one(name: str) -> None:
    strategy = settled(REGISTRY[name](), has_embeddings=False)
    if strategy.streams:
        assert pw.reducer(name, 3).strategy == strategy
        return
    with pytest.raises(ValueError, match=rf"^strategy: {name} needs all rows of a pool at once") as refused:
        pw.reducer(name, 3)
    closest = strategy.closest
    named = re.search(r"closest that can is (.+); or|pickwise\.reducer\((.+), 10 \* k\)", str(refused.value))
    assert named is not None
    assert (named[1] or named[2]) in (repr(closest.name), repr(closest))
    assert closest.streams
    assert pw.reducer(closest, 3).strategy == closest


@pytest.mark.parametrize(
    ("strategy", "closest"),
    [
        (pw.TypiClust(metric="cosine"), pw.KCenter(metric="cosine")),
        (pw.GreedySamplingXY(), pw.KCenter()),
        (pw.UncertaintyHerding(score="entropy"), pw.PowerSampling(score="entropy")),
        (pw.Badge(from_logits=True), pw.PowerSampling(score=pw.Margin(from_logits=True))),
        (
            pw.BatchBALD(from_logits=True, temperature=2),
            pw.PowerSampling(score=pw.Bald(from_logits=True, temperature=2)),
        ),
        (pw.SoftRank(score="ratio", beta=3), pw.PowerSampling(score="ratio", beta=3)),
        (pw.Hybrid(by="ratio", factor=5), pw.Ratio()),
        (pw.KMeansPlusPlus(prefilter=5, prefilter_by="bald"), pw.Bald()),
        (pw.KCenter(), pw.KCenter()),
    ],
)
def test_the_closest_has_the_same_options(strategy: pw.KCenter, closest: pw.KCenter) -> None:
    assert strategy.closest == closest
    assert strategy.streams == (strategy == closest)


def test_two_passes_are_named() -> None:
    for strategy in (pw.Hybrid(by="ratio", factor=5), pw.KCenter(prefilter=5, prefilter_by="ratio")):
        with pytest.raises(ValueError, match=r"its first pass can, by pickwise\.reducer\('ratio', 5 \* k\), for"):
            pw.reducer(strategy, 3)
