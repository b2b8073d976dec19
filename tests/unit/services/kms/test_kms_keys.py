"""Keys, their names, states, rotation, policies and tags."""

import json
from datetime import timedelta

import pytest

from pileus.base.sealing import Sealer
from pileus.controllers import kms_keys
from pileus.records import KmsKey

STRANGER = "000000000002"
NOWHERE = "00000000-0000-4000-8000-000000000000"


async def state(kms, key):
    return (await kms("DescribeKey", KeyId=key))["KeyMetadata"]["KeyState"]


async def test_a_key_as_it_is_drawn(cloud, kms, create):
    made = await create(Description="mine", Tags=[{"TagKey": "a", "TagValue": "b"}])
    id_ = made["KeyId"]
    assert made.pop("CurrentKeyMaterialId")
    assert made == {
        "AWSAccountId": cloud.account,
        "KeyId": id_,
        "Arn": f"arn:aws:kms:us-east-1:{cloud.account}:key/{id_}",
        "CreationDate": cloud.clock.now(),
        "Enabled": True,
        "Description": "mine",
        "KeyUsage": "ENCRYPT_DECRYPT",
        "KeyState": "Enabled",
        "Origin": "AWS_KMS",
        "KeyManager": "CUSTOMER",
        "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
        "KeySpec": "SYMMETRIC_DEFAULT",
        "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"],
        "MultiRegion": False,
    }
    await kms("UpdateKeyDescription", KeyId=id_, Description="")
    assert (await kms("DescribeKey", KeyId=id_))["KeyMetadata"]["Description"] == ""


@pytest.mark.parametrize(("params", "code"), [
    ({"KeySpec": "RSA_2048"}, "ValidationException"),
    ({"KeySpec": "ECC_NIST_P256", "KeyUsage": "ENCRYPT_DECRYPT"}, "ValidationException"),
    ({"KeyUsage": "SIGN_VERIFY"}, "ValidationException"),
    ({"KeySpec": "HMAC_256", "CustomerMasterKeySpec": "HMAC_256"}, "ValidationException"),
    ({"KeySpec": "SM2", "KeyUsage": "SIGN_VERIFY"}, "UnsupportedOperationException"),
    ({"MultiRegion": True}, "UnsupportedOperationException"),
    ({"Origin": "AWS_CLOUDHSM"}, "UnsupportedOperationException"),
    ({"Policy": "{}"}, "MalformedPolicyDocumentException"),
    ({"Tags": [{"TagKey": "aws:x", "TagValue": ""}]}, "TagException"),
    ({"Tags": [{"TagKey": "x", "TagValue": ""}] * 2}, "TagException"),
])  # fmt: skip
async def test_keys_that_are_not_made(refused, params, code):
    assert await refused("CreateKey", **params) == code


async def test_keys_are_listed_in_pages(kms, create, refused, stranger):
    made = sorted([(await create())["KeyId"] for _ in range(5)])
    first = await kms("ListKeys", Limit=3)
    assert first["Truncated"]
    rest = await kms("ListKeys", Limit=3, Marker=first["NextMarker"])
    assert not rest["Truncated"]
    assert [key["KeyId"] for key in first["Keys"] + rest["Keys"]] == made
    assert await refused("ListKeys", Marker="nonsense") == "InvalidMarkerException"
    assert await refused("ListAliases", Marker=first["NextMarker"]) == "InvalidMarkerException"
    assert (await stranger("ListKeys"))["Keys"] == []


async def test_keys_stay_in_their_region_and_account(cloud, key, refused):
    assert await refused("DescribeKey", KeyId=key.rpartition("/")[2], account=STRANGER) == "NotFoundException"
    assert await refused("DescribeKey", KeyId=key, account=STRANGER) == "AccessDeniedException"
    elsewhere = await cloud.within("eu-central-1").refusal("kms", "DescribeKey", KeyId=key)
    assert (elsewhere.code, elsewhere.message) == ("NotFoundException", "Invalid arn us-east-1")


