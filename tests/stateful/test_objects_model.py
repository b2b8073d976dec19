"""The object store against a model in memory: whatever is done to buckets, it reads, lists and deletes as the model does."""

import asyncio
import shutil
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from objects_audit import audit, collect, stream

from pileus.engines.objects import uploads as uploads_module
from pileus.engines.objects.errors import BucketNotEmpty, IsDeleteMarker, NoSuchKey, PreconditionFailed
from pileus.engines.objects.model import Attributes, CompletedPart, Conditions, Delete, Encryption
from pileus.engines.objects.store import open_objects

BUCKETS = ("one", "two")
ALPHABET = ["a", "b", "/", "/", "-", " ", ".", "%", "\x01", "é", "\ud7ff", "\ue000", "\uffff", "😀"]
KEYS = st.one_of(
    st.text(st.sampled_from(ALPHABET), min_size=1, max_size=4),
    st.sampled_from(["a" * 1024, "é" * 512, "../../a", "/", "//", "a/b/c/d"]),
)
SIZES = st.sampled_from([0, 1, 100, 16_384, 16_385, 65_536, 65_537, 200_000, 1_048_576, 1_200_000])
SECRET = bytes(range(32))
PLAIN = Attributes(owner="1", metadata={"a": "1"})
SEALED = Attributes(owner="1", encryption=Encryption(mode="AES256", wrapped=b"w"))
MIN_PART = 1000


