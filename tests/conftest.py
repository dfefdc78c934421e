"""What all tests share: how hypothesis searches, and Python in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Callable

# The same examples in every run; HYPOTHESIS_PROFILE=search looks for new ones.
settings.register_profile(
    "same",
    derandomize=True,
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("search", settings.get_profile("same"), derandomize=False, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


def run_python(code: str, *arguments: object, timeout: float = 60, **environment: str) -> str:
    """Run code in a fresh interpreter, where warnings are errors too, and return what it prints."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *map(str, arguments)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PICKWISE_")} | environment
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="session", name="run_python")
def _run_python() -> Callable[..., str]:
    return run_python
