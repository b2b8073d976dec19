"""Grants, and material that owners bring along."""

import secrets
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import load_der_public_key

STRANGER = "000000000002"
THIRD = "000000000003"
ROOT = f"arn:aws:iam::{STRANGER}:root"


@pytest.fixture
def grant(kms, key):
    async def make(**params):
        asked = {"KeyId": key, "GranteePrincipal": ROOT, "Operations": ["Decrypt"], **params}
        return await kms("CreateGrant", **asked)

    return make


@pytest.fixture
async def blob(kms, key):
    return (await kms("Encrypt", KeyId=key, Plaintext=b"x", EncryptionContext={"a": "b", "c": "d"}))["CiphertextBlob"]


BOUND = {"EncryptionContext": {"a": "b", "c": "d"}}


async def test_a_grant_opens_and_its_end_closes(kms, stranger, refused, grant, key, blob):
    asked = {"CiphertextBlob": blob, **BOUND}
    assert await refused("Decrypt", account=STRANGER, **asked) == "AccessDeniedException"
    made = await grant()
    assert (await stranger("Decrypt", **asked))["Plaintext"] == b"x"
    assert await refused("Encrypt", account=STRANGER, KeyId=key, Plaintext=b"x") == "AccessDeniedException"
    await kms("RevokeGrant", KeyId=key, GrantId=made["GrantId"])
    assert await refused("Decrypt", account=STRANGER, **asked) == "AccessDeniedException"
    assert await refused("Decrypt", account=STRANGER, GrantTokens=[made["GrantToken"]], **asked) == (
        "InvalidGrantTokenException"
    )
    assert await refused("RevokeGrant", KeyId=key, GrantId=made["GrantId"]) == "NotFoundException"
    assert await refused("RevokeGrant", KeyId=key, GrantId="x") == "InvalidGrantIdException"


@pytest.mark.parametrize(("constraints", "code"), [
    ({"EncryptionContextSubset": {"a": "b"}}, None),
    ({"EncryptionContextEquals": {"a": "b", "c": "d"}}, None),
    ({"EncryptionContextEquals": {"a": "b"}}, "AccessDeniedException"),
    ({"EncryptionContextSubset": {"a": "x"}}, "AccessDeniedException"),
])  # fmt: skip
async def test_a_grant_for_some_contexts(stranger, refused, grant, blob, constraints, code):
    await grant(Constraints=constraints)
    if code is None:
        assert (await stranger("Decrypt", CiphertextBlob=blob, **BOUND))["Plaintext"] == b"x"
    else:
        assert await refused("Decrypt", account=STRANGER, CiphertextBlob=blob, **BOUND) == code


async def test_grants_are_listed(kms, create, grant, key, refused):
    one = await grant(Name="one", RetiringPrincipal="000000000001")
    two = await grant(GranteePrincipal=THIRD)
    listed = {entry["GrantId"]: entry for entry in (await kms("ListGrants", KeyId=key))["Grants"]}
    assert listed.keys() == {one["GrantId"], two["GrantId"]}
    drawn = listed[one["GrantId"]]
    assert (drawn["Name"], drawn["GranteePrincipal"], drawn["Operations"]) == ("one", ROOT, ["Decrypt"])
    assert drawn["KeyId"] == key
    assert [entry["GrantId"] for entry in (await kms("ListGrants", KeyId=key, GranteePrincipal=THIRD))["Grants"]] == [
        two["GrantId"]
    ]
    assert len((await kms("ListGrants", KeyId=key, GrantId=one["GrantId"]))["Grants"]) == 1
    retirable = await kms("ListRetirableGrants", RetiringPrincipal="arn:aws:iam::000000000001:root")
    assert [entry["GrantId"] for entry in retirable["Grants"]] == [one["GrantId"]]
    assert await refused("ListRetirableGrants", RetiringPrincipal=ROOT) == "AccessDeniedException"


async def test_the_same_grant_is_not_made_twice(grant):
    first, second = await grant(Name="n"), await grant(Name="n")
    assert first["GrantId"] == second["GrantId"]
    assert first["GrantToken"] != second["GrantToken"]
    assert (await grant(Name="n", Operations=["Encrypt"]))["GrantId"] != first["GrantId"]
    assert (await grant())["GrantId"] != (await grant())["GrantId"]


async def test_who_may_retire_a_grant(kms, stranger, refused, grant, key):
    by_retiring = await grant(RetiringPrincipal=STRANGER, GranteePrincipal=THIRD)
    assert await refused("RetireGrant", account=THIRD, GrantToken=by_retiring["GrantToken"]) == "AccessDeniedException"
    await stranger("RetireGrant", KeyId=key, GrantId=by_retiring["GrantId"])
    by_grantee = await grant(Operations=["Decrypt", "RetireGrant"])
    await stranger("RetireGrant", GrantToken=by_grantee["GrantToken"])
    by_owner = await grant()
    await kms("RetireGrant", GrantToken=by_owner["GrantToken"])
    assert (await kms("ListGrants", KeyId=key))["Grants"] == []
    assert await refused("RetireGrant") == "ValidationException"


async def test_who_was_granted_it_grants_no_more_than_that(stranger, refused, grant, key):
    asked = {"KeyId": key, "GranteePrincipal": THIRD, "Operations": ["Decrypt"]}
    assert await refused("CreateGrant", account=STRANGER, **asked) == "AccessDeniedException"
    await grant(Operations=["Decrypt", "CreateGrant"])
    await stranger("CreateGrant", **asked)
    assert await refused("CreateGrant", account=STRANGER, **{**asked, "Operations": ["Encrypt"]}) == (
        "AccessDeniedException"
    )


