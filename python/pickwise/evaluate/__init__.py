"""Which strategy saves labels, on one's own data and on everyone's."""

from __future__ import annotations

from pickwise.evaluate.curves import Curve
from pickwise.evaluate.simulate import simulate
from pickwise.evaluate.simulation import Simulation

__all__ = ["Curve", "Simulation", "simulate"]
