"""The tables of the PDS: one SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_TABLES = """
create table if not exists account (
    did text primary key, handle text not null unique, password text not null, created_at text not null
) strict;
create table if not exists refresh_token (
    id text primary key, did text not null, expires integer not null, next text
) strict;
create table if not exists repo (
    did text primary key, cid text not null, rev text not null
) strict;
create table if not exists signing_key (
    did text primary key, secret text not null
) strict;
create table if not exists signed_commit (
    did text primary key, block blob not null
) strict;
create table if not exists record (
    did text not null, collection text not null, rkey text not null, cid text not null, value text not null,
    primary key (did, collection, rkey)
) strict, without rowid;
create table if not exists blob (
    did text not null, cid text not null, mime text not null, data blob not null,
    primary key (did, cid)
) strict;
create table if not exists record_blob (
    did text not null, collection text not null, rkey text not null, cid text not null,
    primary key (did, collection, rkey, cid)
) strict, without rowid;
create index if not exists record_blob_cid on record_blob (did, cid);
create table if not exists event (
    seq integer primary key, begins integer not null, frame blob not null
) strict;
create unique index if not exists event_begins on event (begins);
create table if not exists setting (
    name text primary key, value text not null
) strict;
"""


class Database:
    """One connection, used by one thread."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        self._connection.executescript("pragma journal_mode = wal; pragma synchronous = full;")
        self._connection.executescript(_TABLES)

    def one(self, sql: str, *values: object) -> sqlite3.Row | None:
        """The first row, or None."""
        return self._connection.execute(sql, values).fetchone()

    def all(self, sql: str, *values: object) -> list[sqlite3.Row]:
        """All rows."""
        return self._connection.execute(sql, values).fetchall()

    def run(self, sql: str, *values: object) -> int:
        """Change something; the number of rows changed."""
        return self._connection.execute(sql, values).rowcount

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or nothing."""
        self._connection.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._connection.execute("rollback")
            raise
        self._connection.execute("commit")

    def setting(self, name: str, default: str) -> str:
        """A value kept for good; ``default`` the first time."""
        self.run("insert or ignore into setting values (?, ?)", name, default)
        row = self.one("select value from setting where name = ?", name)
        assert row is not None
        return row["value"]

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()
