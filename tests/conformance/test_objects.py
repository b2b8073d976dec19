"""The object store on real files, and with its blobs in another S3: what readers, clients that go away, and damage do to it."""

import asyncio
import base64
import hashlib
import os
import re
import resource
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio

from pileus.base.clock import SystemClock
from pileus.engines.objects import uploads, writing
from pileus.engines.objects.errors import (
    BucketExists,
    BucketNotEmpty,
    ChecksumRequired,
    ChecksumTypeMismatch,
    Damaged,
    DigestMismatch,
    InvalidKey,
    InvalidPart,
    InvalidPartOrder,
    InvalidRange,
    IsDeleteMarker,
    LengthMismatch,
    LockNotEnabled,
    NoSuchBucket,
    NoSuchKey,
    NoSuchUpload,
    NoSuchVersion,
    ObjectLocked,
    PartTooSmall,
    PreconditionFailed,
    StorageFull,
    TooLarge,
    VersioningRefused,
    WrongKey,
)
from pileus.engines.objects.model import (
    Attributes,
    Checksum,
    CompletedPart,
    Conditions,
    Delete,
    Deleted,
    Digests,
    Encryption,
    Retention,
)
from pileus.engines.objects.remote_blobs import RemoteBlobs
from pileus.engines.objects.store import open_objects

PLAIN = Attributes(owner="1", headers={"content-type": "text/plain"})
SEALED = Attributes(owner="1", encryption=Encryption(mode="AES256", wrapped=b"wrapped"))
KEY = bytes(range(32))
SIZES = [0, 1, 16_384, 16_385, 65_536, 65_537, 1_048_576, 1_048_577, 20_000_000]


