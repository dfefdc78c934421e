"""Where reducers run: in this process, or on other machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pickwise.engines.base import Engine
from pickwise.engines.local import Local

if TYPE_CHECKING:
    from pickwise.engines.base import Intake, Reducing

__all__ = ["Engine", "Intake", "Local", "Reducing", "as_engine"]


def as_engine(engine: Any) -> Engine:
    """Find an engine.

    Parameters
    ----------
    engine : {"local", "ray"} or Engine

    Raises
    ------
    ValueError, TypeError
        For anything else.
    ImportError
        For "ray", if it is not installed.
    """
    if isinstance(engine, Engine):
        return engine
    if engine == "local":
        return Local()
    if engine == "ray":
        from pickwise.engines.ray import Ray

        return Ray()
    if isinstance(engine, str):
        raise ValueError(f"engine: expected 'local' or 'ray', got {engine!r}")
    raise TypeError(f"engine: expected 'local', 'ray' or an Engine, got {engine!r}")
