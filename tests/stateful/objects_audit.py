"""What must be true of an object store's directory, whatever happened: looked at from outside, in the index and the files."""

import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import msgspec
from objects_process import content

from pileus.engines.objects.errors import NoSuchKey
from pileus.engines.objects.frames import FRAME
from pileus.engines.objects.schema import Content, Stored, StoredPart


def files(directory: Path) -> dict[str, int]:
    """Blob files and their sizes."""
    return {path.name: path.stat().st_size for path in (directory / "blobs").glob("*/*")}


def audit(directory: Path, *, settled: bool) -> None:
    """Counts who names which blob. With ``settled`` nothing is being written or removed: files and names are the same."""
    with closing(sqlite3.connect(directory / "index.db", isolation_level=None)) as index:
        index.execute("BEGIN")
        assert index.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        versions = index.execute("SELECT id, bucket, key, live, marker, size, body FROM versions ORDER BY ordinal DESC")
        stored = [(*row[:-1], msgspec.msgpack.decode(row[-1], type=Stored).content) for row in versions]
        parts = [
            msgspec.msgpack.decode(body, type=StoredPart)
            for (body,) in index.execute("SELECT parts.body FROM parts JOIN uploads ON uploads.id = parts.upload")
        ]
        assert len(parts) == index.execute("SELECT count(*) FROM parts").fetchone()[0]
        inlines = {version for (version,) in index.execute("SELECT version FROM inlines")}
        blobs = dict(index.execute("SELECT name, uses FROM blobs"))
        garbage = {name for (name,) in index.execute("SELECT name FROM garbage")}
        buckets = {bucket for (bucket,) in index.execute("SELECT id FROM buckets")}
    contents: list[tuple[int, Content]] = [(part.info.size, part.content) for part in parts]
    seen: set[tuple[int, bytes]] = set()
    for _, bucket, key, live, marker, size, found in stored:
        assert bucket in buckets
        assert live == int(not marker and (bucket, key) not in seen), key
        seen.add((bucket, key))
        contents.append((size, found))
    assert inlines == {row[0] for row in stored if row[-1].inline}
    uses: Counter[str] = Counter()
    totals: dict[str, int] = {}
    for size, found in contents:
        assert found.inline or sum(segment.length for segment in found.segments) == size
        for segment in found.segments:
            uses[segment.blob] += 1
            tail = 16 if segment.salt else 4
            totals[segment.blob] = segment.total + -(-segment.total // FRAME) * tail
    assert dict(uses) == blobs
    assert not garbage & blobs.keys()
    if settled:
        assert not garbage
        assert files(directory) == totals


async def stream(data: bytes, piece: int = 50_000) -> AsyncIterator[bytes]:
    """A body."""
    for start in range(0, len(data), piece):
        yield data[start : start + piece]


async def collect(pieces: AsyncIterator[bytes]) -> bytes:
    """What a body was."""
    return b"".join([piece async for piece in pieces])


Outcome = tuple[str, int, int] | None
"""Whose bytes they are (process, number, size); None: nothing."""


def follow(lines: list[str], name: str, possible: dict[str, set[Outcome]]) -> int:
    """What each key may be now; the number of acknowledged changes."""
    begun: dict[str, tuple[str, Outcome]] = {}
    acknowledged = 0
    for line in lines:
        words = line.split()
        if words[0] == "begin" and len(words) == 5:
            outcome = None if words[3] == "delete" else (name, int(words[1]), int(words[4]))
            begun[words[1]] = (words[3], outcome)
            if words[3] != "abort":
                possible.setdefault(words[2], {None}).add(outcome)
        elif words[0] == "end" and len(words) == 3:
            what, outcome = begun[words[1]]
            if what != "abort":
                possible[words[2]] = {outcome}
                acknowledged += 1
    return acknowledged


async def check(store, possible: dict[str, set[Outcome]]) -> None:
    for key, outcomes in possible.items():
        try:
            async with await store.open("bucket", key) as reading:
                found = await collect(reading.stream())
        except NoSuchKey:
            assert None in outcomes, key
            possible[key] = {None}
            continue
        matching = {outcome for outcome in outcomes if outcome and content(*outcome) == found}
        assert matching, (key, len(found), outcomes)
        possible[key] = matching