async def test_a_grant_with_a_constraint_is_passed_on_with_it(stranger, refused, grant, key):
    bound = {"EncryptionContextSubset": {"a": "b"}}
    await grant(Operations=["Decrypt", "CreateGrant"], Constraints=bound)
    asked = {"KeyId": key, "GranteePrincipal": THIRD, "Operations": ["Decrypt"]}
    assert await refused("CreateGrant", account=STRANGER, **asked) == "AccessDeniedException"
    await stranger("CreateGrant", Constraints=bound, **asked)


@pytest.mark.parametrize(("params", "code"), [
    ({"GranteePrincipal": "nobody"}, "InvalidArnException"),
    ({"GranteePrincipal": "arn:aws:s3:::bucket"}, "InvalidArnException"),
    ({"Operations": ["Sign"]}, "ValidationException"),
    ({"Operations": []}, "ValidationException"),
    ({"GrantTokens": ["nonsense"], "GranteePrincipal": THIRD}, None),
])  # fmt: skip
async def test_what_is_no_grant(refused, grant, key, params, code):
    if code is None:
        await grant(**params)  # the owner needs no token
    else:
        asked = {"KeyId": key, "GranteePrincipal": ROOT, "Operations": ["Decrypt"], **params}
        assert await refused("CreateGrant", **asked) == code


# Material that its owner brings


SECRET = bytes(range(200, 232))


def oaep(digest):
    return padding.OAEP(padding.MGF1(digest), digest, None)


def wrap(public, algorithm, secret):
    digest = hashes.SHA1() if algorithm.endswith("SHA_1") else hashes.SHA256()
    if algorithm.startswith("RSAES"):
        return public.encrypt(secret, oaep(digest))
    between = secrets.token_bytes(32)
    return public.encrypt(between, oaep(digest)) + keywrap.aes_key_wrap_with_padding(between, secret)


@pytest.fixture
async def external(create):
    return (await create(Origin="EXTERNAL"))["Arn"]


@pytest.fixture
def bring(kms, external):
    """``await bring(secret)``: the parameters of ImportKeyMaterial."""

    async def prepare(secret=SECRET, algorithm="RSAES_OAEP_SHA_256"):
        asked = await kms("GetParametersForImport", KeyId=external, WrappingAlgorithm=algorithm,
                          WrappingKeySpec="RSA_2048")  # fmt: skip
        wrapped = wrap(load_der_public_key(asked["PublicKey"]), algorithm, secret)
        return {"KeyId": external, "ImportToken": asked["ImportToken"], "EncryptedKeyMaterial": wrapped,
                "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}  # fmt: skip

    return prepare


@pytest.mark.parametrize("algorithm", ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "RSA_AES_KEY_WRAP_SHA_256"])
async def test_material_is_brought_taken_away_and_brought_again(kms, refused, external, bring, algorithm):
    assert (await kms("DescribeKey", KeyId=external))["KeyMetadata"]["KeyState"] == "PendingImport"
    assert await refused("Encrypt", KeyId=external, Plaintext=b"x") == "KMSInvalidStateException"
    await kms("ImportKeyMaterial", **await bring(algorithm=algorithm))
    blob = (await kms("Encrypt", KeyId=external, Plaintext=b"x"))["CiphertextBlob"]
    await kms("DeleteImportedKeyMaterial", KeyId=external)
    assert await refused("Decrypt", CiphertextBlob=blob) == "KMSInvalidStateException"
    assert await refused("ImportKeyMaterial", **await bring(bytes(32))) == "IncorrectKeyMaterialException"
    await kms("ImportKeyMaterial", **await bring())
    assert (await kms("Decrypt", CiphertextBlob=blob))["Plaintext"] == b"x"


async def test_what_is_not_taken_in(cloud, kms, create, key, refused, bring):
    good = await bring()
    other = (await create(Origin="EXTERNAL"))["Arn"]
    assert await refused("ImportKeyMaterial", **{**good, "KeyId": other}) == "InvalidImportTokenException"
    assert await refused("ImportKeyMaterial", **{**good, "ImportToken": b"\xff"}) == "InvalidImportTokenException"
    assert await refused("ImportKeyMaterial", **{**good, "EncryptedKeyMaterial": b"x" * 256}) == (
        "InvalidCiphertextException"
    )
    assert await refused("ImportKeyMaterial", **await bring(bytes(31))) == "InvalidCiphertextException"
    assert await refused("ImportKeyMaterial", **{**good, "ExpirationModel": "KEY_MATERIAL_EXPIRES"}) == (
        "ValidationException"
    )
    wanted = {"WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"}
    assert await refused("GetParametersForImport", KeyId=key, **wanted) == "UnsupportedOperationException"
    assert await refused("CreateKey", Origin="EXTERNAL", KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY") == (
        "UnsupportedOperationException"
    )
    cloud.clock.advance(86400)
    assert await refused("ImportKeyMaterial", **good) == "ExpiredImportTokenException"


async def test_material_with_an_end(cloud, kms, external, bring):
    until = cloud.clock.now() + timedelta(days=2)
    await kms("ImportKeyMaterial", **{**await bring(), "ExpirationModel": "KEY_MATERIAL_EXPIRES", "ValidTo": until})
    told = (await kms("DescribeKey", KeyId=external))["KeyMetadata"]
    assert (told["ExpirationModel"], told["ValidTo"]) == ("KEY_MATERIAL_EXPIRES", until)