async def test_the_words_of_errors(cloud, kms, key):
    error = await cloud.refusal("kms", "DescribeKey", KeyId=NOWHERE)
    assert error.message == f"Key 'arn:aws:kms:us-east-1:{cloud.account}:key/{NOWHERE}' does not exist"
    error = await cloud.refusal("kms", "DescribeKey", KeyId="alias/none")
    assert error.message == f"Alias arn:aws:kms:us-east-1:{cloud.account}:alias/none is not found."
    assert (await cloud.refusal("kms", "DescribeKey", KeyId="x")).message == "Invalid keyId 'x'"
    await kms("DisableKey", KeyId=key)
    assert (await cloud.refusal("kms", "Encrypt", KeyId=key, Plaintext=b"x")).message == f"{key} is disabled."
    await kms("ScheduleKeyDeletion", KeyId=key)
    assert (await cloud.refusal("kms", "Encrypt", KeyId=key, Plaintext=b"x")).message == f"{key} is pending deletion."


async def test_the_key_of_a_service_is_made_when_it_is_first_looked_at(cloud, kms, refused):
    made = (await kms("DescribeKey", KeyId="alias/aws/ebs"))["KeyMetadata"]
    assert made["KeyManager"] == "AWS"
    assert (await kms("DescribeKey", KeyId=f"arn:aws:kms:us-east-1:{cloud.account}:alias/aws/ebs"))[
        "KeyMetadata"
    ] == made
    assert (await kms("GetKeyRotationStatus", KeyId=made["KeyId"]))["KeyRotationEnabled"]
    for operation, params in (
        ("Encrypt", {"Plaintext": b"x"}),
        ("GenerateDataKey", {"KeySpec": "AES_256"}),
        ("DisableKey", {}),
        ("ScheduleKeyDeletion", {}),
        ("PutKeyPolicy", {"Policy": "{}"}),
        ("TagResource", {"Tags": []}),
        ("CreateAlias", {"AliasName": "alias/x"}),
        ("CreateGrant", {"GranteePrincipal": STRANGER, "Operations": ["Decrypt"]}),
    ):
        named = {"TargetKeyId": made["KeyId"]} if operation == "CreateAlias" else {"KeyId": made["KeyId"]}
        assert await refused(operation, **named, **params) == "AccessDeniedException", operation


