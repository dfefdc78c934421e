"""A server of PostgreSQL that tests share: its own, on a socket and a port of loopback that nobody else has."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

BIN = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


@contextmanager
def running(folder):
    """Start one that keeps its data in a folder; gives its URL."""
    pytest.importorskip("psycopg")
    if BIN is None:
        pytest.skip("needs the server of PostgreSQL (Debian: apt install postgresql)")
    # PostgreSQL refuses to run as root.
    prefix = []
    if os.geteuid() == 0:
        prefix = ["runuser", "-u", "postgres", "--"]
        for parent in (folder, *folder.parents):
            if parent.owner() == "root" and parent != Path("/") and not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o011)
        shutil.chown(folder, "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = folder / "data"

    def run(*command):
        done = subprocess.run(
            [*prefix, *map(str, command)], cwd=folder, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr

    run(BIN / "initdb", "-D", data, "-A", "trust", "-U", "pickwise", "--no-sync")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder}"
    run(BIN / "pg_ctl", "-D", data, "-l", folder / "log", "-o", options, "-w", "start")
    try:
        yield f"postgresql+psycopg://pickwise@127.0.0.1:{port}/postgres"
    finally:
        run(BIN / "pg_ctl", "-D", data, "-m", "immediate", "stop")
