"""Encryption, data keys, signatures and MACs; what they give is read by the library that everybody uses, too."""

import hashlib
import hmac

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pileus.base.sealing import Sealer
from pileus.operations.keys import new_material
from pileus.records import KmsKey

STRANGER = "000000000002"
KEEP = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
CONTEXTS = st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=8), max_size=3)


@KEEP
@given(plaintext=st.binary(min_size=1, max_size=4096), context=CONTEXTS)
async def test_round_trip(kms, key, plaintext, context):
    sealed = await kms("Encrypt", KeyId=key, Plaintext=plaintext, EncryptionContext=context)
    assert sealed["KeyId"] == key
    opened = await kms("Decrypt", CiphertextBlob=sealed["CiphertextBlob"], EncryptionContext=context)
    assert (opened["Plaintext"], opened["KeyId"]) == (plaintext, key)


async def test_ciphertexts_are_bound_to_key_and_context(kms, create, key, refused):
    blob = (await kms("Encrypt", KeyId=key, Plaintext=b"x", EncryptionContext={"a": "b"}))["CiphertextBlob"]
    for context in ({}, {"a": "c"}, {"A": "b"}, {"a": "b", "c": ""}):
        assert await refused("Decrypt", CiphertextBlob=blob, EncryptionContext=context) == "InvalidCiphertextException"
    bound = {"CiphertextBlob": blob, "EncryptionContext": {"a": "b"}}
    other = (await create())["KeyId"]
    assert await refused("Decrypt", KeyId=other, **bound) == "IncorrectKeyException"
    assert (await kms("Decrypt", KeyId=key, **bound))["Plaintext"] == b"x"
    for position in range(len(blob)):
        damaged = blob[:position] + bytes([blob[position] ^ 1]) + blob[position + 1 :]
        assert await refused("Decrypt", CiphertextBlob=damaged, EncryptionContext={"a": "b"}) == (
            "InvalidCiphertextException"
        )
    assert await refused("Decrypt", CiphertextBlob=b"short") == "InvalidCiphertextException"
    assert await refused("Decrypt") == "ValidationException"


async def test_the_same_plaintext_never_looks_the_same(kms, key):
    blobs = {(await kms("Encrypt", KeyId=key, Plaintext=b"x"))["CiphertextBlob"] for _ in range(20)}
    assert len(blobs) == 20


async def test_re_encryption(kms, create, key, refused):
    other = (await create())["Arn"]
    blob = (await kms("Encrypt", KeyId=key, Plaintext=b"x", EncryptionContext={"a": "1"}))["CiphertextBlob"]
    asked = {"CiphertextBlob": blob, "SourceEncryptionContext": {"a": "1"}, "DestinationKeyId": other,
             "DestinationEncryptionContext": {"a": "2"}}  # fmt: skip
    moved = await kms("ReEncrypt", **asked)
    assert (moved["SourceKeyId"], moved["KeyId"]) == (key, other)
    opened = await kms("Decrypt", CiphertextBlob=moved["CiphertextBlob"], EncryptionContext={"a": "2"})
    assert (opened["Plaintext"], opened["KeyId"]) == (b"x", other)
    assert await refused("ReEncrypt", **{**asked, "SourceEncryptionContext": {}}) == "InvalidCiphertextException"
    assert await refused("ReEncrypt", SourceKeyId=other, **asked) == "IncorrectKeyException"


