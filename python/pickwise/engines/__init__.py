"""Where reducers run: in this process, or on other machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pickwise.engines.base import Engine, Intake, Reducing
from pickwise.engines.local import Local

if TYPE_CHECKING:
    from pickwise.engines.ray import Ray

__all__ = ["Engine", "Intake", "Local", "Ray", "Reducing", "as_engine"]


def as_engine(engine: Any) -> Engine:
    """Find an engine.

    Parameters
    ----------
    engine : {"local", "ray"} or Engine

    Raises
    ------
    ValueError, TypeError
        For anything else.
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


def __getattr__(name: str) -> Any:
    # What is for other machines is loaded where it is used.
    if name == "Ray":
        from pickwise.engines.ray import Ray

        return Ray
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
