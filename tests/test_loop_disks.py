"""Disks that are full or read-only, and folders of somebody else: nothing acknowledged is lost."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("sklearn")
pytest.importorskip("pyarrow")

import sqlalchemy as sa

import pickwise as pw
from pickwise.annotators import Annotation
from small_project import answers, asked, in_a_child, made, needs_fork, opened


@pytest.fixture
def small_disk(tmp_path):
    """A disk of a few megabytes; Linux lets root alone have one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if mount is None or not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("needs root, to mount a small disk")
    done = subprocess.run([mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("cannot mount a small disk")
    yield place
    subprocess.run([shutil.which("umount"), "-l", place], check=True)


def test_after_a_full_disk_the_project_goes_on(tmp_path, small_disk):
    place = small_disk / "p"
    filler = small_disk / "filler"
    with made(tmp_path / "whole") as project:
        project.run(rounds=3)
    failures = 0
    project = made(place)
    for free in (0, 4096, 16384, 40960, 120_000):
        # Leave a little room, another one each time, so that other writes fail.
        left = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
        filler.write_bytes(b"\0" * max(0, left - free))
        acknowledged = project.status().answers
        try:
            project.run(rounds=3)
        except (OSError, RuntimeError) as error:
            failures += 1
            text = str(error)
            assert "space" in text or "full" in text, text
        assert project.status().answers >= acknowledged
        filler.unlink()
    assert failures >= 3
    project.run(rounds=3)
    project.close()
    assert asked(place) == asked(tmp_path / "whole")
    with opened(place) as project:
        assert project.status().labelled == 18
        project.run(rounds=4)


def test_a_database_that_cannot_grow_keeps_what_was_acknowledged(tmp_path, monkeypatch):
    with made(tmp_path / "p", annotator=None) as project:
        tasks = project.ask(40)
        project.record(answers(tasks[:3]))
        engine = project._context.store._engine

        def limit(connection, _):
            connection.execute("PRAGMA max_page_count=1")

        sa.event.listen(engine, "connect", limit)
        many = [Annotation(key=f"{i}:{'k' * 4000}", id=task.id, label="no") for i, task in enumerate(tasks[3:])]
        with pytest.raises(OSError, match="full"):
            project.record(many)
        assert project.status().answers == 3
        sa.event.remove(engine, "connect", limit)
        assert project.record(many).new == 37
        project.collect()
        assert project.status().labelled == 40


def test_files_of_a_round_that_cannot_be_written_are_written_later(tmp_path, monkeypatch):
    import pyarrow.parquet

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    with made(tmp_path / "p") as project:
        project.ask()
        with monkeypatch.context() as patch:
            patch.setattr(pyarrow.parquet, "write_table", fail)
            with pytest.raises(OSError, match="No space"):
                project.collect()
        assert project.status().answers == 6
        assert not (tmp_path / "p" / "rounds" / "0001").exists()
        project.run(rounds=2)
        assert [each.state for each in project.history()] == ["trained", "trained"]
    assert (tmp_path / "p" / "rounds" / "0001" / "manifest.json").exists()


@needs_fork
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root, to be another user")
def test_a_folder_of_somebody_else_can_be_looked_at(tmp_path):
    place = tmp_path / "p"
    with made(place) as project:
        project.run(rounds=1)
        project.ask()
    for folder in [place, *place.parents][:4]:
        folder.chmod(0o755)

    def look():
        with pytest.raises(PermissionError, match=r"cannot write .*Project\.join"):
            opened(place)
        with pw.Project.join(place) as project:
            assert project.status().labelled == 6
            assert len(project.labels()) == 6
            assert len(project.tasks()) == 6
            with pytest.raises(OSError, match="cannot be written to"):
                project.record(answers(project.tasks()))

    assert in_a_child(look, uid=65534) == 0


def test_a_disk_that_is_read_only_can_be_looked_at(small_disk):
    place = small_disk / "p"
    with made(place) as project:
        project.run(rounds=1)
    mount = shutil.which("mount")
    if subprocess.run([mount, "-o", "remount,ro", small_disk], capture_output=True, check=False).returncode:
        pytest.skip("cannot make a disk read-only")
    with pytest.raises(PermissionError, match=r"cannot write .*Project\.join"):
        opened(place)
    with pw.Project.join(place) as project:
        assert project.status().labelled == 6
