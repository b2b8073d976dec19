"""Which host converts a disk image, and what becomes of what it reports."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from pileus.base.sealing import Sealer
from pileus.controllers import conversions, data_keys
from pileus.controllers.reading import Reading
from pileus.controllers.storage.roots import live_roots
from pileus.hostapi.observation import ConversionObservation
from pileus.operations import keys
from pileus.records import KINDS, DataKey, DiskTask, Host, Image, Snapshot
from pileus.records.image import image_name_scope
from pileus.store import open_store
from pileus.testing.clock import ManualClock

HERE, REGION = "000000000001", "us-east-1"
NOW = datetime(2026, 11, 23, tzinfo=UTC)
SOURCE, ROOT = "ab" * 32, "cd" * 32
SEALER = Sealer(b"m" * 32)


@pytest.fixture
def store(tmp_path):
    opened = open_store(f"sqlite:///{tmp_path / 'store'}", KINDS, ManualClock(), durable=False)
    yield opened
    opened.close()


@pytest.fixture
def put(store):
    return lambda record: store.transact(lambda tx: tx.put(record))


@pytest.fixture
def task(put):
    def make(id_="import-snap-0123", **fields):
        known = {
            "purpose": "import-snapshot",
            "stage": "converting",
            "source_root": SOURCE,
            "source_bytes": 5,
            **fields,
        }
        return put(DiskTask(id=id_, account=HERE, region=REGION, created=NOW, arn="a", user_id="u", bucket="b",
                            object_key="k", **known))  # fmt: skip

    return make


def host(id_, state="up"):
    return Host(id=id_, account="", region="", vcpus=1, memory=1, state=state)


def settle(store):
    assert conversions.unsettled(store.view())
    store.transact(conversions.settle)


def observe(store, task, phase, on="h1", **fields):
    seen = ConversionObservation(task_id=task.id, phase=phase, **fields)
    store.transact(lambda tx: conversions.observe(tx, on, seen, NOW))
    return store.view().get(DiskTask, task.id)


def listed(store, host_id):
    return conversions.host_conversions(Reading(store.view()), host_id)


def test_the_host_with_the_fewest_gets_it_and_another_when_that_is_lost(store, put, task):
    waiting = task()
    store.transact(conversions.settle)
    assert store.view().get(DiskTask, waiting.id).host_id is None
    one, other = put(host("h1")), put(host("h2"))
    settle(store)
    first = store.view().get(DiskTask, waiting.id).host_id
    task("import-snap-2")
    settle(store)
    assert {each.host_id for each in store.view().list(DiskTask)} == {"h1", "h2"}
    lost = one if first == "h1" else other
    put(replace(lost, state="lost"))
    settle(store)
    assert {each.host_id for each in store.view().list(DiskTask)} == {"h1", "h2"} - {first}
    assert not conversions.unsettled(store.view())


def test_what_a_host_is_told(store, task):
    task(host_id="h1", format="vpc", data_key_id="dk-1")
    task("export-ami-1", purpose="export-image", host_id="h1", format="vmdk", source_key_id="dk-s", data_key_id="dk-s")
    task("import-snap-3", stage="fetching", host_id="h1")
    first, second = listed(store, "h1")
    assert (first.source_format, first.target_format, first.source_key_id, first.key_id) == (
        "vpc", "raw", "dk-1", "dk-1",
    )  # fmt: skip
    assert (second.source_format, second.target_format, second.source_key_id) == ("raw", "vmdk", "dk-s")
    assert listed(store, "h2") == ()


def test_an_import_is_followed_to_its_end(store, task):
    going = task(host_id="h1", description="mine", data_key_id="dk-1")
    assert observe(store, going, "working", step="converting", progress=50).progress == 55
    assert observe(store, going, "working", progress=10).progress == 55
    assert observe(store, going, "done", on="h2", root=ROOT, size=1 << 30).stage == "converting"
    done = observe(store, going, "done", root=ROOT, size=3 << 30)
    assert (done.stage, done.progress, done.ended, done.host_id, done.source_root) == (
        "completed",
        100,
        NOW,
        None,
        None,
    )
    (snapshot,) = store.view().list(Snapshot)
    assert (snapshot.id, snapshot.root, snapshot.size, snapshot.state, snapshot.description, snapshot.data_key_id) == (
        done.snapshot_id, ROOT, 3, "completed", "mine", "dk-1",
    )  # fmt: skip
    assert observe(store, going, "done", root=SOURCE, size=1) == done
    assert store.view().list(Snapshot) == [snapshot]


def test_an_image_comes_of_an_imported_disk(store, task):
    going = task("import-ami-0123456789", purpose="import-image", host_id="h1", boot_mode="uefi")
    done = observe(store, going, "done", root=ROOT, size=1 << 30)
    image = store.view().get(Image, done.image_id)
    assert (image.name, image.boot_mode, image.snapshot_id, image.boots_with) == (
        going.id, "uefi", done.snapshot_id, None,
    )  # fmt: skip
    assert store.view().owner_of(image_name_scope(HERE, REGION), image.name) == image.id


def test_an_export_goes_on_to_its_bucket(store, task):
    going = task(purpose="export-image", host_id="h1", format="vmdk")
    sent = observe(store, going, "done", root=ROOT, size=77)
    assert (sent.stage, sent.result_root, sent.result_bytes, sent.source_root) == ("sending", ROOT, 77, None)
    assert not store.view().list(Snapshot)


def test_what_failed_says_why_and_keeps_nothing(store, task):
    going = task(host_id="h1", data_key_id="dk-1")
    failed = observe(store, going, "failed", detail="ClientError: no")
    assert (failed.stage, failed.message, failed.source_root, failed.data_key_id) == (
        "failed", "ClientError: no", None, None,
    )  # fmt: skip
    assert observe(store, task("import-snap-2", host_id="h1"), "done").stage == "failed"


def test_blocks_and_keys_of_a_task_are_kept_as_long_as_it_needs_them(store, task):
    key = store.transact(lambda tx: keys.default_key(tx, SEALER, HERE, REGION, "ebs", NOW))
    data_key = store.transact(lambda tx: keys.make_data_key(tx, SEALER, key, HERE, NOW))
    going = task(host_id="h1", data_key_id=data_key.id)
    assert live_roots(store.view()) == {bytes.fromhex(SOURCE)}
    later = NOW + timedelta(hours=1)
    store.transact(lambda tx: data_keys.collect(tx, later))
    assert store.view().get(DataKey, data_key.id)
    observe(store, going, "failed", detail="no")
    assert live_roots(store.view()) == set()
    store.transact(lambda tx: data_keys.collect(tx, later))
    assert store.view().get(DataKey, data_key.id) is None


def test_tasks_are_forgotten_after_a_week(store, task):
    task(host_id="h1")
    task("import-snap-2", stage="failed", ended=NOW)
    store.transact(lambda tx: conversions.forget(tx, NOW + timedelta(days=6)))
    assert len(store.view().list(DiskTask)) == 2
    store.transact(lambda tx: conversions.forget(tx, NOW + timedelta(days=7)))
    assert [each.id for each in store.view().list(DiskTask)] == ["import-snap-0123"]
