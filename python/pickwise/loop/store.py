"""What remembers: one database, one transaction at a time, SQLite in the project's folder or PostgreSQL for teams."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import sqlite3
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

try:
    from sqlalchemy import (
        ARRAY,
        Text,
        any_,
        create_engine,
        event,
        func,
        insert,
        literal,
        make_url,
        select,
        text,
        update,
    )
    from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError
    from sqlalchemy.pool import NullPool
    from sqlalchemy.schema import CreateSchema
except ImportError as error:
    raise ImportError("Project needs SQLAlchemy; install it with pip install 'pickwise[loop]'") from error

from pickwise.loop.schema import VERSION, facts, metadata

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import ColumnElement, Connection, Engine, Insert

LOCK = ".lock"
"""The file, in the folder of a project, that is locked by the process that drives it."""

# Seconds that a transaction waits for another process's.
_PATIENCE = 60

# Whatever several projects share a PostgreSQL server for, this number is ours.
_LOCK_SPACE = 0x7069636B


class Store:
    """The database of a project.

    Every change is made in a `write` transaction, of which there is one at a time, whatever the number of processes;
    what it has committed survives a power failure. `read` sees what was committed.

    Parameters
    ----------
    url : str
        As SQLAlchemy takes it; "sqlite:///…" or "postgresql+psycopg://…".
    schema : str, optional
        The schema that keeps this project apart from others in a PostgreSQL database.
    """

    def __init__(self, url: str, schema: str | None = None) -> None:
        self._url = make_url(url)
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        self._schema = None if self.is_sqlite else schema
        self._lock_key = int.from_bytes(hashlib.blake2b((schema or "").encode(), digest_size=4).digest(), "big") >> 1
        self._engine = self._connected()
        self._pid = os.getpid()

    @property
    def where(self) -> str:
        """The database, without its password."""
        return self._url.render_as_string(hide_password=True)

    def create(self) -> None:
        """Make the tables, and note their version."""
        with self.write() as connection:
            if self._schema is not None:
                connection.execute(CreateSchema(self._schema, if_not_exists=True))
            metadata.create_all(connection)
            if self._version(connection) is None:
                connection.execute(insert(facts).values(name="version", value=VERSION))

    def check(self) -> None:
        """Refuse a database that is none of a project, or one of a newer pickwise."""
        with self.read() as connection:
            try:
                version = self._version(connection)
            except DBAPIError as error:
                raise ValueError(f"{self.where}: not the database of a project ({error.orig})") from None
        if version is None:
            raise ValueError(f"{self.where}: not the database of a project (it has no version)")
        if version > VERSION:
            raise ValueError(
                f"{self.where}: expected tables of version {VERSION} or lower, got {version}; a newer pickwise has "
                "made them: upgrade with pip install --upgrade pickwise"
            )

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Change the database in one transaction: all of it is kept, or nothing.

        Yields
        ------
        Connection
        """
        with self._begun(writes=True) as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Look at one state of the database.

        Yields
        ------
        Connection
        """
        with self._begun(writes=False) as connection:
            yield connection

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def lead(self, folder: Path) -> ExitStack:
        """Become the one process that drives the project, until what is returned is closed, or the process ends.

        Raises
        ------
        BlockingIOError
            If another process does.
        """
        held = ExitStack()
        if self.is_sqlite:
            from filelock import FileLock, Timeout

            lock = FileLock(folder / LOCK, timeout=0, thread_local=False)
            try:
                lock.acquire()
            except Timeout:
                is_free = False
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                    raise
                reason = f"{folder}: cannot write there ({error.strerror}); Project.join only reads"
                raise PermissionError(reason) from None
            else:
                is_free = True
                held.callback(lock.release)
        else:
            connection = held.enter_context(self._engine.connect())
            wanted = {"space": _LOCK_SPACE, "key": self._lock_key}
            is_free = bool(connection.scalar(text("SELECT pg_try_advisory_lock(:space, :key)"), wanted))
            connection.commit()
            # Not to go back to the pool of connections, which would keep the lock.
            connection.detach()
        if not is_free:
            held.close()
            raise BlockingIOError(
                f"{folder}: another process drives this project; Project.join reads it and takes labels meanwhile"
            )
        return held

    @contextmanager
    def _begun(self, *, writes: bool) -> Iterator[Connection]:
        if os.getpid() != self._pid:
            # Connections do not survive a fork; the parent's are left alone.
            self._engine.dispose(close=False)
            self._pid = os.getpid()
        try:
            with self._engine.connect() as connection:
                begun = connection.execution_options(pickwise_writes=writes)
                if not (writes or self.is_sqlite):
                    # Otherwise each statement would see what was committed before it, and not before the first.
                    begun = connection.execution_options(isolation_level="REPEATABLE READ")
                with begun.begin():
                    if writes and not self.is_sqlite:
                        lock = {"space": _LOCK_SPACE + 1, "key": self._lock_key}
                        begun.execute(text("SELECT pg_advisory_xact_lock(:space, :key)"), lock)
                    yield begun
        except OperationalError as error:
            raise _worded(error, self.where) from error
        except DatabaseError as error:
            if "not a database" not in str(error.orig) and "malformed" not in str(error.orig):
                raise
            raise ValueError(f"{self.where}: not the database of a project, or a damaged one ({error.orig})") from error

    def _version(self, connection: Connection) -> int | None:
        value = connection.scalar(select(facts.c.value).where(facts.c.name == "version"))
        return None if value is None else int(value)

    def _connected(self) -> Engine:
        if not self.is_sqlite:
            try:
                # Tables are written down without a schema; they are those of this project. Its name has no capital
                # letters, blanks or quotes: see `schema_of`.
                path = {} if self._schema is None else {"options": f"-csearch_path={self._schema}"}
                return create_engine(self._url, pool_pre_ping=True, connect_args=path)
            except ImportError as error:
                raise ImportError(
                    "database: PostgreSQL needs psycopg; install it with pip install 'pickwise[postgres]'"
                ) from error
        # A connection for each transaction: SQLite opens one in no time, and a file that nobody holds can be moved.
        engine = create_engine(self._url, poolclass=NullPool, connect_args={"timeout": _PATIENCE})

        @event.listens_for(engine, "connect")
        def _prepare(connection: Any, _: Any) -> None:
            connection.isolation_level = None  # SQLAlchemy says when a transaction begins
            for pragma in (f"journal_mode={journal_mode()}", "synchronous=FULL", "foreign_keys=ON"):
                try:
                    connection.execute(f"PRAGMA {pragma}")
                except sqlite3.OperationalError as error:
                    if "readonly" not in str(error):
                        raise

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            writes = connection.get_execution_options().get("pickwise_writes")
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

        return engine


def schema_of(name: str) -> str:
    """Name the schema of a project: by its own name, as far as a schema can be called so without quotes.

    Examples
    --------
    >>> schema_of("reviews"), schema_of("My reviews")
    ('pickwise_reviews', 'pickwise_my_reviews_1b5e9735')
    """
    plain = re.sub("[^a-z0-9_]", "_", name.lower())[:40]
    if plain == name:
        return f"pickwise_{plain}"
    return f"pickwise_{plain}_{hashlib.blake2b(name.encode(), digest_size=4).hexdigest()}"


def journal_mode(version: tuple[int, int, int] = sqlite3.sqlite_version_info) -> str:
    """Choose how SQLite keeps its journal: WAL where a version is free of the WAL-reset bug, else TRUNCATE.

    Versions from 3.7.0 may corrupt a database in WAL mode where two connections write and checkpoint at once; 3.51.3
    and the back-ports 3.50.7 and 3.44.6 do not (https://sqlite.org/wal.html#walresetbug).
    """
    mended = version >= (3, 51, 3) or any(version[:2] == fix[:2] and version >= fix for fix in _BACKPORTS)
    return "WAL" if mended else "TRUNCATE"


_BACKPORTS = ((3, 50, 7), (3, 44, 6))


def write_many(
    connection: Connection, statement: Insert, columns: Sequence[str], values: Iterable[tuple[Any, ...]]
) -> None:
    """Insert many rows, each a tuple of some columns, at the speed of the driver."""
    compiled = statement.compile(dialect=connection.dialect, column_keys=list(columns))
    order = compiled.positiontup
    if order is None:
        parameters: list[Any] = [dict(zip(columns, row, strict=True)) for row in values]
    else:
        places = [list(columns).index(name) for name in order]
        parameters = (
            [*values] if places == sorted(places) else [tuple(row[place] for place in places) for row in values]
        )
    if parameters:
        connection.exec_driver_sql(str(compiled), parameters)


def among(connection: Connection, column: ColumnElement[str], values: Sequence[str]) -> ColumnElement[bool]:
    """Tell whether a column has one of many values, which travel as one."""
    if connection.dialect.name == "sqlite":
        listed = func.json_each(json.dumps(list(values))).table_valued("value")
        return column.in_(select(listed.c.value))
    return column == any_(literal(list(values), ARRAY(Text)))


def is_storable(text: str) -> bool:
    """Whether every database can hold a text: none has half a surrogate pair, and PostgreSQL no NUL."""
    return not _UNSTORABLE.search(text)


_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def get_fact(connection: Connection, name: str) -> Any:
    """Read what is true of the project; None where nothing is known."""
    return connection.scalar(select(facts.c.value).where(facts.c.name == name))


def set_fact(connection: Connection, name: str, value: Any) -> None:
    """Write what is true of the project from now on."""
    if not connection.execute(update(facts).where(facts.c.name == name).values(value=value)).rowcount:
        connection.execute(insert(facts).values(name=name, value=value))


def now(connection: Connection) -> float:
    """Tell the time in seconds, never earlier than what was told before, though the clock may go back."""
    last = get_fact(connection, "now")
    at = time.time() if last is None else max(time.time(), last)
    set_fact(connection, "now", at)
    return at


def _worded(error: OperationalError, where: str) -> OSError:
    """Say what is wrong with a database in words of files and servers."""
    reason = str(error.orig).strip()
    for sign, hint in (
        ("full", "the disk is full; nothing of this change was kept, and what was acknowledged before is safe"),
        ("readonly", "cannot be written to; Project.join only reads"),
        ("locked", f"another process has been writing for {_PATIENCE} seconds"),
        ("unable to open", "cannot be opened; is the folder there, and may it be written to?"),
    ):
        if sign in reason:
            return OSError(f"{where}: {hint} ({reason})")
    return OSError(f"{where}: {reason}")
