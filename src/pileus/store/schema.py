"""The tables, and how a database of an older version becomes one of this version. Used by the backends and the log.

Claims and leases are documents too (see ``pileus.store.internal``), so uniqueness, the change log and the mirror hold for
them without further tables. Indexes live in the mirror, where all reads are answered.
"""

from collections.abc import Callable

import sqlalchemy as sa

from pileus.store.errors import SchemaTooNew

metadata = sa.MetaData()

documents = sa.Table(
    "documents",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("region", sa.Text, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("born", sa.BigInteger, nullable=False, comment="seq of the change that created it: the order of lists"),
    sa.Column("body", sa.Text, nullable=False, comment="the record as JSON"),
)

changes = sa.Table(
    "changes",
    metadata,
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("deleted", sa.Boolean, nullable=False),
    sa.Column("at", sa.Text, nullable=False, comment="UTC, ISO 8601"),
)

meta = sa.Table(
    "meta",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)


def _create_tables(connection: sa.Connection) -> None:
    metadata.create_all(connection)


MIGRATIONS: tuple[Callable[[sa.Connection], None], ...] = (_create_tables,)
"""Number n (from 1) turns schema n - 1 into schema n. Append only."""


def migrate(connection: sa.Connection) -> None:
    """Brings the database to this version's schema, inside the caller's exclusive transaction.

    Raises:
        SchemaTooNew: a newer version of Pileus has written it.
    """
    found = 0
    if sa.inspect(connection).has_table(meta.name):
        found = int(connection.execute(sa.select(meta.c.value).where(meta.c.key == "schema")).scalar_one())
    if found > len(MIGRATIONS):
        raise SchemaTooNew(f"the database has schema {found}, this version knows {len(MIGRATIONS)}")
    if found == len(MIGRATIONS):
        return
    for step in MIGRATIONS[found:]:
        step(connection)
    connection.execute(sa.delete(meta).where(meta.c.key == "schema"))
    connection.execute(sa.insert(meta).values(key="schema", value=str(len(MIGRATIONS))))
