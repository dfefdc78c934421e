"""What was seen while a pool was read: rows, files, time, and how scores are distributed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pickwise.score_sample import ScoreSample


@dataclass(eq=False)
class Report:
    """What a selection saw of a pool that was read in chunks.

    Attributes
    ----------
    rows : int
        Rows that were read, those that a filter left out not counted.
    skipped : dict of str to int
        Invalid rows that were passed over, by file.
    failed : dict of str to str
        Files that were left out (``on_file_error="skip"``), and why.
    files : int
        Files, or other parts of the pool, that were read to their end.
    resumed : int
        How many of them had been read before a checkpoint.
    size : int
        Bytes that were read, as far as they are known.
    reading : float
        Seconds in which a reader was at work; scoring goes on beside it.
    scoring : float
        Seconds in which rows were scored and the best kept.
    scores : ScoreSample
        A sample of all scores: ``quantile``, ``histogram`` and ``share_above`` tell where the last selected row stands.
    """

    rows: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    files: int = 0
    resumed: int = 0
    size: int = 0
    reading: float = 0.0
    scoring: float = 0.0
    scores: ScoreSample = field(default_factory=ScoreSample)

    def merge(self, other: Report) -> None:
        """Take what was seen of another part of the pool."""
        self.rows += other.rows
        for name, count in other.skipped.items():
            self.skipped[name] = self.skipped.get(name, 0) + count
        self.failed |= other.failed
        self.files += other.files
        self.resumed += other.resumed
        self.size += other.size
        self.reading += other.reading
        self.scoring += other.scoring
        self.scores.merge(other.scores)

    def add_pass(self, other: Report) -> None:
        """Take the time and the failed files of another pass over the same pool."""
        self.failed |= other.failed
        self.reading += other.reading
        self.scoring += other.scoring

    def with_more(self, other: Report) -> Report:
        """Return both together, and leave each as it is."""
        both = Report.of(self.state())
        both.merge(other)
        return both

    def state(self) -> dict[str, Any]:
        """Write it as JSON can hold it."""
        copies = {"skipped": dict(self.skipped), "failed": dict(self.failed), "scores": self.scores.state()}
        return vars(self) | copies

    @classmethod
    def of(cls, state: dict[str, Any]) -> Report:
        """Read what `state` wrote."""
        return cls(**state | {"scores": ScoreSample.of(state["scores"])})

    def __repr__(self) -> str:
        size = f", {self.size / 1e6:,.1f} MB" if self.size else ""
        resumed = f" ({self.resumed} before the checkpoint)" if self.resumed else ""
        lines = [
            f"Report of {self.rows:,} rows of {self.files:,} part{'' if self.files == 1 else 's'}{resumed}{size}",
            f"  reading {self.reading:.2f} s, scoring {self.scoring:.2f} s",
        ]
        if self.skipped:
            lines.append(f"  {sum(self.skipped.values()):,} invalid rows skipped in {some(self.skipped)}")
        if self.failed:
            lines.append(f"  {len(self.failed):,} failed: {some(self.failed)}")
        if np.isfinite(self.scores.scores).any():
            low, quarter, half, three, high = self.scores.quantile([0, 0.25, 0.5, 0.75, 1])
            lines.append(
                f"  scores: least {low:.4g}, quartiles {quarter:.4g}, {half:.4g}, {three:.4g}, greatest {high:.4g}"
                f"{'' if self.scores.level == 0 else ' (of a sample)'}"
            )
        return "\n".join(lines)


def some(names: dict[str, Any]) -> str:
    """Name a few files, with what there is to say of each."""
    shown = [f"{name} ({what})" for name, what in list(names.items())[:5]]
    return ", ".join(shown) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
