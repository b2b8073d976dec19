"""KMS by boto3 and by the AWS CLI, over the wire; data keys for hosts over the link."""

import asyncio
import base64
import json
import os
import sys
from pathlib import Path

import pytest
from awaitable_client import Awaitable
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pileus.records import KmsKey

AWS = Path(sys.executable).with_name("aws")


@pytest.fixture
def kms(cloud):
    return Awaitable(cloud.client("kms"))


@pytest.fixture
def aws(cloud, tmp_path):
    """``await aws("kms", "list-keys")``: what the CLI prints."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AWS_ENDPOINT_URL": cloud.endpoint,
        "AWS_ACCESS_KEY_ID": cloud.credentials.access_key,
        "AWS_SECRET_ACCESS_KEY": cloud.credentials.secret_key,
        "AWS_DEFAULT_REGION": cloud.config.default_region,
        "AWS_PAGER": "",
        "AWS_EC2_METADATA_DISABLED": "true",
    }

    async def run(*arguments, fails=None):
        program = await asyncio.create_subprocess_exec(
            str(AWS), *arguments, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, error = await program.communicate()
        if fails is not None:
            assert program.returncode, out
            assert fails in error.decode()
            return None
        assert program.returncode == 0, error.decode()
        return json.loads(out) if out.strip() else None

    return run


async def test_envelope_encryption_as_clients_do_it(cloud, kms):
    key = (await kms.create_key(Description="mine"))["KeyMetadata"]
    await kms.create_alias(AliasName="alias/mine", TargetKeyId=key["KeyId"])
    context = {"purpose": "test", "ä": "ö"}
    made = await kms.generate_data_key(KeyId="alias/mine", KeySpec="AES_256", EncryptionContext=context)
    sealed = AESGCM(made["Plaintext"]).encrypt(bytes(12), b"a message", None)
    opened = await kms.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext=context)
    assert opened["KeyId"] == key["Arn"]
    assert AESGCM(opened["Plaintext"]).decrypt(bytes(12), sealed, None) == b"a message"
    with pytest.raises(kms.blocking.exceptions.InvalidCiphertextException):
        await kms.decrypt(CiphertextBlob=made["CiphertextBlob"])


async def test_errors_are_the_clients_own_classes(kms):
    exceptions = kms.blocking.exceptions
    key = (await kms.create_key())["KeyMetadata"]["KeyId"]
    with pytest.raises(exceptions.NotFoundException):
        await kms.describe_key(KeyId="alias/none")
    with pytest.raises(exceptions.DryRunOperationException) as error:
        await kms.encrypt(KeyId=key, Plaintext=b"x", DryRun=True)
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    await kms.disable_key(KeyId=key)
    with pytest.raises(exceptions.DisabledException):
        await kms.encrypt(KeyId=key, Plaintext=b"x")
    await kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    with pytest.raises(exceptions.KMSInvalidStateException):
        await kms.encrypt(KeyId=key, Plaintext=b"x")
    await kms.create_alias(AliasName="alias/a", TargetKeyId=(await kms.create_key())["KeyMetadata"]["KeyId"])
    with pytest.raises(exceptions.AlreadyExistsException):
        await kms.create_alias(AliasName="alias/a", TargetKeyId=(await kms.create_key())["KeyMetadata"]["KeyId"])


async def test_limits_of_the_model_are_told_as_aws_tells_them(cloud):
    """What boto3 itself would not send."""
    client = cloud.client("kms")
    client._serializer = client._serializer._serializer  # without the validation that is wrapped around it
    with pytest.raises(ClientError) as error:
        await asyncio.to_thread(client.list_keys, Limit=0)
    assert error.value.response["Error"]["Code"] == "ValidationException"
    assert "at 'limit' failed to satisfy constraint" in error.value.response["Error"]["Message"]


async def test_pages_and_waiting_periods(cloud, kms, in_time):
    made = {(await kms.create_key())["KeyMetadata"]["KeyId"] for _ in range(7)}
    pages = await asyncio.to_thread(
        lambda: kms.blocking.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 2}).build_full_result()
    )
    assert {key["KeyId"] for key in pages["Keys"]} == made
    doomed = made.pop()
    await kms.schedule_key_deletion(KeyId=doomed, PendingWindowInDays=7)
    await in_time(lambda view: view.get(KmsKey, doomed) is None, step=86400)
    assert {key.id for key in cloud.store.view().list(KmsKey)} == made


async def test_signatures_over_the_wire(kms):
    key = (await kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY"))["KeyMetadata"]["KeyId"]
    asked = {"KeyId": key, "Message": b"m", "SigningAlgorithm": "ECDSA_SHA_256"}
    signature = (await kms.sign(**asked))["Signature"]
    assert (await kms.verify(Signature=signature, **asked))["SignatureValid"]
    with pytest.raises(kms.blocking.exceptions.KMSInvalidSignatureException):
        await kms.verify(Signature=signature, **{**asked, "Message": b"n"})


async def test_the_cli(aws, tmp_path):
    key = (await aws("kms", "create-key", "--tags", "TagKey=a,TagValue=b"))["KeyMetadata"]["KeyId"]
    await aws("kms", "create-alias", "--alias-name", "alias/cli", "--target-key-id", key)
    secret = tmp_path / "secret"
    secret.write_bytes(b"from the shell")
    sealed = await aws("kms", "encrypt", "--key-id", "alias/cli", "--plaintext", f"fileb://{secret}",
                       "--encryption-context", "a=b")  # fmt: skip
    blob = tmp_path / "blob"
    blob.write_bytes(base64.b64decode(sealed["CiphertextBlob"]))
    opened = await aws("kms", "decrypt", "--ciphertext-blob", f"fileb://{blob}", "--encryption-context", "a=b")
    assert base64.b64decode(opened["Plaintext"]) == b"from the shell"
    await aws("kms", "decrypt", "--ciphertext-blob", f"fileb://{blob}", fails="InvalidCiphertextException")
    await aws("kms", "enable-key-rotation", "--key-id", key)
    assert (await aws("kms", "get-key-rotation-status", "--key-id", key))["KeyRotationEnabled"]
    policy = await aws("kms", "get-key-policy", "--key-id", key, "--policy-name", "default")
    assert json.loads(policy["Policy"])["Statement"]
    await aws("ec2", "enable-ebs-encryption-by-default")
    assert (await aws("ec2", "get-ebs-encryption-by-default"))["EbsEncryptionByDefault"] is True
    await aws("ec2", "modify-ebs-default-kms-key-id", "--kms-key-id", "alias/none", fails="InvalidKMSKey.NotFound")
