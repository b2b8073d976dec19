"""Which data keys a host is given, which are collected, and what becomes of KMS keys with time."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from pileus.base.sealing import Sealer
from pileus.controllers import data_keys, kms_keys
from pileus.hostapi.observation import KeyRequest
from pileus.hostapi.spec import HostSpec, SnapshotSpec, SourceSpec, VolumeSpec
from pileus.operations import keys
from pileus.operations.ciphertext import Ciphertext
from pileus.records import KINDS, DataKey, KmsAlias, KmsGrant, KmsKey, Snapshot, Volume
from pileus.store import open_store
from pileus.testing.clock import ManualClock

HERE, REGION = "000000000001", "us-east-1"
NOW = datetime(2026, 11, 23, tzinfo=UTC)
SEALER = Sealer(b"m" * 32)


@pytest.fixture
def store(tmp_path):
    opened = open_store(f"sqlite:///{tmp_path / 'store'}", KINDS, ManualClock(), durable=False)
    yield opened
    opened.close()


@pytest.fixture
def key(store):
    return store.transact(lambda tx: keys.default_key(tx, SEALER, HERE, REGION, "ebs", NOW))


@pytest.fixture
def data_key(store, key):
    return store.transact(lambda tx: keys.make_data_key(tx, SEALER, key, HERE, NOW))


def change(store, key, **fields):
    store.transact(lambda tx: tx.put(replace(tx.get(KmsKey, key.id), **fields)))


def naming(key_id):
    """Specs that name a key in each of the ways there are."""
    volume = VolumeSpec(volume_id="vol-1", size=1)
    yield HostSpec(revision=1, volumes=(replace(volume, key_id=key_id),))
    yield HostSpec(revision=1, volumes=(replace(volume, source=SourceSpec(root="", size=1, key_id=key_id)),))
    snapshot = SnapshotSpec(snapshot_id="snap-1", volume_id="vol-1", group="g", key_id=key_id)
    yield HostSpec(revision=1, snapshots=(snapshot,))


def asked(store, spec, key_id):
    return data_keys.answer(store.view(), SEALER, "host-1", spec, KeyRequest(request_id=5, key_id=key_id))


def test_a_host_gets_what_its_spec_names(store, data_key):
    for spec in naming(data_key.id):
        answer = asked(store, spec, data_key.id)
        assert (answer.request_id, answer.key, answer.error) == (
            5,
            keys.open_data_key(store.view(), SEALER, data_key),
            "",
        )


def test_and_nothing_else(store, data_key):
    for spec in (None, HostSpec(revision=1), *naming("dk-other")):
        answer = asked(store, spec, data_key.id)
        assert (answer.key, answer.permanent) == (b"", False)
        assert answer.error


def test_a_key_that_is_off_is_refused_with_ec2s_reason(store, key, data_key):
    spec = next(naming(data_key.id))
    for state in ("Disabled", "PendingDeletion"):
        change(store, key, state=state)
        answer = asked(store, spec, data_key.id)
        assert answer.error.startswith("Client.InvalidKMSKey.InvalidState: ")
        assert (answer.key, answer.permanent) == (b"", True)
    change(store, key, state="Enabled")
    assert asked(store, spec, data_key.id).key


def test_so_is_one_that_is_gone_or_damaged(store, key, data_key):
    spec = next(naming(data_key.id))
    store.transact(lambda tx: tx.put(replace(tx.get(DataKey, data_key.id), wrapped="AAAA")))
    assert asked(store, spec, data_key.id).error.startswith("Server.InternalError: ")
    store.transact(lambda tx: tx.put(replace(tx.get(DataKey, data_key.id), wrapped=data_key.wrapped)))
    store.transact(lambda tx: kms_keys.delete(tx, tx.get(KmsKey, key.id)))
    assert asked(store, spec, data_key.id).error.startswith("Client.InvalidKMSKey.NotFound: ")
    store.transact(lambda tx: tx.delete(tx.get(DataKey, data_key.id)))
    assert asked(store, spec, data_key.id).permanent


def test_data_keys_that_nothing_needs_are_collected(store, key):
    made = {name: store.transact(lambda tx: keys.make_data_key(tx, SEALER, key, HERE, NOW)).id
            for name in ("volume", "source", "snapshot", "unused")}  # fmt: skip

    def use(tx):
        fields = {"account": HERE, "region": REGION, "zone": "us-east-1a", "size": 1, "created": NOW}
        tx.put(Volume(id="vol-1", data_key_id=made["volume"], source_key_id=made["source"], **fields))
        tx.put(Snapshot(id="snap-1", account=HERE, region=REGION, volume_id="vol-1", size=1, started=NOW,
                        data_key_id=made["snapshot"]))  # fmt: skip

    store.transact(use)
    store.transact(lambda tx: data_keys.collect(tx, NOW + timedelta(minutes=9)))
    assert len(store.view().list(DataKey)) == 4
    store.transact(lambda tx: data_keys.collect(tx, NOW + timedelta(minutes=10)))
    left = {data_key.id for data_key in store.view().list(DataKey)}
    assert left == set(made.values()) - {made["unused"]}


def sweep(store, now):
    store.transact(lambda tx: kms_keys.sweep(tx, SEALER, now))


def test_a_key_is_deleted_when_its_time_is_over(store, key):
    store.transact(lambda tx: tx.put(KmsGrant(id="g", account=HERE, region=REGION, key_id=key.id, created=NOW,
                   grantee=HERE, operations=("Decrypt",), issuer=HERE)))  # fmt: skip
    change(store, key, state="PendingDeletion", deletion=NOW + timedelta(days=7))
    sweep(store, NOW + timedelta(days=6, hours=23))
    assert store.view().get(KmsKey, key.id)
    sweep(store, NOW + timedelta(days=7))
    view = store.view()
    assert not [*view.list(KmsKey), *view.list(KmsAlias), *view.list(KmsGrant)]


def test_a_key_is_rotated_when_it_is_due_and_opens_what_was_before(store, key):
    blob = keys.encrypt(SEALER, key, b"old", {})
    sweep(store, NOW + timedelta(days=364))
    assert len(store.view().get(KmsKey, key.id).materials) == 1
    sweep(store, NOW + timedelta(days=800))
    rotated = store.view().get(KmsKey, key.id)
    assert [material.rotation for material in rotated.materials] == [None, "AUTOMATIC"]
    assert rotated.rotation_due == NOW + timedelta(days=3 * 365)
    assert keys.open_material(SEALER, rotated, 0) != keys.open_material(SEALER, rotated, 1)
    assert keys.decrypt(SEALER, rotated, Ciphertext.parse(blob), {}) == b"old"
    sweep(store, NOW + timedelta(days=801))
    assert len(store.view().get(KmsKey, key.id).materials) == 2


def test_a_disabled_key_is_not_rotated(store, key):
    change(store, key, state="Disabled")
    sweep(store, NOW + timedelta(days=400))
    assert len(store.view().get(KmsKey, key.id).materials) == 1


def test_imported_material_expires(store, key):
    material = replace(key.materials[0], expires=NOW + timedelta(hours=1))
    change(store, key, origin="EXTERNAL", materials=(material,), rotation_due=None)
    sweep(store, NOW + timedelta(minutes=59))
    assert store.view().get(KmsKey, key.id).state == "Enabled"
    sweep(store, NOW + timedelta(hours=1))
    left = store.view().get(KmsKey, key.id)
    assert (left.state, left.materials[0].sealed, left.materials[0].id) == ("PendingImport", None, material.id)
    with pytest.raises(keys.KeyStateInvalid):
        keys.open_material(SEALER, left)
