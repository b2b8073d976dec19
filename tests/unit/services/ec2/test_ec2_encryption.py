"""Which key a new volume or snapshot is encrypted under."""

import pytest
from msgspec.structs import replace

from pileus.base.errors import ServiceError
from pileus.operations import keys
from pileus.operations.call import Call, Identity
from pileus.operations.context import Context, Environment
from pileus.operations.key_access import default_policy
from pileus.records import DataKey, KmsAlias, KmsKey
from pileus.services.ec2.encryption import encryption_of, kms_key_of

STRANGER = "000000000002"
KEYS = {"mine": "00000000-0000-4000-8000-000000000001", "other": "00000000-0000-4000-8000-000000000002"}


@pytest.fixture
def calling(cloud):
    """``calling(work, account)``: what ``work`` gives in a writing call of the account."""
    env = Environment(config=cloud.config, clock=cloud.clock, sealer=keys_sealer(), placement=None, consoles=None)

    def perform(work, account=cloud.account):
        who = Identity(account=account, arn=f"arn:aws:iam::{account}:root", user_id=account, access_key="AKIA")
        call = Call(service="ec2", operation="CreateVolume", region=cloud.region, params={}, identity=who,
                    request_id="r", now=cloud.clock.now())  # fmt: skip
        return cloud.store.transact(lambda tx: work(Context(call, env, tx, tx)))

    return perform


def keys_sealer():
    from pileus.base.sealing import Sealer

    return Sealer(bytes(32))


@pytest.fixture
def arns(cloud, calling):
    """Two keys of the first account, by their aliases."""

    def make(context):
        for name, id_ in KEYS.items():
            material = keys.new_material(context.env.sealer, id_, name.encode() * 8, context.now)
            key = KmsKey(id=id_, account=context.account, region=context.region, spec="SYMMETRIC_DEFAULT",
                         usage="ENCRYPT_DECRYPT", created=context.now, policy=default_policy(context.account),
                         materials=(material,))  # fmt: skip
            keys.put_alias(context.tx, key, f"alias/{name}", context.now)
            context.tx.put(key)

    calling(make)
    return {name: f"arn:aws:kms:{cloud.region}:{cloud.account}:key/{id_}" for name, id_ in KEYS.items()}


@pytest.fixture
def chosen(cloud, calling, arns):
    """``chosen(encrypted, key, source)``: (data key id, name of its KMS key), (None, None) or the code of the error."""
    names = {arn: name for name, arn in arns.items()}

    def choose(encrypted=None, key=None, source=None, account=cloud.account, **options):
        try:
            id_ = calling(lambda context: encryption_of(context, encrypted, key, source, **options), account)
        except ServiceError as error:
            return error.code
        arn = calling(lambda context: kms_key_of(context, id_))
        return id_, names.get(arn, arn and cloud.store.view().list(KmsAlias, key_id=arn.rpartition("/")[2])[0].name)

    return choose


@pytest.fixture
def source(calling, arns):
    """A data key under the first key."""
    return calling(lambda context: keys.new_data_key(context, "alias/mine")).id


def test_nothing_is_encrypted_unless_it_is_asked_for(chosen):
    assert chosen() == chosen(encrypted=False) == (None, None)


def test_under_the_default_key_or_the_one_that_is_named(chosen, arns):
    assert chosen(encrypted=True)[1] == "alias/aws/ebs"
    for name in ("alias/mine", KEYS["mine"], arns["mine"]):
        assert chosen(encrypted=True, key=name)[1] == "mine"


def test_a_key_needs_something_to_encrypt(chosen):
    assert chosen(key="alias/mine") == "InvalidParameterDependency"
    assert chosen(encrypted=False, key="alias/mine") == "InvalidParameterDependency"


def test_what_comes_from_an_encrypted_source_keeps_its_key(chosen, source):
    assert chosen(source=source) == chosen(encrypted=True, source=source) == (source, "mine")
    assert chosen(key="alias/mine", source=source) == (source, "mine")


def test_unless_another_is_named_or_it_is_a_copy(chosen, source):
    assert chosen(key="alias/other", source=source)[1] == "other"
    assert chosen(source=source, keep=False)[1] == "alias/aws/ebs"
    assert chosen(key="alias/mine", source=source, keep=False)[0] != source


def test_encryption_is_not_taken_off(chosen, source):
    assert chosen(encrypted=False, source=source) == "InvalidParameter"


async def test_encryption_by_default(ec2, chosen):
    assert await ec2("GetEbsEncryptionByDefault") == {"EbsEncryptionByDefault": False}
    assert await ec2("EnableEbsEncryptionByDefault") == {"EbsEncryptionByDefault": True}
    assert await ec2("GetEbsEncryptionByDefault") == {"EbsEncryptionByDefault": True}
    assert chosen()[1] == chosen(encrypted=False)[1] == "alias/aws/ebs"
    assert chosen(key="alias/mine")[1] == "mine"
    assert chosen(account=STRANGER) == (None, None)
    assert await ec2("DisableEbsEncryptionByDefault") == {"EbsEncryptionByDefault": False}
    assert chosen() == (None, None)


async def test_another_default_key(ec2, chosen, arns, source):
    assert await ec2("GetEbsDefaultKmsKeyId") == {"KmsKeyId": "alias/aws/ebs"}
    assert await ec2("ModifyEbsDefaultKmsKeyId", KmsKeyId="alias/other") == {"KmsKeyId": arns["other"]}
    assert await ec2("GetEbsDefaultKmsKeyId") == {"KmsKeyId": arns["other"]}
    assert chosen(encrypted=True)[1] == chosen(source=source, keep=False)[1] == "other"
    assert (await ec2("ResetEbsDefaultKmsKeyId"))["KmsKeyId"].endswith(":alias/aws/ebs")
    assert chosen(encrypted=True)[1] == "alias/aws/ebs"


async def test_keys_that_are_not_to_be_had(cloud, chosen, refused, arns, source):
    assert chosen(encrypted=True, key="alias/none") == "InvalidKMSKey.NotFound"
    assert await refused("ModifyEbsDefaultKmsKeyId", KmsKeyId="none") == "InvalidKMSKey.NotFound"
    assert chosen(encrypted=True, key=arns["mine"], account=STRANGER) == "UnauthorizedOperation"
    cloud.store.transact(lambda tx: tx.put(replace(tx.get(KmsKey, KEYS["mine"]), state="Disabled")))
    assert chosen(encrypted=True, key="alias/mine") == "InvalidKMSKey.InvalidState"
    assert chosen(source=source) == "InvalidKMSKey.InvalidState"
    assert await refused("ModifyEbsDefaultKmsKeyId", KmsKeyId="alias/mine") == "InvalidKMSKey.InvalidState"


def test_a_source_of_another_account_needs_its_key(cloud, chosen, arns, source):
    assert chosen(source=source, account=STRANGER) == "UnauthorizedOperation"
    policy = (
        '{"Statement": {"Effect": "Allow", "Principal": {"AWS": "000000000002"}, "Action": "kms:*", "Resource": "*"}}'
    )
    cloud.store.transact(lambda tx: tx.put(replace(tx.get(KmsKey, KEYS["mine"]), policy=policy)))
    id_, name = chosen(source=source, account=STRANGER)
    assert name == "alias/aws/ebs"
    assert cloud.store.view().get(DataKey, id_).account == STRANGER
