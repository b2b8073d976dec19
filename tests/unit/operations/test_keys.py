"""Data keys and the KMS keys above them, without any service."""

import base64
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pileus.base.sealing import Sealer
from pileus.operations import ciphertext, keys
from pileus.operations.call import Call, Identity
from pileus.operations.ciphertext import Ciphertext, CiphertextBroken
from pileus.operations.context import Context, Environment
from pileus.operations.key_access import default_policy, may
from pileus.records import KINDS, DataKey, KmsAlias, KmsGrant, KmsKey
from pileus.store import open_store
from pileus.testing.clock import ManualClock

HERE, STRANGER, REGION = "000000000001", "000000000002", "us-east-1"
MATERIAL = bytes(range(100, 132))
NOW = datetime(2026, 11, 23, tzinfo=UTC)
SEALER = Sealer(b"m" * 32)
KEY_ID = "01234567-89ab-4def-8123-456789abcdef"
CONTEXTS = st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=4)


@pytest.fixture
def store(tmp_path):
    opened = open_store(f"sqlite:///{tmp_path / 'store'}", KINDS, ManualClock(), durable=False)
    yield opened
    opened.close()


def identity(account=HERE):
    return Identity(account=account, arn=f"arn:aws:iam::{account}:root", user_id=account, access_key="AKIA")


@pytest.fixture
def calling(store):
    """``calling(work, account)``: what ``work`` gives in a writing call of the account."""
    env = Environment(config=None, clock=ManualClock(), sealer=SEALER, placement=None, consoles=None)

    def perform(work, account=HERE):
        call = Call(service="ec2", operation="CreateVolume", region=REGION, params={}, identity=identity(account),
                    request_id="r", now=NOW)  # fmt: skip
        return store.transact(lambda tx: work(Context(call, env, tx, tx)))

    return perform


@pytest.fixture
def key(calling):
    """A key of the first account."""

    def make(context):
        material = keys.new_material(SEALER, KEY_ID, MATERIAL, NOW)
        made = KmsKey(id=KEY_ID, account=HERE, region=REGION, spec="SYMMETRIC_DEFAULT", usage="ENCRYPT_DECRYPT",
                      created=NOW, policy=default_policy(HERE), materials=(material,))  # fmt: skip
        keys.put_alias(context.tx, made, "alias/mine", NOW)
        return context.tx.put(made)

    return calling(make)


def change(store, key, **fields):
    return store.transact(lambda tx: tx.put(replace(tx.get(KmsKey, key.id), **fields)))


def test_a_volume_without_a_named_key_gets_one_under_the_default_key(store, calling):
    first = calling(lambda context: keys.new_data_key(context, None))
    second = calling(lambda context: keys.new_data_key(context, "alias/aws/ebs"))
    view = store.view()
    assert first.kms_key_arn == second.kms_key_arn
    (default,) = view.list(KmsKey)
    assert (default.arn, default.manager) == (first.kms_key_arn, "AWS")
    assert [alias.name for alias in view.list(KmsAlias)] == ["alias/aws/ebs"]
    opened = [keys.open_data_key(view, SEALER, view.get(DataKey, one.id)) for one in (first, second)]
    assert len(set(opened)) == 2
    assert {len(one) for one in opened} == {32}


def test_neither_data_key_nor_material_is_kept_in_the_clear(tmp_path, store, calling, key):
    data_key = calling(lambda context: keys.new_data_key(context, key.id))
    secret = keys.open_data_key(store.view(), SEALER, data_key)
    for each in (secret, keys.open_material(SEALER, key)):
        for spelled in (each, base64.b64encode(each), each.hex().encode()):
            for path in filter(Path.is_file, tmp_path.rglob("*")):
                assert spelled not in path.read_bytes()


@pytest.mark.parametrize("name", [KEY_ID, "alias/mine", f"arn:aws:kms:{REGION}:{HERE}:key/{KEY_ID}",
                                  f"arn:aws:kms:{REGION}:{HERE}:alias/mine"])  # fmt: skip
