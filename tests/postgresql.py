"""Databases for tests: a PostgreSQL server of their own, and ``database_url``, which runs a test once per engine.

The server is Debian's, in a temporary directory, on a unix socket only, as an unprivileged user.
"""

import itertools
import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from pileus.base.process import run_sync

_numbers = itertools.count(1)


class Server:
    """A running PostgreSQL server. Without fsync by default: it must not outlive the tests."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._bin = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
        self._data = directory / "data"
        self._user: dict[str, str] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(directory, nobody.pw_uid, nobody.pw_gid)
            self._user = {"user": "nobody", "group": nobody.pw_gid, "extra_groups": ()}
        self._run("initdb", "--username=postgres", "--auth=trust", "--no-sync", "--no-locale", "--encoding=UTF8")
        self.start()

    def start(self) -> None:
        options = (
            f"-c listen_addresses='' -k {self._directory} -c fsync=off -c shared_buffers=16MB -c max_connections=60"
        )
        self._run("pg_ctl", "start", "--wait", "--silent", f"--options={options}", f"--log={self._directory}/log")

    def stop(self, mode: str = "fast") -> None:
        """``immediate`` is a crash of the server."""
        self._run("pg_ctl", "stop", "--wait", "--silent", f"--mode={mode}")

    def fresh_url(self) -> str:
        """An empty schema of its own."""
        schema = f"test_{next(_numbers)}"
        base = f"postgresql://postgres@/postgres?host={quote(str(self._directory), safe='')}"
        with psycopg.connect(base, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {schema}")
        return f"{base}&options={quote(f'-csearch_path={schema}')}"

    def _run(self, program: str, *arguments: str) -> None:
        run_sync(str(self._bin / program), f"--pgdata={self._data}", *arguments, cwd="/", **self._user)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    directory = Path(tempfile.mkdtemp(prefix="pg-"))  # short: a socket's path has room for 107 bytes
    try:
        server = Server(directory)
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(directory)


ENGINES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)]


@pytest.fixture(params=ENGINES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, of each engine."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    return request.getfixturevalue("postgresql").fresh_url()
