"""Which strategy saves labels, on one's own data and on everyone's."""

from __future__ import annotations

try:
    import sklearn  # noqa: F401 - only to know that they are there, before whatever needs them
    import sqlalchemy  # noqa: F401
except ImportError as error:
    raise ImportError(
        "simulate needs scikit-learn and SQLAlchemy; install them with pip install 'pickwise[evaluate]'"
    ) from error

from pickwise.evaluate.comparison import DatasetComparison, compare_datasets
from pickwise.evaluate.curves import Curve
from pickwise.evaluate.report import write_report
from pickwise.evaluate.simulate import simulate
from pickwise.evaluate.simulation import Simulation
from pickwise.evaluate.suite import Suite, SuiteResult, run_suite

__all__ = [
    "Curve",
    "DatasetComparison",
    "Simulation",
    "Suite",
    "SuiteResult",
    "compare_datasets",
    "run_suite",
    "simulate",
    "write_report",
]