def test_a_key_has_four_names(store, key, name):
    assert keys.find_key(store.view(), HERE, REGION, name) == key


@pytest.mark.parametrize("name", ["", "nonsense", "alias/other", KEY_ID[:-1] + "0", "arn:aws:kms:us-east-1", "arn:",
                                  f"arn:aws:kms:eu-central-1:{HERE}:key/{KEY_ID}",
                                  f"arn:aws:kms:{REGION}:{STRANGER}:key/{KEY_ID}",
                                  f"arn:aws:kms:{REGION}:{HERE}:thing/{KEY_ID}"])  # fmt: skip
def test_no_other_name_finds_it(store, key, name):
    with pytest.raises(keys.KeyNotFound):
        keys.find_key(store.view(), HERE, REGION, name)


@pytest.mark.parametrize(
    ("state", "error"), [("Disabled", keys.KeyDisabled), ("PendingDeletion", keys.KeyStateInvalid)]
)
def test_a_key_that_is_off_neither_makes_nor_opens_data_keys(store, calling, key, state, error):
    data_key = calling(lambda context: keys.new_data_key(context, key.arn))
    change(store, key, state=state)
    with pytest.raises(error):
        keys.open_data_key(store.view(), SEALER, data_key)
    with pytest.raises(error):
        calling(lambda context: keys.new_data_key(context, key.arn))
    change(store, key, state="Enabled")
    assert keys.open_data_key(store.view(), SEALER, data_key)


def test_a_data_key_dies_with_its_key(store, calling, key):
    data_key = calling(lambda context: keys.new_data_key(context, key.arn))
    store.transact(lambda tx: tx.delete(tx.get(KmsKey, key.id)))
    with pytest.raises(keys.KeyNotFound):
        keys.open_data_key(store.view(), SEALER, data_key)


def test_a_damaged_or_exchanged_data_key_is_refused(store, calling, key):
    one, other = (calling(lambda context: keys.new_data_key(context, key.arn)) for _ in range(2))
    for wrapped in (other.wrapped, one.wrapped[:-8] + "AAAAAAA=", ""):
        with pytest.raises(keys.InvalidCiphertext):
            keys.open_data_key(store.view(), SEALER, replace(one, wrapped=wrapped))


def test_what_an_earlier_material_encrypted_still_opens(store, key):
    old = keys.encrypt(SEALER, key, b"old", {})
    rotated = replace(key, materials=(*key.materials, keys.new_material(SEALER, key.id, b"r" * 32, NOW)))
    new = keys.encrypt(SEALER, rotated, b"new", {})
    assert [keys.decrypt(SEALER, rotated, Ciphertext.parse(blob), {}) for blob in (old, new)] == [b"old", b"new"]
    assert Ciphertext.parse(new).generation == 1


def test_keys_that_sign_wrap_nothing(store, calling, key):
    change(store, key, spec="RSA_2048", usage="SIGN_VERIFY")
    with pytest.raises(keys.KeyUsageInvalid):
        calling(lambda context: keys.new_data_key(context, key.arn))


def test_strangers_need_a_policy_or_a_grant(store, calling, key):
    def attempt():
        return calling(lambda context: keys.new_data_key(context, key.arn), STRANGER)

    with pytest.raises(keys.KeyAccessDenied):
        attempt()
    store.transact(lambda tx: tx.put(KmsGrant(id="g", account=HERE, region=REGION, key_id=key.id, created=NOW,
                   grantee=identity(STRANGER).arn, operations=("GenerateDataKey",), issuer=HERE)))  # fmt: skip
    assert attempt().account == STRANGER


ALLOW = {"Effect": "Allow", "Principal": {"AWS": [STRANGER]}, "Action": "kms:gen*", "Resource": "*"}


