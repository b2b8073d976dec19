"""What the owner of the blocks keeps besides them: drafts, and how far the checking of all blocks has come. Used by ``store``.

One SQLite file, written with full synchronisation: what a call has returned from is there after a power failure.
"""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from pileus.engines.blocks.interface import Digest, Noted

_SCHEMA = """
CREATE TABLE IF NOT EXISTS noted (
    draft TEXT NOT NULL, block INTEGER NOT NULL, digest BLOB NOT NULL, tag BLOB NOT NULL, PRIMARY KEY (draft, block)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS written (
    draft TEXT PRIMARY KEY, at REAL NOT NULL, closed INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS position (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""
_AT_ONCE = 4096


class Ledger:
    """The book in the file ``path``; None: in memory. Calls block, and may come from several threads."""

    def __init__(self, path: Path | None) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(
            ":memory:" if path is None else path, check_same_thread=False, isolation_level=None
        )
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.executescript(_SCHEMA)

    def note(self, entries: Sequence[tuple[str, Noted]], now: float) -> frozenset[str]:
        """Writes entries of drafts, but those of closed ones, which are named. Raises OSError: nothing was written."""
        with self._lock, _as_os_error(), self._database:
            self._database.execute("BEGIN IMMEDIATE")
            closed = frozenset(draft for (draft,) in self._database.execute("SELECT draft FROM written WHERE closed"))
            written = [(draft, one) for draft, one in entries if draft not in closed]
            self._database.executemany(
                "INSERT OR REPLACE INTO noted VALUES (?, ?, ?, ?)",
                [(draft, one.index, one.digest, one.tag) for draft, one in written],
            )
            self._database.executemany(
                "INSERT OR REPLACE INTO written VALUES (?, ?, 0)", [(draft, now) for draft, _ in written]
            )
        return closed

    def close_draft(self, draft: str, now: float, *, closed: bool = True) -> None:
        """Lets nothing more be written to a draft, or lets it again."""
        with self._lock, _as_os_error(), self._database:
            self._database.execute(
                "INSERT INTO written VALUES (?, ?, ?) ON CONFLICT (draft) DO UPDATE SET closed = excluded.closed",
                (draft, now, int(closed)),
            )

    def written(self, draft: str) -> float | None:
        """When an entry of the draft was last written (seconds, as ``note`` was told); None: never."""
        with self._lock, _as_os_error():
            row = self._database.execute("SELECT at FROM written WHERE draft = ?", (draft,)).fetchone()
        return None if row is None else float(row[0])

    def noted(self, draft: str, after: int, limit: int) -> Sequence[Noted]:
        """Entries of a draft with an index above ``after``, in order."""
        with self._lock, _as_os_error():
            rows = self._database.execute(
                "SELECT block, digest, tag FROM noted WHERE draft = ? AND block > ? ORDER BY block LIMIT ?",
                (draft, after, limit),
            ).fetchall()
        return [Noted(*row) for row in rows]

    def drop(self, draft: str) -> None:
        """Forgets a draft."""
        with self._lock, _as_os_error(), self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute("DELETE FROM noted WHERE draft = ?", (draft,))
            self._database.execute("DELETE FROM written WHERE draft = ?", (draft,))

    def drafts(self) -> Sequence[str]:
        """The names of all drafts."""
        with self._lock, _as_os_error():
            return [name for (name,) in self._database.execute("SELECT draft FROM written")]

    def digests(self) -> Iterator[Digest]:
        """The blocks of all drafts; those noted meanwhile may be among them or not."""
        for draft in self.drafts():
            after = -1
            while page := self.noted(draft, after, _AT_ONCE):
                yield from (one.digest for one in page if one.digest)
                after = page[-1].index

    def position(self, name: str) -> int:
        """A number that was kept, 0 at first."""
        with self._lock, _as_os_error():
            row = self._database.execute("SELECT value FROM position WHERE name = ?", (name,)).fetchone()
        return 0 if row is None else int(row[0])

    def keep_position(self, name: str, value: int) -> None:
        """Keeps a number."""
        with self._lock, _as_os_error(), self._database:
            self._database.execute("INSERT OR REPLACE INTO position VALUES (?, ?)", (name, value))

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._database.close()


class _as_os_error:  # noqa: N801 - used as a statement
    """SQLite's own errors become OSErrors, as those of every medium here."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, sqlite3.Error):
            raise OSError(f"the ledger of the block store: {error}") from error