def content(size: int, seed: int) -> bytes:
    return (f"{seed:08x}".encode() * (size // 8 + 1))[:size]


class Clock:
    """Goes on only between the steps, and not always."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 100)


@dataclass
class Version:
    id: str
    data: bytes | None  # None: a delete marker
    etag: str = ""
    sealed: bool = False


@dataclass
class Upload:
    id: str
    key: str
    sealed: bool
    parts: dict[int, tuple[bytes, str]] = field(default_factory=dict)


@dataclass
class Bucket:
    versioning: str = ""
    keys: dict[str, list[Version]] = field(default_factory=dict)  # newest first
    uploads: list[Upload] = field(default_factory=list)

    def current(self, key: str) -> Version | None:
        versions = self.keys.get(key)
        return versions[0] if versions and versions[0].data is not None else None

    def add(self, key: str, version: Version) -> None:
        versions = self.keys.setdefault(key, [])
        if self.versioning != "Enabled":
            assert version.id == "null"
            versions[:] = [old for old in versions if old.id != "null"]
        else:
            assert version.id not in {"null", *(old.id for old in versions)}
        versions.insert(0, version)

    def sorted(self) -> list[str]:
        return sorted((key for key, versions in self.keys.items() if versions), key=str.encode)


def rolled(key: str, prefix: str, delimiter: str) -> str | None:
    found = key.find(delimiter, len(prefix)) if delimiter else -1
    return None if found < 0 else key[: found + len(delimiter)]


class ObjectsMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = Path(tempfile.mkdtemp(prefix="objects-model-"))
        self.clock = Clock()
        self.buckets: dict[str, Bucket] = {}
        self.seed = 0
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(uploads_module, "MIN_PART", MIN_PART)
        self.open()

    def run(self, awaitable):
        return self.runner.run(awaitable)

    def open(self) -> None:
        self.store = self.run(open_objects(self.directory, self.clock))

    def teardown(self) -> None:
        try:
            self.check_all()
            assert self.run(self.store.sweep()) == 0
            audit(self.directory, settled=True)
            for name in list(self.buckets):
                self.empty(name)
            assert self.run(self.store.sweep()) == 0
            audit(self.directory, settled=True)
            assert not list((self.directory / "blobs").glob("*/*"))
            self.run(self.store.close())
        finally:
            self.runner.close()
            self.patch.undo()
            shutil.rmtree(self.directory)

    def data(self, size: int) -> bytes:
        self.seed += 1
        return content(size, self.seed)

    @initialize()
    def begin(self):
        for name in BUCKETS:
            self.create(name)

    def create(self, name: str) -> None:
        self.run(self.store.create_bucket(name, account="1", region="r"))
        self.buckets[name] = Bucket()

    @rule(name=st.sampled_from(BUCKETS), status=st.sampled_from(["Enabled", "Enabled", "Suspended"]))
    def set_versioning(self, name, status):
        assert self.run(self.store.set_versioning(name, status)).versioning == status
        self.buckets[name].versioning = status

    @rule(
        name=st.sampled_from(BUCKETS),
        key=KEYS,
        size=SIZES,
        sealed=st.booleans(),
        condition=st.sampled_from(["", "", "", "absent", "same", "other"]),
    )
    def put(self, name, key, size, sealed, condition):
        bucket = self.buckets[name]
        current = bucket.current(key)
        etag = current.etag if current else "0" * 32
        conditions = {
            "": Conditions(),
            "absent": Conditions(if_none_match="*"),
            "same": Conditions(if_match=etag),
            "other": Conditions(if_match="f" * 32),
        }[condition]
        data = self.data(size)
        put = self.store.put(
            name,
            key,
            stream(data),
            attributes=SEALED if sealed else PLAIN,
            conditions=conditions,
            data_key=SECRET if sealed else None,
        )
        if condition in {"same", "other"} and current is None:
            with pytest.raises(NoSuchKey):
                self.run(put)
        elif condition == "other" or (condition == "absent" and current is not None):
            with pytest.raises(PreconditionFailed):
                self.run(put)
        else:
            done = self.run(put)
            bucket.add(key, Version(done.version_id, data, done.etag, sealed))

    @rule(name=st.sampled_from(BUCKETS), keys=st.lists(KEYS, min_size=1, max_size=3), pick=st.integers(0, 100))
    def delete(self, name, keys, pick):
        """Perhaps one key that is there, and others."""
        bucket = self.buckets[name]
        there = bucket.sorted()
        if there:
            keys = [there[pick % len(there)], *keys]
        outcomes = self.run(self.store.delete(name, [Delete(key=key) for key in keys], owner="1"))
        for key, outcome in zip(keys, outcomes, strict=True):
            assert outcome.key == key
            assert outcome.delete_marker == bool(bucket.versioning)
            if bucket.versioning:
                bucket.add(key, Version(outcome.version_id, None))
            else:
                bucket.keys.pop(key, None)

    @rule(name=st.sampled_from(BUCKETS), pick=st.integers(0, 1000), order=st.integers(0, 100))
    def delete_version(self, name, pick, order):
        bucket = self.buckets[name]
        there = bucket.sorted()
        if not there:
            return
        key = there[pick % len(there)]
        versions = bucket.keys[key]
        version = versions.pop(order % len(versions))
        (outcome,) = self.run(self.store.delete(name, [Delete(key=key, version_id=version.id)], owner="1"))
        assert (outcome.version_id, outcome.delete_marker) == (version.id, version.data is None)

    @rule(
        source=st.sampled_from(BUCKETS),
        into=st.sampled_from(BUCKETS),
        pick=st.integers(0, 1000),
        key=KEYS,
        seal=st.booleans(),
    )
    def copy(self, source, into, pick, key, seal):
        there = [old for old in self.buckets[source].sorted() if self.buckets[source].current(old)]
        if not there:
            return
        old = there[pick % len(there)]
        version = self.buckets[source].current(old)

        async def copy():
            async with await self.store.open(source, old) as reading:
                return await self.store.copy(
                    reading,
                    into,
                    key,
                    attributes=SEALED if seal else PLAIN,
                    source_key=SECRET if version.sealed else None,
                    data_key=SECRET if seal else None,
                )

        done = self.run(copy())
        self.buckets[into].add(key, Version(done.version_id, version.data, done.etag, seal))

    @rule(name=st.sampled_from(BUCKETS), key=KEYS, sealed=st.booleans())
    def create_upload(self, name, key, sealed):
        done = self.run(
            self.store.create_upload(
                name,
                key,
                attributes=SEALED if sealed else PLAIN,
                initiator="1",
                algorithm="CRC64NVME",
                checksum_type="FULL_OBJECT",
            )
        )
        self.buckets[name].uploads.append(Upload(done.upload_id, key, sealed))

    def pick_upload(self, name: str, pick: int) -> Upload | None:
        uploads = self.buckets[name].uploads
        return uploads[pick % len(uploads)] if uploads else None

    @rule(
        name=st.sampled_from(BUCKETS),
        pick=st.integers(0, 10),
        number=st.integers(1, 5),
        size=st.sampled_from([1000, 66_000, 1_100_000]),
    )
    def put_part(self, name, pick, number, size):
        upload = self.pick_upload(name, pick)
        if upload is None:
            return
        data = self.data(size)
        done = self.run(
            self.store.put_part(
                name, upload.key, upload.id, number, stream(data), data_key=SECRET if upload.sealed else None
            )
        )
        upload.parts[number] = (data, done.etag)

    @rule(
        name=st.sampled_from(BUCKETS),
        pick=st.integers(0, 10),
        number=st.integers(1, 5),
        chosen=st.integers(0, 1000),
        first=st.integers(0, 70_000),
    )
    def copy_part(self, name, pick, number, chosen, first):
        upload = self.pick_upload(name, pick)
        bucket = self.buckets[name]
        there = [
            key for key in bucket.sorted() if (found := bucket.current(key)) and len(found.data) >= first + MIN_PART
        ]
        if upload is None or not there:
            return
        key = there[chosen % len(there)]
        version = bucket.current(key)
        last = first + MIN_PART - 1 + (len(version.data) - first - MIN_PART) // 2

        async def copy():
            async with await self.store.open(name, key) as reading:
                return await self.store.copy_part(
                    reading,
                    name,
                    upload.key,
                    upload.id,
                    number,
                    first=first,
                    last=last,
                    source_key=SECRET if version.sealed else None,
                    data_key=SECRET if upload.sealed else None,
                )

        done = self.run(copy())
        upload.parts[number] = (version.data[first : last + 1], done.etag)

    @rule(name=st.sampled_from(BUCKETS), pick=st.integers(0, 10), leave=st.integers(1, 5))
    def complete_upload(self, name, pick, leave):
        """Perhaps without one of the parts."""
        upload = self.pick_upload(name, pick)
        if upload is None:
            return
        parts = {number: part for number, part in sorted(upload.parts.items()) if number != leave}
        if not parts:
            return
        named = [CompletedPart(number=number, etag=etag) for number, (_, etag) in parts.items()]
        done = self.run(self.store.complete_upload(name, upload.key, upload.id, named))
        again = self.run(self.store.complete_upload(name, upload.key, upload.id, named))
        assert (again.version_id, again.etag) == (done.version_id, done.etag)
        data = b"".join(data for data, _ in parts.values())
        bucket = self.buckets[name]
        bucket.uploads.remove(upload)
        bucket.add(upload.key, Version(done.version_id, data, done.etag, upload.sealed))

    @rule(name=st.sampled_from(BUCKETS), pick=st.integers(0, 10))
    def abort_upload(self, name, pick):
        upload = self.pick_upload(name, pick)
        if upload is not None:
            self.run(self.store.abort_upload(name, upload.key, upload.id))
            self.buckets[name].uploads.remove(upload)

    @rule(
        name=st.sampled_from(BUCKETS),
        prefix=st.text(st.sampled_from(ALPHABET), max_size=2),
        delimiter=st.sampled_from(["", "/", "/", "a", "/a", "😀"]),
        size=st.integers(1, 4),
    )
    def list_objects(self, name, prefix, delimiter, size):
        bucket = self.buckets[name]
        wanted: list[tuple[str, str]] = []
        for key in bucket.sorted():
            if key.startswith(prefix) and bucket.current(key):
                common = rolled(key, prefix, delimiter)
                line = ("key", key) if common is None else ("prefix", common)
                if line not in wanted:
                    wanted.append(line)
        found, after = [], ""
        while True:
            page = self.run(self.store.list(name, prefix=prefix, delimiter=delimiter, after=after, max_keys=size))
            assert len(page.entries) + len(page.prefixes) <= size
            lines = [("key", entry.key) for entry in page.entries] + [("prefix", common) for common in page.prefixes]
            found += sorted(lines, key=lambda line: line[1].encode())
            if not page.truncated:
                break
            after = page.next_after
        assert found == wanted

    @rule(
        name=st.sampled_from(BUCKETS),
        prefix=st.text(st.sampled_from(ALPHABET), max_size=1),
        delimiter=st.sampled_from(["", "/", "a"]),
        size=st.integers(1, 4),
    )
    def list_versions(self, name, prefix, delimiter, size):
        bucket = self.buckets[name]
        wanted: list[tuple] = []
        for key in bucket.sorted():
            if not key.startswith(prefix):
                continue
            common = rolled(key, prefix, delimiter)
            if common is not None:
                if ("prefix", common) not in wanted:
                    wanted.append(("prefix", common))
                continue
            for index, version in enumerate(bucket.keys[key]):
                wanted.append(("key", key, version.id, version.data is None, index == 0, len(version.data or b"")))
        found, markers = [], ("", "")
        while True:
            page = self.run(
                self.store.list_versions(
                    name,
                    prefix=prefix,
                    delimiter=delimiter,
                    key_marker=markers[0],
                    version_marker=markers[1],
                    max_keys=size,
                )
            )
            lines = [
                ("key", entry.key, entry.version_id, entry.delete_marker, entry.latest, entry.size)
                for entry in page.entries
            ] + [("prefix", common) for common in page.prefixes]
            assert len(lines) <= size
            found += sorted(lines, key=lambda line: line[1].encode())
            if not page.truncated:
                break
            markers = (page.next_key, page.next_version_id)
        assert found == wanted

    @rule(name=st.sampled_from(BUCKETS), size=st.integers(1, 3), prefix=st.text(st.sampled_from(ALPHABET), max_size=1))
    def list_uploads(self, name, size, prefix):
        uploads = [upload for upload in self.buckets[name].uploads if upload.key.startswith(prefix)]
        wanted = [(upload.key, upload.id) for upload in sorted(uploads, key=lambda upload: upload.key.encode())]
        found, markers = [], ("", "")
        while True:
            page = self.run(
                self.store.list_uploads(
                    name, prefix=prefix, key_marker=markers[0], upload_marker=markers[1], limit=size
                )
            )
            assert len(page.uploads) <= size
            found += [(upload.key, upload.upload_id) for upload in page.uploads]
            if not page.truncated:
                break
            markers = (page.next_key, page.next_upload_id)
        assert found == wanted

    @rule(
        name=st.sampled_from(BUCKETS),
        pick=st.integers(0, 1000),
        first=st.integers(0, 70_000),
        length=st.integers(1, 70_000),
    )
    def read_range(self, name, pick, first, length):
        bucket = self.buckets[name]
        there = [key for key in bucket.sorted() if (found := bucket.current(key)) and len(found.data) >= first + length]
        if there:
            key = there[pick % len(there)]
            version = bucket.current(key)
            assert (
                self.read(name, key, None, version.sealed, first, first + length - 1)
                == version.data[first : first + length]
            )

    def read(self, name, key, version_id, sealed, first=0, last=None) -> bytes:
        async def read():
            async with await self.store.open(name, key, version_id) as reading:
                return await collect(reading.stream(first, last, key=SECRET if sealed else None))

        return self.run(read())

    @rule()
    def pass_time(self):
        self.clock.moment += timedelta(seconds=1)

    @rule()
    def sweep(self):
        assert self.run(self.store.sweep()) == 0

    @rule()
    def reopen(self):
        self.run(self.store.close())
        self.open()

    @rule(name=st.sampled_from(BUCKETS))
    def recreate_bucket(self, name):
        if any(self.buckets[name].keys.values()):
            with pytest.raises(BucketNotEmpty):
                self.run(self.store.delete_bucket(name))
        else:
            self.run(self.store.delete_bucket(name))
            self.create(name)

    @precondition(lambda self: self.buckets)
    @invariant()
    def heads(self):
        for name, bucket in self.buckets.items():
            for key in bucket.sorted()[:2]:
                current = bucket.current(key)
                if current is None:
                    with pytest.raises(NoSuchKey):
                        self.run(self.store.head(name, key))
                else:
                    head = self.run(self.store.head(name, key))
                    assert (head.version_id, head.etag, head.size) == (current.id, current.etag, len(current.data))

    def check_all(self) -> None:
        """Every version, byte by byte."""
        for name, bucket in self.buckets.items():
            for key, versions in bucket.keys.items():
                for version in versions:
                    if version.data is None:
                        with pytest.raises(IsDeleteMarker):
                            self.run(self.store.head(name, key, version.id))
                    else:
                        assert self.read(name, key, version.id, version.sealed) == version.data

    def empty(self, name: str) -> None:
        bucket = self.buckets[name]
        deletes = [
            Delete(key=key, version_id=version.id) for key, versions in bucket.keys.items() for version in versions
        ]
        self.run(self.store.delete(name, deletes, owner="1"))
        self.run(self.store.delete_bucket(name))


TestObjectsModel = ObjectsMachine.TestCase
TestObjectsModel.settings = settings(max_examples=25, stateful_step_count=40)