async def test_data_keys(kms, key, refused):
    made = await kms("GenerateDataKey", KeyId=key, KeySpec="AES_256", EncryptionContext={"a": "b"})
    assert len(made["Plaintext"]) == 32
    opened = await kms("Decrypt", CiphertextBlob=made["CiphertextBlob"], EncryptionContext={"a": "b"})
    assert (opened["Plaintext"], opened["KeyMaterialId"]) == (made["Plaintext"], made["KeyMaterialId"])
    assert len((await kms("GenerateDataKey", KeyId=key, KeySpec="AES_128"))["Plaintext"]) == 16
    hidden = await kms("GenerateDataKeyWithoutPlaintext", KeyId=key, NumberOfBytes=64)
    assert "Plaintext" not in hidden
    assert len((await kms("Decrypt", CiphertextBlob=hidden["CiphertextBlob"]))["Plaintext"]) == 64
    assert await refused("GenerateDataKey", KeyId=key) == "ValidationException"
    assert await refused("GenerateDataKey", KeyId=key, KeySpec="AES_256", NumberOfBytes=32) == "ValidationException"
    assert await refused("GenerateDataKey", KeyId=key, NumberOfBytes=1025) == "ValidationException"


async def test_random_bytes(kms, refused):
    assert {len((await kms("GenerateRandom", NumberOfBytes=number))["Plaintext"]) for number in (1, 1024)} == {1, 1024}
    assert (
        await refused("GenerateRandom") == await refused("GenerateRandom", NumberOfBytes=1025) == "ValidationException"
    )


