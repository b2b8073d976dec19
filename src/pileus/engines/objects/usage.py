"""What buckets hold, for metering. Called by the store."""

import sqlite3
from collections.abc import Sequence

from pileus.engines.objects.model import Usage

_QUERY = """
SELECT b.name, b.account, sums.storage_class, sum(sums.objects), sum(sums.size) FROM (
    SELECT bucket, storage_class, count(*) AS objects, sum(size) AS size FROM versions WHERE marker = 0
        GROUP BY bucket, storage_class
    UNION ALL
    SELECT u.bucket, 'STANDARD', 0, sum(p.size) FROM uploads u JOIN parts p ON p.upload = u.id GROUP BY u.bucket
) AS sums JOIN buckets b ON b.id = sums.bucket GROUP BY b.name, b.account, sums.storage_class ORDER BY b.name
"""


def read_usage(connection: sqlite3.Connection) -> Sequence[Usage]:
    """A line for each bucket and storage class; parts of unfinished uploads count as STANDARD."""
    return [
        Usage(bucket=bucket, account=account, storage_class=storage_class, objects=objects, size=size)
        for bucket, account, storage_class, objects, size in connection.execute(_QUERY)
    ]
