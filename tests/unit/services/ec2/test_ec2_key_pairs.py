import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from pileus.records import KeyPair


@pytest.fixture
def material():
    """A public key as its owner would import it."""
    key = Ed25519PrivateKey.generate().public_key()
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b" me@home\n"


def names(result):
    return [pair["KeyName"] for pair in result["KeyPairs"]]


async def test_the_private_key_is_told_once_and_never_kept(cloud, ec2):
    made = await ec2("CreateKeyPair", KeyName="mine")
    assert load_pem_private_key(made["KeyMaterial"].encode(), None).key_size == 2048
    assert made["KeyPairId"].startswith("key-")
    record = cloud.store.view().get(KeyPair, made["KeyPairId"])
    body = made["KeyMaterial"].splitlines()[5]
    assert body not in repr(record)
    described = (await ec2("DescribeKeyPairs", KeyNames=["mine"]))["KeyPairs"][0]
    assert described == {
        "KeyPairId": made["KeyPairId"],
        "KeyName": "mine",
        "KeyType": "rsa",
        "KeyFingerprint": made["KeyFingerprint"],
        "CreateTime": cloud.clock.now(),
        "Tags": [],
    }


async def test_the_public_key_comes_on_demand_with_the_name(ec2, material):
    imported = await ec2("ImportKeyPair", KeyName="theirs", PublicKeyMaterial=material)
    assert "KeyMaterial" not in imported
    pair = (await ec2("DescribeKeyPairs", IncludePublicKey=True))["KeyPairs"][0]
    assert pair["PublicKey"] == material.decode().replace("me@home\n", "theirs")
    assert pair["KeyType"] == "ed25519"
    assert len(base64.b64decode(pair["KeyFingerprint"])) == 32


async def test_tags_on_creation(ec2, refused, material):
    tags = [{"Key": "team", "Value": "a"}]
    specification = [{"ResourceType": "key-pair", "Tags": tags}]
    assert (await ec2("CreateKeyPair", KeyName="a", KeyType="ed25519", TagSpecifications=specification))["Tags"] == tags
    assert (await ec2("ImportKeyPair", KeyName="b", PublicKeyMaterial=material, TagSpecifications=specification))[
        "Tags"
    ] == tags
    found = await ec2("DescribeKeyPairs", Filters=[{"Name": "tag:team", "Values": ["a"]}])
    assert names(found) == ["a", "b"]
    wrong = [{"ResourceType": "instance", "Tags": tags}]
    assert await refused("CreateKeyPair", KeyName="c", TagSpecifications=wrong) == "InvalidParameterValue"


async def test_names_are_unique_in_an_account_and_region(cloud, ec2, refused, material):
    await ec2("CreateKeyPair", KeyName="one", KeyType="ed25519")
    assert await refused("CreateKeyPair", KeyName="one") == "InvalidKeyPair.Duplicate"
    assert await refused("ImportKeyPair", KeyName="one", PublicKeyMaterial=material) == "InvalidKeyPair.Duplicate"
    await cloud.of("000000000002").call("ec2", "ImportKeyPair", KeyName="one", PublicKeyMaterial=material)
    await cloud.within("eu-central-1").call("ec2", "ImportKeyPair", KeyName="one", PublicKeyMaterial=material)
    await ec2("DeleteKeyPair", KeyName="one")
    await ec2("CreateKeyPair", KeyName="one", KeyType="ed25519")


async def test_filters(ec2, material):
    made = await ec2("CreateKeyPair", KeyName="made", KeyType="ed25519")
    await ec2("ImportKeyPair", KeyName="brought", PublicKeyMaterial=material)
    for name, value in (
        ("fingerprint", made["KeyFingerprint"]),
        ("key-name", "ma*"),
        ("key-pair-id", made["KeyPairId"]),
    ):
        assert names(await ec2("DescribeKeyPairs", Filters=[{"Name": name, "Values": [value]}])) == ["made"]


async def test_finds_by_name_and_by_id_together(ec2, refused):
    first = await ec2("CreateKeyPair", KeyName="a", KeyType="ed25519")
    await ec2("CreateKeyPair", KeyName="b", KeyType="ed25519")
    await ec2("CreateKeyPair", KeyName="c", KeyType="ed25519")
    assert names(await ec2("DescribeKeyPairs", KeyNames=["b"], KeyPairIds=[first["KeyPairId"]])) == ["a", "b"]
    assert await refused("DescribeKeyPairs", KeyNames=["z"]) == "InvalidKeyPair.NotFound"
    assert await refused("DescribeKeyPairs", KeyPairIds=["key-0123456789abcdef0"]) == "InvalidKeyPair.NotFound"
    assert await refused("DescribeKeyPairs", KeyPairIds=["z"]) == "InvalidKeyPair.Malformed"


async def test_deleting(ec2, refused):
    first = await ec2("CreateKeyPair", KeyName="a", KeyType="ed25519")
    await ec2("CreateKeyPair", KeyName="b", KeyType="ed25519")
    assert await ec2("DeleteKeyPair", KeyPairId=first["KeyPairId"]) == {"Return": True, "KeyPairId": first["KeyPairId"]}
    assert names(await ec2("DescribeKeyPairs")) == ["b"]
    assert await ec2("DeleteKeyPair", KeyName="no such key") == {"Return": True}
    assert await ec2("DeleteKeyPair", KeyPairId=first["KeyPairId"]) == {"Return": True}
    assert await refused("DeleteKeyPair") == "MissingParameter"
    assert await refused("DeleteKeyPair", KeyName="b", KeyPairId="key-00000000") == "InvalidParameterCombination"


async def test_others_neither_see_nor_delete_it(cloud, ec2):
    made = await ec2("CreateKeyPair", KeyName="a", KeyType="ed25519")
    other = cloud.of("000000000002")
    assert names(await other.call("ec2", "DescribeKeyPairs")) == []
    error = await other.refusal("ec2", "DescribeKeyPairs", KeyPairIds=[made["KeyPairId"]])
    assert error.code == "InvalidKeyPair.NotFound"
    await other.call("ec2", "DeleteKeyPair", KeyPairId=made["KeyPairId"])
    assert names(await ec2("DescribeKeyPairs")) == ["a"]


@pytest.mark.parametrize("name", ["", " a", "a ", "a\n", "ä", "x" * 256])
async def test_names_that_a_key_cannot_have(refused, name):
    assert await refused("CreateKeyPair", KeyName=name) == "InvalidParameterValue"


async def test_material_that_is_no_key(refused):
    assert await refused("ImportKeyPair", KeyName="a", PublicKeyMaterial=b"hello") == "InvalidKey.Format"
    assert await refused("ImportKeyPair", KeyName="a", PublicKeyMaterial="ü".encode()) == "InvalidParameterValue"
    assert await refused("ImportKeyPair", KeyName="a", PublicKeyMaterial=b"x" * 2049) == "InvalidParameterValue"
    assert await refused("CreateKeyPair", KeyName="a", KeyType="dsa") == "InvalidParameterValue"
    assert await refused("CreateKeyPair", KeyName="a", KeyFormat="der") == "InvalidParameterValue"


async def test_putty_format(ec2):
    made = await ec2("CreateKeyPair", KeyName="a b", KeyType="ed25519", KeyFormat="ppk")
    assert made["KeyMaterial"].startswith("PuTTY-User-Key-File-2: ssh-ed25519\n")
    assert "\nComment: a b\n" in made["KeyMaterial"]