async def test_dry_runs_check_everything_and_do_nothing(cloud, kms, create, key, refused):
    blob = (await kms("Encrypt", KeyId=key, Plaintext=b"x"))["CiphertextBlob"]
    mac = (await create(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC"))["Arn"]
    pair = (await create(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY"))["Arn"]
    signed = {"Message": b"x", "SigningAlgorithm": "ECDSA_SHA_256"}
    tried = {
        "Encrypt": {"KeyId": key, "Plaintext": b"x"},
        "Decrypt": {"CiphertextBlob": blob},
        "ReEncrypt": {"CiphertextBlob": blob, "DestinationKeyId": key},
        "GenerateDataKey": {"KeyId": key, "KeySpec": "AES_256"},
        "GenerateDataKeyPair": {"KeyId": key, "KeyPairSpec": "ECC_NIST_P256"},
        "GenerateMac": {"KeyId": mac, "Message": b"x", "MacAlgorithm": "HMAC_SHA_256"},
        "VerifyMac": {"KeyId": mac, "Message": b"x", "Mac": b"x", "MacAlgorithm": "HMAC_SHA_256"},
        "Sign": {"KeyId": pair, **signed},
        "Verify": {"KeyId": pair, "Signature": b"x", **signed},
        "CreateGrant": {"KeyId": key, "GranteePrincipal": STRANGER, "Operations": ["Decrypt"]},
    }
    before = cloud.store.view().revision
    for operation, params in tried.items():
        error = await cloud.refusal("kms", operation, DryRun=True, **params)
        assert (error.code, error.status) == ("DryRunOperationException", 412), operation
    assert cloud.store.view().revision == before
    assert await refused("Encrypt", DryRun=True, KeyId=pair, Plaintext=b"x") == "InvalidKeyUsageException"


@pytest.mark.parametrize(("algorithm", "digest", "most"), [
    ("RSAES_OAEP_SHA_1", hashes.SHA1, 214), ("RSAES_OAEP_SHA_256", hashes.SHA256, 190),
])  # fmt: skip
async def test_rsa_encryption(kms, create, refused, algorithm, digest, most):
    key = (await create(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT"))["Arn"]
    asked = {"KeyId": key, "EncryptionAlgorithm": algorithm}
    longest = bytes(most)
    blob = (await kms("Encrypt", Plaintext=longest, **asked))["CiphertextBlob"]
    assert (await kms("Decrypt", CiphertextBlob=blob, **asked))["Plaintext"] == longest
    told = await kms("GetPublicKey", KeyId=key)
    assert told["EncryptionAlgorithms"] == ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"]
    public = load_der_public_key(told["PublicKey"])
    elsewhere = public.encrypt(b"from outside", padding.OAEP(padding.MGF1(digest()), digest(), None))
    assert (await kms("Decrypt", CiphertextBlob=elsewhere, **asked))["Plaintext"] == b"from outside"
    assert await refused("Encrypt", Plaintext=bytes(most + 1), **asked) == "ValidationException"
    assert await refused("Encrypt", Plaintext=b"", EncryptionContext={"a": "b"}, **asked) == "ValidationException"
    assert await refused("Decrypt", CiphertextBlob=blob[:-1] + b"x", **asked) == "InvalidCiphertextException"
    assert await refused("Decrypt", CiphertextBlob=blob, EncryptionAlgorithm=algorithm) == "ValidationException"
    assert await refused("Encrypt", KeyId=key, Plaintext=b"x") == "InvalidKeyUsageException"


DIGESTS = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}
SIGNING = {
    "RSA_2048": [f"RSASSA_{one}_SHA_{bits}" for one in ("PSS", "PKCS1_V1_5") for bits in DIGESTS],
    "ECC_NIST_P256": ["ECDSA_SHA_256"],
    "ECC_NIST_P384": ["ECDSA_SHA_384"],
    "ECC_NIST_P521": ["ECDSA_SHA_512"],
    "ECC_SECG_P256K1": ["ECDSA_SHA_256"],
    "ECC_NIST_EDWARDS25519": ["ED25519_SHA_512"],
}


def verify(public, algorithm, signature, message, prehashed=False):
    """As somebody else would."""
    if algorithm.startswith("ED"):
        return public.verify(signature, message)
    digest = DIGESTS[algorithm.rpartition("_")[2]]()
    hashed = Prehashed(digest) if prehashed else digest
    if isinstance(public, ec.EllipticCurvePublicKey):
        return public.verify(signature, message, ec.ECDSA(hashed))
    pad = padding.PSS(padding.MGF1(digest), digest.digest_size) if "PSS" in algorithm else padding.PKCS1v15()
    return public.verify(signature, message, pad, hashed)


@pytest.mark.parametrize("spec", SIGNING)
async def test_signatures(kms, create, refused, spec):
    made = await create(KeySpec=spec, KeyUsage="SIGN_VERIFY")
    assert made["SigningAlgorithms"] == SIGNING[spec]
    public = load_der_public_key((await kms("GetPublicKey", KeyId=made["KeyId"]))["PublicKey"])
    for algorithm in SIGNING[spec]:
        asked = {"KeyId": made["Arn"], "SigningAlgorithm": algorithm, "Message": b"message"}
        signature = (await kms("Sign", **asked))["Signature"]
        verify(public, algorithm, signature, b"message")
        with pytest.raises(InvalidSignature):
            verify(public, algorithm, signature, b"another")
        assert (await kms("Verify", Signature=signature, **asked))["SignatureValid"] is True
        for wrong in ({"Message": b"other"}, {"Signature": signature[:-1] + bytes([signature[-1] ^ 1])}):
            code = await refused("Verify", **{"Signature": signature, **asked, **wrong})
            assert code == "KMSInvalidSignatureException"
        if algorithm.startswith("ED"):
            continue
        digest = hashlib.new(f"sha{algorithm.rpartition('_')[2]}", b"message").digest()
        prehashed = {**asked, "Message": digest, "MessageType": "DIGEST"}
        verify(public, algorithm, (await kms("Sign", **prehashed))["Signature"], digest, prehashed=True)
        assert (await kms("Verify", Signature=signature, **prehashed))["SignatureValid"]
        assert await refused("Sign", **{**prehashed, "Message": b"short"}) == "ValidationException"
    assert (
        await refused("Sign", KeyId=made["Arn"], Message=b"x", SigningAlgorithm="SM2DSA") == "InvalidKeyUsageException"
    )


@pytest.mark.parametrize(("spec", "size"), [("HMAC_224", 28), ("HMAC_256", 32), ("HMAC_384", 48), ("HMAC_512", 64)])
async def test_macs(kms, create, refused, spec, size):
    made = await create(KeySpec=spec, KeyUsage="GENERATE_VERIFY_MAC")
    algorithm = spec.replace("_", "_SHA_")
    assert made["MacAlgorithms"] == [algorithm]
    asked = {"KeyId": made["Arn"], "Message": b"message", "MacAlgorithm": algorithm}
    mac = (await kms("GenerateMac", **asked))["Mac"]
    assert len(mac) == size
    assert (await kms("VerifyMac", Mac=mac, **asked))["MacValid"] is True
    assert await refused("VerifyMac", Mac=bytes(size), **asked) == "KMSInvalidMacException"
    other = "HMAC_SHA_512" if spec != "HMAC_512" else "HMAC_SHA_256"
    assert await refused("GenerateMac", **{**asked, "MacAlgorithm": other}) == "InvalidKeyUsageException"


async def test_a_mac_that_is_known(cloud, kms, create):
    """RFC 4231, test case 2."""
    id_ = (await create(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC"))["KeyId"]
    material = new_material(Sealer(bytes(32)), id_, b"Jefe", cloud.clock.now())
    cloud.store.transact(lambda tx: tx.put(replace(tx.get(KmsKey, id_), materials=(material,))))
    told = await kms("GenerateMac", KeyId=id_, Message=b"what do ya want for nothing?", MacAlgorithm="HMAC_SHA_256")
    assert told["Mac"].hex() == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert told["Mac"] == hmac.digest(b"Jefe", b"what do ya want for nothing?", "sha256")


@pytest.mark.parametrize("spec", ["RSA_2048", "ECC_NIST_P256", "ECC_NIST_P521", "ECC_NIST_EDWARDS25519"])
async def test_data_key_pairs(kms, key, refused, spec):
    made = await kms("GenerateDataKeyPair", KeyId=key, KeyPairSpec=spec, EncryptionContext={"a": "b"})
    opened = await kms("Decrypt", CiphertextBlob=made["PrivateKeyCiphertextBlob"], EncryptionContext={"a": "b"})
    assert opened["Plaintext"] == made["PrivateKeyPlaintext"]
    private = load_der_private_key(made["PrivateKeyPlaintext"], None)
    assert private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == made["PublicKey"]
    hidden = await kms("GenerateDataKeyPairWithoutPlaintext", KeyId=key, KeyPairSpec=spec)
    assert "PrivateKeyPlaintext" not in hidden
    assert await refused("GenerateDataKeyPair", KeyId=key, KeyPairSpec="SM2") == "UnsupportedOperationException"


async def test_a_secret_is_agreed_with_another(kms, create, refused):
    key = (await create(KeySpec="ECC_NIST_P256", KeyUsage="KEY_AGREEMENT"))["Arn"]
    theirs = ec.generate_private_key(ec.SECP256R1())
    public = theirs.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    asked = {"KeyId": key, "KeyAgreementAlgorithm": "ECDH"}
    ours = load_der_public_key((await kms("GetPublicKey", KeyId=key))["PublicKey"])
    assert (await kms("DeriveSharedSecret", PublicKey=public, **asked))["SharedSecret"] == theirs.exchange(
        ec.ECDH(), ours
    )
    wrong = ec.generate_private_key(ec.SECP384R1()).public_key()
    wrong = wrong.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for bad in (b"nonsense", wrong):
        assert await refused("DeriveSharedSecret", PublicKey=bad, **asked) == "ValidationException"


async def test_keys_do_only_what_they_are_for(create, key, refused):
    pair = (await create(KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY"))["Arn"]
    assert await refused("Encrypt", KeyId=pair, Plaintext=b"x") == "InvalidKeyUsageException"
    assert await refused("GenerateDataKey", KeyId=pair, KeySpec="AES_256") == "InvalidKeyUsageException"
    assert await refused("GetPublicKey", KeyId=key) == "UnsupportedOperationException"
    signing = {"Message": b"x", "SigningAlgorithm": "RSASSA_PSS_SHA_256"}
    assert await refused("Sign", KeyId=key, **signing) == "InvalidKeyUsageException"
    assert await refused("GenerateMac", KeyId=key, Message=b"x", MacAlgorithm="HMAC_SHA_256") == (
        "InvalidKeyUsageException"
    )
