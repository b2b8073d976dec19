"""What the store needs of a database; one file per implementation. The rest of the package knows no other difference."""

from contextlib import AbstractContextManager
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from pileus.store.errors import OutcomeUnknown


class Backend(Protocol):
    """A database that several processes have open.

    Only one transaction writes at a time, in any process: control planes write hundreds, not ten thousands, of times a
    second, and in return nothing ever conflicts, the change log is ordered by commit, and a transaction may read from
    the mirror.
    """

    upsert: sa.Insert
    """Inserts or replaces a row of ``documents``."""

    def read(self) -> AbstractContextManager[sa.Connection]:
        """A transaction that reads one state of the database. Raises StoreUnavailable."""
        ...

    def write(self) -> AbstractContextManager[sa.Connection]:
        """The one transaction that may write, durable when the block has ended.

        Raises:
            StoreBusy: others held the right to write for too long.
            StoreUnavailable: the database could not be reached or written.
            OutcomeUnknown: the database went away during the commit.
        """
        ...

    def head(self) -> int:
        """The ``seq`` of the last committed change; 0 when there is none.

        Called by one thread at a time. Raises StoreUnavailable.
        """
        ...

    def ring(self, connection: sa.Connection | None) -> None:
        """Wakes the other processes that wait.

        Called inside the transaction with its connection, and after the commit with None; one of the two acts.
        """
        ...

    def wait(self, timeout: float) -> bool:
        """Blocks until another process rang, at most ``timeout`` seconds. Called by one thread only.

        The first call returns at once: what rang before it was not heard. Raises StoreUnavailable.
        """
        ...

    def interrupt(self) -> None:
        """Makes ``wait`` return."""
        ...

    def close(self) -> None:
        """Gives everything back; no other method may be running."""
        ...


def commit(connection: sa.Connection, transaction: sa.RootTransaction) -> None:
    """Commits, or throws away the connection, which may still have the transaction open. Raises OutcomeUnknown."""
    try:
        transaction.commit()
    except OperationalError as error:
        connection.invalidate()
        raise OutcomeUnknown(str(error.orig)) from error