async def test_aliases(kms, create, key, refused):
    other = (await create())["KeyId"]
    await kms("CreateAlias", AliasName="alias/one", TargetKeyId=key)
    assert (await kms("DescribeKey", KeyId="alias/one"))["KeyMetadata"]["Arn"] == key
    assert await refused("CreateAlias", AliasName="alias/one", TargetKeyId=other) == "AlreadyExistsException"
    await kms("UpdateAlias", AliasName="alias/one", TargetKeyId=other)
    assert (await kms("DescribeKey", KeyId="alias/one"))["KeyMetadata"]["KeyId"] == other
    await kms("CreateAlias", AliasName="alias/two", TargetKeyId=key)
    listed = (await kms("ListAliases"))["Aliases"]
    assert [(alias["AliasName"], alias["TargetKeyId"]) for alias in listed] == [
        ("alias/one", other),
        ("alias/two", key.rpartition("/")[2]),
    ]
    assert [alias["AliasName"] for alias in (await kms("ListAliases", KeyId=key))["Aliases"]] == ["alias/two"]
    signing = await create(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    assert await refused("UpdateAlias", AliasName="alias/one", TargetKeyId=signing["Arn"]) == "ValidationException"
    await kms("DeleteAlias", AliasName="alias/one")
    assert await refused("DeleteAlias", AliasName="alias/one") == "NotFoundException"


@pytest.mark.parametrize(("name", "code"), [
    ("one", "ValidationException"),
    ("alias/aws/mine", "NotAuthorizedException"),
    ("alias/a:b", "ValidationException"),
    ("alias/", "InvalidAliasNameException"),
    ("alias/ä", "InvalidAliasNameException"),
])  # fmt: skip
async def test_names_that_are_none(refused, key, name, code):
    assert await refused("CreateAlias", AliasName=name, TargetKeyId=key) == code


async def test_an_alias_names_no_alias_and_there_are_not_too_many(kms, key, refused):
    for number in range(50):
        await kms("CreateAlias", AliasName=f"alias/{number}", TargetKeyId=key)
    assert await refused("CreateAlias", AliasName="alias/x", TargetKeyId="alias/1") == "ValidationException"
    assert await refused("CreateAlias", AliasName="alias/x", TargetKeyId=key) == "LimitExceededException"


async def test_a_key_is_switched_off_and_on(kms, key, refused):
    blob = (await kms("Encrypt", KeyId=key, Plaintext=b"x"))["CiphertextBlob"]
    await kms("DisableKey", KeyId=key)
    assert await state(kms, key) == "Disabled"
    assert await refused("Decrypt", CiphertextBlob=blob) == "DisabledException"
    assert await refused("GenerateDataKey", KeyId=key, KeySpec="AES_256") == "DisabledException"
    assert await refused("EnableKeyRotation", KeyId=key) == "DisabledException"
    await kms("EnableKey", KeyId=key)
    assert (await kms("Decrypt", CiphertextBlob=blob))["Plaintext"] == b"x"


async def test_a_key_is_deleted_after_its_window(cloud, kms, key, refused):
    blob = (await kms("Encrypt", KeyId=key, Plaintext=b"x"))["CiphertextBlob"]
    told = await kms("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=7)
    assert told == {
        "KeyId": key,
        "DeletionDate": cloud.clock.now() + timedelta(days=7),
        "KeyState": "PendingDeletion",
        "PendingWindowInDays": 7,
    }
    assert (await kms("DescribeKey", KeyId=key))["KeyMetadata"]["DeletionDate"] == told["DeletionDate"]
    for operation, params in (
        ("Decrypt", {"CiphertextBlob": blob}),
        ("ScheduleKeyDeletion", {"KeyId": key}),
        ("EnableKey", {"KeyId": key}),
        ("UpdateKeyDescription", {"KeyId": key, "Description": ""}),
        ("CreateAlias", {"AliasName": "alias/x", "TargetKeyId": key}),
    ):
        assert await refused(operation, **params) == "KMSInvalidStateException", operation
    cloud.store.transact(lambda tx: kms_keys.sweep(tx, Sealer(bytes(32)), told["DeletionDate"]))
    assert await refused("DescribeKey", KeyId=key) == "NotFoundException"
    assert await refused("Decrypt", CiphertextBlob=blob) == "InvalidCiphertextException"


async def test_or_not(kms, key, refused):
    assert await refused("CancelKeyDeletion", KeyId=key) == "KMSInvalidStateException"
    assert (await kms("ScheduleKeyDeletion", KeyId=key))["PendingWindowInDays"] == 30
    assert await kms("CancelKeyDeletion", KeyId=key) == {"KeyId": key}
    assert await state(kms, key) == "Disabled"
    assert "DeletionDate" not in (await kms("DescribeKey", KeyId=key))["KeyMetadata"]


async def test_rotation(cloud, kms, create, key, refused):
    blob = (await kms("Encrypt", KeyId=key, Plaintext=b"old"))["CiphertextBlob"]
    assert await kms("GetKeyRotationStatus", KeyId=key) == {"KeyId": key, "KeyRotationEnabled": False}
    await kms("EnableKeyRotation", KeyId=key, RotationPeriodInDays=90)
    assert await kms("GetKeyRotationStatus", KeyId=key) == {
        "KeyId": key,
        "KeyRotationEnabled": True,
        "RotationPeriodInDays": 90,
        "NextRotationDate": cloud.clock.now() + timedelta(days=90),
    }
    assert await kms("RotateKeyOnDemand", KeyId=key) == {"KeyId": key}
    assert (await kms("Decrypt", CiphertextBlob=blob))["Plaintext"] == b"old"
    new = (await kms("Encrypt", KeyId=key, Plaintext=b"new"))["CiphertextBlob"]
    old, fresh = [(await kms("Decrypt", CiphertextBlob=one))["KeyMaterialId"] for one in (blob, new)]
    assert old != fresh
    (rotation,) = (await kms("ListKeyRotations", KeyId=key))["Rotations"]
    assert (rotation["RotationType"], rotation["KeyMaterialId"]) == ("ON_DEMAND", fresh)
    everything = (await kms("ListKeyRotations", KeyId=key, IncludeKeyMaterial="ALL_KEY_MATERIAL"))["Rotations"]
    assert [(one["KeyMaterialId"], one["KeyMaterialState"]) for one in everything] == [
        (old, "NON_CURRENT"),
        (fresh, "CURRENT"),
    ]
    for _ in range(24):
        await kms("RotateKeyOnDemand", KeyId=key)
    assert await refused("RotateKeyOnDemand", KeyId=key) == "LimitExceededException"
    await kms("DisableKeyRotation", KeyId=key)
    assert not (await kms("GetKeyRotationStatus", KeyId=key))["KeyRotationEnabled"]
    mac = (await create(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC"))["KeyId"]
    assert await refused("RotateKeyOnDemand", KeyId=mac) == "UnsupportedOperationException"


async def test_tags(kms, key, refused):
    await kms("TagResource", KeyId=key, Tags=[{"TagKey": "a", "TagValue": "1"}, {"TagKey": "b", "TagValue": "2"}])
    await kms("TagResource", KeyId=key, Tags=[{"TagKey": "a", "TagValue": "3"}])
    assert (await kms("ListResourceTags", KeyId=key))["Tags"] == [
        {"TagKey": "a", "TagValue": "3"},
        {"TagKey": "b", "TagValue": "2"},
    ]
    await kms("UntagResource", KeyId=key, TagKeys=["a", "c"])
    assert (await kms("ListResourceTags", KeyId=key))["Tags"] == [{"TagKey": "b", "TagValue": "2"}]
    many = [{"TagKey": str(number), "TagValue": ""} for number in range(50)]
    assert await refused("TagResource", KeyId=key, Tags=many) == "TagException"


OWN = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000001:root"}, "Action": "kms:*", "Resource": "*"}


def policy(*statements, **fields):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements), **fields})


async def test_policies_are_kept_as_they_were_put(kms, key, refused):
    default = json.loads((await kms("GetKeyPolicy", KeyId=key, PolicyName="default"))["Policy"])
    assert default["Id"] == "key-default-1"
    assert default["Statement"][0]["Principal"] == {"AWS": "arn:aws:iam::000000000001:root"}
    text = policy(OWN, Id="x") + "  "
    await kms("PutKeyPolicy", KeyId=key, PolicyName="default", Policy=text)
    assert await kms("GetKeyPolicy", KeyId=key) == {"Policy": text, "PolicyName": "default"}
    assert (await kms("ListKeyPolicies", KeyId=key))["PolicyNames"] == ["default"]
    assert await refused("GetKeyPolicy", KeyId=key, PolicyName="other") == "NotFoundException"


@pytest.mark.parametrize("text", [
    "", "[]", "1", "not json", '{"Statement": []}', "[" * 20000,
    policy({**OWN, "Effect": "Maybe"}),
    policy({**OWN, "Principal": "someone"}),
    policy({**OWN, "Principal": {"Nobody": "x"}}),
    policy({**OWN, "Action": []}),
    policy({**OWN, "Action": [1]}),
    policy({**OWN, "NotAction": "kms:*"}),
    policy({**OWN, "More": 1}),
    policy({name: value for name, value in OWN.items() if name != "Resource"}),
    policy(OWN, Version="2020-01-01"),
    policy(OWN, More="x"),
])  # fmt: skip
async def test_what_is_no_policy(refused, key, text):
    assert await refused("PutKeyPolicy", KeyId=key, Policy=text) == "MalformedPolicyDocumentException"


async def test_nobody_is_locked_out_by_mistake(kms, refused, key):
    text = policy({**OWN, "Principal": {"AWS": STRANGER}})
    assert await refused("PutKeyPolicy", KeyId=key, Policy=text) == "MalformedPolicyDocumentException"
    await kms("PutKeyPolicy", KeyId=key, Policy=text, BypassPolicyLockoutSafetyCheck=True)
    assert await refused("PutKeyPolicy", KeyId=key, Policy=policy(OWN, Id="x" * 33000)) == "LimitExceededException"


async def test_a_policy_lets_another_account_in(kms, stranger, refused, key):
    await kms(
        "PutKeyPolicy", KeyId=key, Policy=policy(OWN, {**OWN, "Principal": {"AWS": STRANGER}, "Action": "kms:E*"})
    )
    blob = (await stranger("Encrypt", KeyId=key, Plaintext=b"x"))["CiphertextBlob"]
    assert await refused("Decrypt", CiphertextBlob=blob, account=STRANGER) == "AccessDeniedException"
    assert (await kms("Decrypt", CiphertextBlob=blob))["Plaintext"] == b"x"


def test_secrets_do_not_show_in_the_record(cloud, key):
    record = cloud.store.view().get(KmsKey, key.rpartition("/")[2])
    assert record.materials[0].sealed.startswith("1.")
