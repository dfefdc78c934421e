"""Where reducers run: in this process, or on other machines."""

from __future__ import annotations

from typing import Any

from pickwise.engines.base import Engine, Intake, Reducing
from pickwise.engines.local import Local

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
    kind = ValueError if isinstance(engine, str) else TypeError
    raise kind(f"engine: expected 'local', 'ray' or an Engine, got {engine!r}")