@pytest.mark.parametrize(("statements", "allowed"), [
    ([ALLOW], True),
    (ALLOW, True),
    ([{**ALLOW, "Principal": "*"}], True),
    ([{**ALLOW, "Principal": {"AWS": f"arn:aws:iam::{STRANGER}:root"}}], True),
    ([{**ALLOW, "Principal": {"AWS": HERE}}], False),
    ([{**ALLOW, "Principal": {"Service": STRANGER}}], False),
    ([{**ALLOW, "Action": ["kms:Encrypt", "kms:Generate???aKey"]}], True),
    ([{**ALLOW, "Action": ["kms:Encrypt"]}], False),
    ([{**ALLOW, "Resource": "arn:aws:kms:us-east-1:*:key/other"}], False),
    ([{**ALLOW, "Condition": {"Bool": {"kms:x": "true"}}}], False),
    ([{"Effect": "Allow", "NotPrincipal": {"AWS": HERE}, "Action": "kms:*", "Resource": "*"}], False),
    ([ALLOW, {"Effect": "Deny", "NotPrincipal": {"AWS": HERE}, "Action": "kms:*", "Resource": "*"}], False),
    ([ALLOW, {**ALLOW, "Effect": "Deny", "Condition": {"Bool": {"kms:x": "true"}}}], False),
    ([ALLOW, {**ALLOW, "Effect": "Deny", "Action": "kms:Encrypt"}], True),
    ([], False),
])  # fmt: skip
def test_plain_statements_of_a_policy(key, statements, allowed):
    import json

    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    assert may(replace(key, policy=policy), identity(STRANGER), "kms:GenerateDataKey") is allowed


def test_a_pattern_of_many_stars_takes_no_time(key):
    import json

    policy = json.dumps({"Statement": [{**ALLOW, "Action": "*a" * 2000 + "x"}]})
    assert not may(replace(key, policy=policy), identity(STRANGER), "kms:" + "a" * 60)


@given(st.binary(max_size=200), CONTEXTS)
def test_what_is_encrypted_opens_in_its_context(plaintext, context):
    blob = ciphertext.encrypt(b"k" * 32, KEY_ID, 3, plaintext, context)
    parts = Ciphertext.parse(blob)
    assert (parts.key_id, parts.generation) == (KEY_ID, 3)
    assert ciphertext.decrypt(b"k" * 32, parts, context) == plaintext
    with pytest.raises(CiphertextBroken):
        ciphertext.decrypt(b"k" * 32, parts, {**context, "more": "x" * 9})
    with pytest.raises(CiphertextBroken):
        ciphertext.decrypt(b"l" * 32, parts, context)


@given(CONTEXTS, CONTEXTS)
def test_no_two_contexts_are_one(one, other):
    assert (ciphertext.canonical_context(one) == ciphertext.canonical_context(other)) == (one == other)


@given(st.integers(0, 69), st.integers(1, 255))
def test_every_bit_of_a_blob_counts(position, change):
    blob = bytearray(ciphertext.encrypt(b"k" * 32, KEY_ID, 0, b"hello", {"a": "b"}))
    assert len(blob) == 70
    blob[position] ^= change
    with pytest.raises(CiphertextBroken):
        ciphertext.decrypt(b"k" * 32, Ciphertext.parse(bytes(blob)), {"a": "b"})


@given(st.binary(max_size=100))
def test_what_is_no_blob_is_refused(blob):
    with pytest.raises(CiphertextBroken):
        ciphertext.decrypt(b"k" * 32, Ciphertext.parse(blob), {})


def test_a_blob_that_was_kept(store):
    """Known answer: what this version wrote must open for ever."""
    blob = bytes.fromhex(KEPT)
    assert ciphertext.decrypt(bytes(range(32)), Ciphertext.parse(blob), {"bucket": "b", "a": "ä"}) == b"kept"


KEPT = (
    "010123456789ab4def8123456789abcdef0000000120eca286639fa2d46ea6ed0d5f8f778a362c10558f6112b1dfc22b312c"
    "b0ff6b42b9c2292b05761fc7f5e2f3905894dd"
)