class Memory:
    """The other S3, without a network."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    async def put(self, key, data):
        await asyncio.sleep(0)
        self.objects[key] = data

    async def get(self, key, offset, length):
        await asyncio.sleep(0)
        found = self.objects.get(key)
        return None if found is None else found[offset : offset + length]

    async def delete(self, keys):
        for key in keys:
            self.objects.pop(key, None)

    async def list(self, prefix, after):
        return sorted(key for key in self.objects if key.startswith(prefix) and key > after)[:3]


class Place:
    """A store's directory, and where its blobs are: what a test may look at and spoil."""

    def __init__(self, directory: Path, memory: Memory | None) -> None:
        self.directory = directory
        self.memory = memory
        self.stores = []

    async def open(self):
        """One more process's view of it, as far as locks and the index can tell."""
        blobs = None if self.memory is None else RemoteBlobs(self.memory, "blobs/")
        store = await open_objects(self.directory, SystemClock(), blobs)
        self.stores.append(store)
        return store

    def blobs(self) -> set[str]:
        if self.memory is not None:
            return {key.split("/")[2] for key in self.memory.objects}
        return {path.name for path in (self.directory / "blobs").glob("*/*")}

    def load(self, name: str) -> bytes:
        if self.memory is not None:
            return b"".join(self.memory.objects[key] for key in sorted(self.memory.objects) if f"/{name}/" in key)
        (path,) = (self.directory / "blobs").glob(f"*/{name}")
        return path.read_bytes()

    def store(self, name: str, data: bytes | None) -> None:
        """Replaces what is there; None removes it."""
        if self.memory is not None:
            for key in [key for key in self.memory.objects if f"/{name}/" in key]:
                del self.memory.objects[key]
            for number in range(-(-len(data) // (8 << 20)) if data is not None else 0):
                piece = data[number * (8 << 20) : (number + 1) * (8 << 20)]
                self.memory.objects[f"blobs/{name[12:14]}/{name}/{number}"] = piece
            return
        (path,) = (self.directory / "blobs").glob(f"*/{name}")
        path.unlink() if data is None else path.write_bytes(data)


@pytest_asyncio.fixture(params=["files", "another S3"])
async def place(request, tmp_path):
    place = Place(tmp_path / "objects", Memory() if request.param == "another S3" else None)
    yield place
    for store in place.stores:
        await store.close()


@pytest_asyncio.fixture
async def store(place):
    store = await place.open()
    await store.create_bucket("bucket", account="1", region="r")
    return store


async def stream(data: bytes, piece: int = 70_000):
    for start in range(0, len(data), piece):
        yield data[start : start + piece]


async def collect(pieces) -> bytes:
    return b"".join([piece async for piece in pieces])


async def put(store, name: str, data: bytes, bucket: str = "bucket", **given):
    return await store.put(bucket, name, stream(data), **{"attributes": PLAIN, **given})


async def get(store, name: str, first: int = 0, last: int | None = None, version=None, **given) -> bytes:
    async with await store.open("bucket", name, version) as reading:
        return await collect(reading.stream(first, last, **given))


def base64_of(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
@pytest.mark.parametrize("size", SIZES)
async def test_what_was_put_is_read(store, size, key):
    data = os.urandom(size)
    version = await put(store, "a", data, attributes=SEALED if key else PLAIN, data_key=key)
    assert (version.size, version.etag) == (size, hashlib.md5(data).hexdigest())
    assert await get(store, "a", key=key) == data
    for first, last in [(0, 0), (size // 3, size // 2), (size - 1, None), (65_535, 65_536), (1_048_570, 1_048_580)]:
        if 0 <= first < size and (last is None or last < size):
            assert await get(store, "a", first, last, key=key) == data[first : None if last is None else last + 1]


@pytest.mark.parametrize(("first", "last"), [(5, None), (3, 2), (0, 5), (-1, 2)])
async def test_a_range_outside_is_refused(store, first, last):
    await put(store, "a", b"12345")
    with pytest.raises(InvalidRange):
        await get(store, "a", first, last)


@pytest.mark.parametrize("size", [100, 70_000, 3_000_000])
async def test_digests_are_compared_and_nothing_is_left_of_what_differs(store, place, size):
    data = os.urandom(size)
    sha = base64_of(hashlib.sha256(data).digest())
    version = await put(store, "a", data, digests=Digests(algorithm="SHA256", expected=lambda: sha, length=size))
    assert version.checksum == Checksum(algorithm="SHA256", value=sha)
    kept = place.blobs()
    wrong = base64_of(bytes(32))
    for digests, error in [
        (Digests(algorithm="SHA256", expected=wrong), DigestMismatch),
        (Digests(algorithm="SHA256", expected=lambda: wrong), DigestMismatch),
        (Digests(md5=base64_of(bytes(16))), DigestMismatch),
        (Digests(length=size + 1), LengthMismatch),
    ]:
        with pytest.raises(error):
            await put(store, "a", data, digests=digests)
    assert await get(store, "a") == data
    assert place.blobs() == kept


@pytest.mark.parametrize("size", [100, 70_000, 3_000_000])
async def test_a_client_that_goes_away_leaves_nothing(store, place, size):
    class Gone(Exception):
        pass

    async def body():
        async for piece in stream(bytes(size)):
            yield piece
        raise Gone

    with pytest.raises(Gone):
        await store.put("bucket", "a", body(), attributes=PLAIN)
    hanging = asyncio.Event()

    async def endless():
        async for piece in stream(bytes(size)):
            yield piece
        hanging.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(store.put("bucket", "a", endless(), attributes=PLAIN))
    await hanging.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(NoSuchKey):
        await store.head("bucket", "a")
    assert not place.blobs()
    assert await store.sweep() == 0


async def test_a_put_of_too_many_bytes_is_refused(store, place, monkeypatch):
    monkeypatch.setattr(writing, "MAX_PUT", 2_000_000)
    await put(store, "a", bytes(2_000_000))
    with pytest.raises(TooLarge):
        await put(store, "b", bytes(2_000_001))
    assert len(place.blobs()) == 1


async def test_a_reader_keeps_what_it_opened_whatever_any_process_does(store, place):
    other = await place.open()
    data = os.urandom(5_000_000)
    await put(store, "a", data)
    async with await store.open("bucket", "a") as reading:
        pieces = reading.stream()
        first = await anext(pieces)
        await put(other, "a", b"another")
        await other.sweep()
        await store.sweep()
        assert first + await collect(pieces) == data
        assert await get(store, "a") == b"another"
        assert len(place.blobs()) == 1
    await other.sweep()
    assert not place.blobs()


async def test_a_reader_that_goes_away_stops_reading(store, place, monkeypatch):
    await put(store, "a", os.urandom(8_000_000))
    read = store._blobs.read
    stopped = []

    async def first_only(name, offset, length, decode):
        if offset == 0:
            return await read(name, offset, length, decode)
        try:
            return await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.append(offset)
            raise

    monkeypatch.setattr(store._blobs, "read", first_only)
    reading = await store.open("bucket", "a")
    pieces = reading.stream()
    await anext(pieces)
    await reading.close()
    assert len(stopped) == 1
    await store.delete("bucket", [Delete(key="a")], owner="1")
    await store.sweep()
    assert not place.blobs()


async def test_a_copy_of_what_is_deleted_meanwhile_has_the_bytes(store):
    data = os.urandom(2_000_000)
    await put(store, "a", data)
    async with await store.open("bucket", "a") as reading:
        await store.delete("bucket", [Delete(key="a")], owner="1")
        await store.sweep()
        await store.copy(reading, "bucket", "b", attributes=PLAIN)
    await store.sweep()
    assert await get(store, "b") == data


async def test_a_copy_shares_the_bytes_until_the_last_one_goes(store, place):
    data = os.urandom(2_000_000)
    await put(store, "a", data, digests=Digests(algorithm="CRC32C"))
    async with await store.open("bucket", "a") as reading:
        for key in ("b", "c"):
            copied = await store.copy(reading, "bucket", key, attributes=PLAIN, algorithm="CRC32C")
            assert copied.checksum == reading.version.checksum
        again = await store.copy(reading, "bucket", "d", attributes=PLAIN, algorithm="SHA1")
        assert again.checksum.value == base64_of(hashlib.sha1(data).digest())
    assert len(place.blobs()) == 2
    for key in ("a", "b", "d"):
        await store.delete("bucket", [Delete(key=key)], owner="1")
    await store.sweep()
    assert len(place.blobs()) == 1
    assert await get(store, "c") == data


@pytest.mark.parametrize("size", [1000, 2_000_000])
async def test_a_copy_changes_its_key(store, size):
    data, other = os.urandom(size), os.urandom(32)
    await put(store, "a", data, attributes=SEALED, data_key=KEY)
    async with await store.open("bucket", "a") as reading:
        await store.copy(reading, "bucket", "b", attributes=SEALED, source_key=KEY, data_key=other)
        await store.copy(reading, "bucket", "c", attributes=PLAIN, source_key=KEY)
        await store.copy(reading, "bucket", "d", attributes=SEALED, source_key=KEY, data_key=KEY)
        for wrong in (None, other):
            with pytest.raises(WrongKey):
                await store.copy(reading, "bucket", "e", attributes=SEALED, source_key=wrong, data_key=other)
    assert await get(store, "b", key=other) == await get(store, "c") == await get(store, "d", key=KEY) == data


@pytest.mark.parametrize("size", [1000, 2_000_000])
async def test_another_key_or_none_reads_nothing(store, size):
    await put(store, "a", bytes(size), attributes=SEALED, data_key=KEY)
    await put(store, "b", bytes(size))
    for name, key in [("a", None), ("a", bytes(32)), ("a", b"short"), ("b", KEY)]:
        async with await store.open("bucket", name) as reading:
            with pytest.raises(WrongKey):
                reading.stream(key=key)
    for attributes, key in [(SEALED, None), (PLAIN, KEY), (SEALED, b"short")]:
        with pytest.raises(WrongKey):
            await put(store, "c", bytes(size), attributes=attributes, data_key=key)


async def test_no_plaintext_and_no_key_is_on_the_disk(store, place):
    mark, key = b"the quick brown fox", os.urandom(32)
    await put(store, "small", mark * 10, attributes=SEALED, data_key=key)
    await put(store, "large", mark * 100_000, attributes=SEALED, data_key=key)
    upload = await store.create_upload("bucket", "parts", attributes=SEALED, initiator="1")
    part = await store.put_part("bucket", "parts", upload.upload_id, 1, stream(mark * 1000), data_key=key)
    await store.complete_upload("bucket", "parts", upload.upload_id, [CompletedPart(number=1, etag=part.etag)])
    async with await store.open("bucket", "large") as reading:
        await store.copy(reading, "bucket", "copy", attributes=SEALED, source_key=key, data_key=key)

    def disk() -> bytes:
        written = [path.read_bytes() for path in place.directory.rglob("*") if path.is_file()]
        return b"".join([*written, *(place.memory.objects.values() if place.memory else [])])

    assert mark not in disk()
    assert key not in disk()
    assert base64.b64encode(key) not in disk()
    await put(store, "plain small", mark)
    assert mark in disk()


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
async def test_damage_is_noticed_and_never_returned(store, place, key):
    data = os.urandom(3_000_000)
    attributes = SEALED if key else PLAIN
    await put(store, "a", data, attributes=attributes, data_key=key)
    (blob,) = place.blobs()
    good = place.load(blob)
    await put(store, "b", data[::-1], attributes=attributes, data_key=key)
    (other,) = place.blobs() - {blob}
    flipped = bytearray(good)
    flipped[2_000_000] ^= 1
    frame = 65_536 + (16 if key else 4)
    swapped = good[frame : 2 * frame] + good[:frame] + good[2 * frame :]
    for bad in [bytes(flipped), good[:-1], good[:1_000_000], swapped, place.load(other), None, b""]:
        place.store(blob, bad)
        got = b""
        with pytest.raises(Damaged) as caught:
            async with await store.open("bucket", "a") as reading:
                async for piece in reading.stream(key=key):
                    got += piece
        assert caught.value.blob == blob
        assert data.startswith(got)
        place.store(blob, good) if bad is not None else _restore(place, blob, good)
    place.store(blob, bytes(flipped))
    assert await get(store, "a", 0, 1_500_000, key=key) == data[:1_500_001]
    with pytest.raises(Damaged):
        await get(store, "a", 1_990_000, 2_010_000, key=key)


def _restore(place: Place, blob: str, data: bytes) -> None:
    if place.memory is None:
        (place.directory / "blobs" / blob[12:14] / blob).write_bytes(data)
    else:
        place.store(blob, data)


async def test_the_sweep_removes_what_the_dead_left_and_nothing_else(store, place):
    other = await place.open()
    await put(store, "a", bytes(100_000))
    begun = asyncio.Event()
    go_on = asyncio.Event()

    async def slow():
        yield bytes(2_000_000)
        begun.set()
        await go_on.wait()
        yield b"end"

    task = asyncio.create_task(other.put("bucket", "slow", slow(), attributes=PLAIN))
    await begun.wait()
    while len(place.blobs()) < (2 if place.memory is None else 1):
        await asyncio.sleep(0.01)
    kept = place.blobs()
    orphan = "0123456789ab" + "cd" * 10
    if place.memory is None:
        (place.directory / "blobs" / "cd" / orphan).write_bytes(b"left")
    else:
        place.memory.objects[f"blobs/cd/{orphan}/0"] = b"left"
    assert await store.sweep() == 1
    assert place.blobs() == kept
    assert await other.sweep() == 0
    go_on.set()
    await task
    assert await get(store, "slow") == bytes(2_000_000) + b"end"


async def test_garbage_goes_by_itself(store, place):
    await put(store, "a", bytes(100_000))
    await put(store, "a", bytes(100))
    async with asyncio.timeout(20):
        while place.blobs():
            await asyncio.sleep(0.02)


async def test_conditions_hold_when_many_write_at_once(store, place):
    """A counter, changed by compare-and-swap from two processes; and only one of many creates an object."""
    other = await place.open()
    outcomes = await asyncio.gather(
        *(
            put(one, "created", bytes([number]), conditions=Conditions(if_none_match="*"))
            for number, one in enumerate([store, other] * 10)
        ),
        return_exceptions=True,
    )
    assert sum(not isinstance(outcome, PreconditionFailed) for outcome in outcomes) == 1
    await put(store, "counter", b"0")

    async def increase(one) -> int:
        done = 0
        for _ in range(20):
            async with await one.open("bucket", "counter") as reading:
                count = int(await collect(reading.stream()))
            try:
                await put(one, "counter", str(count + 1).encode(), conditions=Conditions(if_match=reading.version.etag))
                done += 1
            except PreconditionFailed:
                pass
        return done

    done = await asyncio.gather(*(increase(one) for one in [store, other] * 3))
    assert await get(store, "counter") == str(sum(done)).encode()


async def test_conditions(store):
    with pytest.raises(NoSuchKey):
        await put(store, "a", b"1", conditions=Conditions(if_match="*"))
    version = await put(store, "a", b"1", conditions=Conditions(if_none_match="*"))
    for conditions in [
        Conditions(if_none_match="*"),
        Conditions(if_none_match=version.etag),
        Conditions(if_match="f" * 32),
    ]:
        with pytest.raises(PreconditionFailed):
            await put(store, "a", b"2", conditions=conditions)
    await put(store, "a", b"2", conditions=Conditions(if_match=version.etag))

    async def delete(**conditions):
        (outcome,) = await store.delete("bucket", [Delete(key="a", conditions=Conditions(**conditions))], owner="1")
        return outcome

    assert isinstance(await delete(if_match=version.etag), PreconditionFailed)
    assert isinstance(await delete(size=5), PreconditionFailed)
    assert isinstance(await delete(modified=datetime(2020, 1, 1, tzinfo=UTC)), PreconditionFailed)
    head = await store.head("bucket", "a")
    assert await delete(if_match=head.etag, size=1, modified=head.modified.replace(microsecond=0)) == Deleted(key="a")
    assert isinstance(await delete(if_match="*"), NoSuchKey)
    assert await delete() == Deleted(key="a")


async def test_buckets(store):
    with pytest.raises(BucketExists) as caught:
        await store.create_bucket("bucket", account="2", region="s")
    assert (caught.value.account, caught.value.region) == ("1", "r")
    made = await store.create_bucket("another", account="2", region="s", configs={"policy": b"p", "acl": b"a"})
    assert made == await store.bucket("another")
    await store.set_configs("another", {"policy": None, "cors": b"c"})
    assert (await store.bucket("another")).configs == {"acl": b"a", "cors": b"c"}
    assert [bucket.name for bucket in await store.buckets()] == ["another", "bucket"]
    assert [bucket.name for bucket in await store.buckets("1")] == ["bucket"]
    assert [bucket.name for bucket in await store.buckets(after="another", limit=1)] == ["bucket"]
    assert [bucket.name for bucket in await store.buckets(prefix="an", region="s")] == ["another"]
    await put(store, "a", b"1", bucket="another")
    with pytest.raises(BucketNotEmpty):
        await store.delete_bucket("another")
    await store.delete("another", [Delete(key="a")], owner="2")
    await store.create_upload("another", "b", attributes=PLAIN, initiator="2")
    await store.delete_bucket("another")
    for call in [store.bucket("another"), store.list("another"), put(store, "a", b"", bucket="another")]:
        with pytest.raises(NoSuchBucket):
            await call
    again = await store.create_bucket("another", account="2", region="s")
    assert not again.configs
    assert not (await store.list_uploads("another")).uploads


@pytest.mark.parametrize("key", ["", "a" * 1025, "é" * 513, "\ud800"])
async def test_keys_that_can_not_be(store, key):
    with pytest.raises(InvalidKey):
        await put(store, key, b"1")


async def test_versions(store):
    first = await put(store, "a", b"1")
    await store.set_versioning("bucket", "Enabled")
    second = await put(store, "a", b"2")
    assert (first.version_id, second.version_id != "null") == ("null", True)
    (marker,) = await store.delete("bucket", [Delete(key="a")], owner="1")
    assert marker.delete_marker
    with pytest.raises(NoSuchKey) as caught:
        await store.head("bucket", "a")
    assert caught.value.delete_marker == marker.version_id
    with pytest.raises(IsDeleteMarker):
        await store.head("bucket", "a", marker.version_id)
    with pytest.raises(NoSuchVersion):
        await store.head("bucket", "a", "x" * 32)
    assert await get(store, "a", version="null") == b"1"
    await store.set_versioning("bucket", "Suspended")
    await put(store, "a", b"3")
    with pytest.raises(VersioningRefused):
        await store.enable_object_lock("bucket")
    versions = (await store.list_versions("bucket")).entries
    assert [entry.version_id for entry in versions] == ["null", marker.version_id, second.version_id]
    assert [entry.latest for entry in versions] == [True, False, False]
    await store.delete("bucket", [Delete(key="a", version_id="null")], owner="1")
    with pytest.raises(NoSuchKey):
        await store.head("bucket", "a")
    await store.delete("bucket", [Delete(key="a", version_id=marker.version_id)], owner="1")
    assert await get(store, "a") == b"2"


async def test_pages_go_on_where_versions_were_deleted(store):
    """A bucket is emptied page by page: the markers name what is gone."""
    await store.set_versioning("bucket", "Enabled")
    for number in range(10):
        await put(store, f"k{number % 2}", bytes([number]))
    key_marker = version_marker = ""
    removed = 0
    while True:
        page = await store.list_versions("bucket", key_marker=key_marker, version_marker=version_marker, max_keys=3)
        await store.delete(
            "bucket", [Delete(key=entry.key, version_id=entry.version_id) for entry in page.entries], owner="1"
        )
        removed += len(page.entries)
        if not page.truncated:
            break
        key_marker, version_marker = page.next_key, page.next_version_id
    assert removed == 10
    await store.delete_bucket("bucket")


async def test_object_lock(store):
    with pytest.raises(LockNotEnabled):
        await put(store, "a", b"1", attributes=Attributes(legal_hold=True))
    await store.create_bucket("locked", account="1", region="r", object_lock=True)
    with pytest.raises(VersioningRefused):
        await store.set_versioning("locked", "Suspended")
    until, later = datetime(2100, 1, 1, tzinfo=UTC), datetime(2101, 1, 1, tzinfo=UTC)

    async def made(mode: str):
        return await put(
            store, mode, b"1", bucket="locked", attributes=Attributes(retention=Retention(mode=mode, until=until))
        )

    async def delete(version, bypass=False):
        (outcome,) = await store.delete(
            "locked", [Delete(key=version.key, version_id=version.version_id)], owner="1", bypass=bypass
        )
        return outcome

    governed, strict = await made("GOVERNANCE"), await made("COMPLIANCE")
    (marker,) = await store.delete("locked", [Delete(key="GOVERNANCE")], owner="1")
    assert marker.delete_marker
    await store.delete("locked", [Delete(key="GOVERNANCE", version_id=marker.version_id)], owner="1")
    assert isinstance(await delete(governed), ObjectLocked)
    assert isinstance(await delete(strict, bypass=True), ObjectLocked)
    with pytest.raises(ObjectLocked):
        await store.set_retention("locked", "GOVERNANCE", None)
    with pytest.raises(ObjectLocked):
        await store.set_retention("locked", "COMPLIANCE", None, bypass=True)
    await store.set_retention("locked", "COMPLIANCE", Retention(mode="COMPLIANCE", until=later))
    with pytest.raises(ObjectLocked):
        await store.set_retention("locked", "COMPLIANCE", Retention(mode="COMPLIANCE", until=until), bypass=True)
    held = await store.set_legal_hold("locked", "GOVERNANCE", True)
    assert held.attributes.legal_hold
    assert isinstance(await delete(governed, bypass=True), ObjectLocked)
    await store.set_legal_hold("locked", "GOVERNANCE", False)
    assert isinstance(await delete(governed, bypass=True), Deleted)


async def test_tags_and_acl_of_a_version(store):
    version = await put(store, "a", b"1", digests=Digests(algorithm="CRC32"))
    assert (await store.set_tags("bucket", "a", {"x": "y"})).attributes.tags == {"x": "y"}
    await store.set_acl("bucket", "a", b"acl", "null")
    head = await store.head("bucket", "a")
    assert (head.attributes.tags, head.attributes.acl) == ({"x": "y"}, b"acl")
    assert (head.checksum, head.attributes.headers, head.modified) == (
        version.checksum,
        PLAIN.headers,
        version.modified,
    )
    assert await get(store, "a") == b"1"
    with pytest.raises(NoSuchKey):
        await store.set_tags("bucket", "b", {})


async def test_an_upload_makes_its_object_of_parts(store, place, monkeypatch):
    monkeypatch.setattr(uploads, "MIN_PART", 100_000)
    data = os.urandom(1_000_000)
    pieces = [data[:400_000], data[400_000:900_000], data[900_000:]]
    for algorithm, kind in [("SHA256", "COMPOSITE"), ("CRC64NVME", "FULL_OBJECT"), (None, None)]:
        upload = await store.create_upload(
            "bucket", "a", attributes=PLAIN, initiator="1", algorithm=algorithm, checksum_type=kind
        )
        parts = [
            await store.put_part("bucket", "a", upload.upload_id, number, stream(piece))
            for number, piece in enumerate(pieces, 1)
        ]
        listed = await store.list_parts("bucket", "a", upload.upload_id, after=1, limit=1)
        assert (listed.parts, listed.truncated, listed.next_number) == ((parts[1],), True, 2)
        named = [
            CompletedPart(number=part.number, etag=part.etag, checksum=part.checksum.value if part.checksum else None)
            for part in parts
        ]
        made = await store.complete_upload("bucket", "a", upload.upload_id, named, size=1_000_000)
        md5s = b"".join(hashlib.md5(piece).digest() for piece in pieces)
        assert made.etag == hashlib.md5(md5s).hexdigest() + "-3"
        if algorithm == "SHA256":
            whole = hashlib.sha256(b"".join(hashlib.sha256(piece).digest() for piece in pieces)).digest()
            assert made.checksum.value == base64_of(whole) + "-3"
        elif algorithm is not None:
            whole = await put(store, "whole", data, digests=Digests(algorithm=algorithm))
            assert made.checksum == whole.checksum
        assert await get(store, "a") == data
        assert await get(store, "a", 399_990, 900_010) == data[399_990:900_011]
        again = await store.complete_upload("bucket", "a", upload.upload_id, named, size=1_000_000)
        assert again.etag == made.etag
        with pytest.raises(NoSuchUpload):
            await store.put_part("bucket", "a", upload.upload_id, 1, stream(b"1"))
    await store.sweep()
    assert len(place.blobs()) == 4


async def test_an_upload_is_completed_only_as_it_is(store, place):
    upload = await store.create_upload(
        "bucket", "a", attributes=PLAIN, initiator="1", algorithm="SHA256", checksum_type="COMPOSITE"
    )
    identifier = upload.upload_id
    with pytest.raises(ChecksumTypeMismatch):
        await store.put_part(
            "bucket", "a", identifier, 1, stream(b"x"), digests=Digests(algorithm="CRC32", expected="AAAA")
        )
    other = await store.put_part("bucket", "a", identifier, 1, stream(b"x"), digests=Digests(algorithm="CRC32"))
    assert other.checksum.algorithm == "SHA256"
    parts = {
        number: await store.put_part("bucket", "a", identifier, number, stream(b"x" * 70_000)) for number in (1, 2, 3)
    }

    def named(part_number: int, **given) -> CompletedPart:
        part = parts[part_number]
        return CompletedPart(**{"number": part_number, "etag": part.etag, "checksum": part.checksum.value, **given})

    for chosen, given, error in [
        ([named(2), named(1)], {}, InvalidPartOrder),
        ([named(1), named(1)], {}, InvalidPartOrder),
        ([named(1, number=4)], {}, InvalidPart),
        ([named(1, etag="0" * 32)], {}, InvalidPart),
        ([named(1, checksum="wrong")], {}, InvalidPart),
        ([named(1), named(2)], {}, PartTooSmall),
        ([named(2)], {}, ChecksumRequired),
        ([named(1, checksum=None)], {}, ChecksumRequired),
        ([named(1)], {"size": 1}, LengthMismatch),
        ([named(1)], {"checksum": Checksum(algorithm="SHA256", value="wrong-1")}, DigestMismatch),
        ([named(1)], {"conditions": Conditions(if_match="*")}, NoSuchKey),
        ([], {}, InvalidPart),
    ]:
        with pytest.raises(error):
            await store.complete_upload("bucket", "a", identifier, chosen, **given)
    for bucket, key, other in [("bucket", "b", identifier), ("bucket", "a", "x")]:
        with pytest.raises(NoSuchUpload):
            await store.complete_upload(bucket, key, other, [named(1)])
    await store.complete_upload("bucket", "a", identifier, [named(1)])
    await store.sweep()
    assert len(place.blobs()) == 1


async def test_aborting_an_upload_leaves_nothing(store, place):
    upload = await store.create_upload("bucket", "a", attributes=PLAIN, initiator="1")
    await store.put_part("bucket", "a", upload.upload_id, 1, stream(bytes(100_000)))
    await store.put_part("bucket", "a", upload.upload_id, 1, stream(bytes(200_000)))
    with pytest.raises(PreconditionFailed):
        await store.abort_upload("bucket", "a", upload.upload_id, initiated=datetime(2020, 1, 1, tzinfo=UTC))
    await store.abort_upload("bucket", "a", upload.upload_id, initiated=upload.initiated)
    with pytest.raises(NoSuchUpload):
        await store.abort_upload("bucket", "a", upload.upload_id)
    await store.sweep()
    assert not place.blobs()


async def test_usage(store):
    await put(store, "a", bytes(100))
    await put(store, "b", bytes(200_000), attributes=Attributes(storage_class="STANDARD_IA"))
    upload = await store.create_upload("bucket", "a", attributes=PLAIN, initiator="1")
    await store.put_part("bucket", "a", upload.upload_id, 1, stream(bytes(1000)))
    found = {(line.storage_class, line.objects, line.size) for line in await store.usage()}
    assert found == {("STANDARD", 1, 1100), ("STANDARD_IA", 1, 200_000)}


async def test_a_full_disk_refuses_and_leaves_nothing(tmp_path):
    """A limit on the size of files plays the full disk."""
    place = Place(tmp_path / "objects", None)
    store = await place.open()
    await store.create_bucket("bucket", account="1", region="r")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        for size in (1_000_000, 5_000_000):
            with pytest.raises(StorageFull):
                await put(store, "a", bytes(size))
        await put(store, "b", bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    await put(store, "c", bytes(5_000_000))
    assert [entry.key for entry in (await store.list("bucket")).entries] == ["b", "c"]
    assert len(place.blobs()) == 2
    await store.close()


async def test_puts_that_wait_share_a_commit(store):
    commits: list[str] = []
    store._index._writer.set_trace_callback(commits.append)
    await asyncio.gather(*(put(store, f"k{number}", b"x") for number in range(200)))
    assert 0 < commits.count("COMMIT") < 50


async def test_one_refused_change_takes_nothing_away_from_those_that_share_its_commit(store):
    await put(store, "taken", b"x")
    outcomes = await asyncio.gather(
        *(
            put(store, f"k{n}" if n % 2 else "taken", bytes([n]), conditions=Conditions(if_none_match="*"))
            for n in range(60)
        ),
        return_exceptions=True,
    )
    assert [isinstance(outcome, PreconditionFailed) for outcome in outcomes] == [n % 2 == 0 for n in range(60)]
    for n in range(1, 60, 2):
        assert await get(store, f"k{n}") == bytes([n])
    assert await get(store, "taken") == b"x"


async def test_no_name_gets_out_of_the_directory(tmp_path):
    """Files are called after random numbers, whatever objects and buckets are called."""
    place = Place(tmp_path / "deep" / "objects", None)
    store = await place.open()
    names = ["../../../escaped", "/etc/escaped", "..", ".", "a/../../escaped", "escaped\x00", "C:\\escaped"]
    for bucket in ["../escaped", "b"]:
        await store.create_bucket(bucket, account="1", region="r")
        for name in names:
            await put(store, name, bytes(100_000), bucket=bucket)
    found = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()]
    blob = re.compile(r"deep/objects/(blobs/[0-9a-f]{2}/[0-9a-f]{32}|processes/[0-9a-f]{12}|index\.db(-wal|-shm)?)")
    assert len(found) > 2 * len(names)
    assert all(blob.fullmatch(path) for path in found)
    for path in tmp_path.rglob("*"):
        if path.is_relative_to(place.directory):
            assert path.stat().st_mode & 0o077 == 0, path
    await store.close()


async def test_many_processes_may_make_the_store_at_once(tmp_path):
    script = MEMORY.split("async def main", maxsplit=1)[0] + OPEN
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", script, str(tmp_path / "objects")) for _ in range(4)
    ]
    assert [await process.wait() for process in processes] == [0] * 4


async def test_a_reader_that_is_closed_after_the_store(tmp_path):
    store = await open_objects(tmp_path / "objects", SystemClock())
    await store.create_bucket("bucket", account="1", region="r")
    await put(store, "a", b"1")
    reading = await store.open("bucket", "a")
    await store.close()
    await reading.close()
    await reading.close()


OPEN = """
async def main():
    store = await open_objects(Path(sys.argv[1]), SystemClock())
    assert await store.buckets() == []
    await store.close()

asyncio.run(main())
"""

MEMORY = """
import asyncio, resource, sys
from pathlib import Path
from pileus.base.clock import SystemClock
from pileus.engines.objects.model import Attributes, Digests, Encryption
from pileus.engines.objects.store import open_objects

async def main():
    store = await open_objects(Path(sys.argv[1]), SystemClock())
    await store.create_bucket("bucket", account="1", region="r")

    async def body(size):
        piece = bytes(range(256)) * 256
        for _ in range(size // len(piece)):
            yield piece

    async def through(key, size):
        attributes = Attributes(encryption=Encryption(mode="AES256"))
        digests = Digests(algorithm="CRC64NVME")
        await store.put("bucket", key, body(size), attributes=attributes, data_key=bytes(32), digests=digests)
        async with await store.open("bucket", key) as reading:
            return sum([len(piece) async for piece in reading.stream(key=bytes(32))])

    await through("small", 16 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert await through("large", 320 << 20) == 320 << 20
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
    await store.close()

asyncio.run(main())
"""


async def test_memory_is_the_same_whatever_the_size(tmp_path):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", MEMORY, str(tmp_path / "objects"), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    assert int(output) < 16  # MiB more than for an object of 16 MiB
