"""What `select` and `Reducer` are asked for, checked once and in the same words."""

from __future__ import annotations

import operator
from typing import Any, Literal, TypeAlias

import numpy as np

Ties: TypeAlias = Literal["first", "random"]
Invalid: TypeAlias = Literal["raise", "skip"]
RandomState: TypeAlias = "int | np.random.RandomState | np.random.Generator | None"

_MAX = 2**63 - 1


def as_k(k: Any) -> int:
    """Read how many rows are wanted: an integer of any type, at least 1."""
    return as_count(k, "k", least=1)


def as_count(x: Any, name: str, *, least: int) -> int:
    """Read a whole number of any type."""
    count = _integer(x)
    if count is None:
        raise TypeError(f"{name}: expected an integer, got {x!r}")
    if count < least:
        raise ValueError(f"{name}: expected at least {least}, got {count}")
    if count > _MAX:
        raise ValueError(f"{name}: expected less than 2**63, got {count}")
    return count


def as_number(x: Any, name: str) -> float:
    """Read a real number of any type."""
    if isinstance(x, (bool, str)) or not hasattr(x, "__float__"):
        raise TypeError(f"{name}: expected a number, got {x!r}")
    return float(x)


def as_flag(x: Any, name: str) -> bool:
    """Read a truth value; "no" is none."""
    if not isinstance(x, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, got {x!r}")
    return bool(x)


def one_of(value: Any, name: str, choices: tuple[str, ...]) -> str:
    """Check a choice between words."""
    if value not in choices:
        raise ValueError(f"{name}: expected {' or '.join(map(repr, choices))}, got {value!r}")
    return str(value)


def as_seed(random_state: RandomState) -> int:
    """Draw a seed as scikit-learn does: None asks NumPy's global generator, an integer is the seed itself."""
    seed = _integer(random_state)
    if seed is not None:
        if not 0 <= seed <= _MAX:
            raise ValueError(f"random_state: expected an integer from 0 to 2**63 - 1, got {seed}")
        return seed
    if random_state is None:
        random_state = np.random.mtrand._rand  # noqa: SLF001 - as check_random_state does
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(0, 2**63, dtype=np.uint64))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(0, 2**63, dtype=np.uint64))
    raise TypeError(f"random_state: expected None, an integer, a RandomState or a Generator, got {random_state!r}")


def is_drawn(random_state: RandomState) -> bool:
    """Whether a seed is drawn anew in each selection; a reducer that is read back has the one that it was made with."""
    return random_state is None or isinstance(random_state, (np.random.RandomState, np.random.Generator))


def _integer(x: Any) -> int | None:
    """Read an integer of any type; True and False are none."""
    if isinstance(x, (bool, np.bool_)):
        return None
    try:
        return operator.index(x)
    except TypeError:
        return None


def too_few(k: int, available: int, *, rows: int, skipped: int = 0, labelled: int = 0) -> ValueError:
    """Word that more rows are wanted than there are."""
    excluded = rows - available - skipped - labelled
    counts = (excluded, "excluded"), (labelled, "labelled"), (skipped, "invalid and skipped")
    reasons = [f"{count} {why}" for count, why in counts if count]
    less = f" ({', '.join(reasons)})" if reasons else ""
    return ValueError(f"k: expected at most {available}, of {rows} rows{less}, got {k}; clip=True takes what there is")
