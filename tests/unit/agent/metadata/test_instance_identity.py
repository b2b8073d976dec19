"""The identity document and its signatures, verified by OpenSSL as the EC2 user guide tells."""

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from imds_samples import GUEST
from msgspec.structs import replace

from pileus.agent.metadata.identity import Identity, document, load_or_create
from pileus.agent.metadata.tree import find

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("identity")


@pytest.fixture(scope="module")
def identity(directory: Path) -> Identity:
    identity = load_or_create(directory / "identity.pem", NOW)
    (directory / "certificate").write_bytes(identity.certificate.public_bytes(serialization.Encoding.PEM))
    return identity


def openssl(*arguments: object) -> bool:
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, check=False).returncode == 0


def test_the_document_is_laid_out_as_ec2_does() -> None:
    content = document(GUEST)
    assert content.startswith(b'{\n  "accountId" : "123456789012",\n  "architecture" : "x86_64",\n')
    members = json.loads(content)
    assert list(members) == [
        *("accountId", "architecture", "availabilityZone", "billingProducts", "devpayProductCodes"),
        *("marketplaceProductCodes", "imageId", "instanceId", "instanceType", "kernelId", "pendingTime", "privateIp"),
        *("ramdiskId", "region", "version"),
    ]
    assert members["pendingTime"] == "2026-01-01T00:00:00Z"
    assert members["privateIp"] == "10.0.0.4"


@pytest.mark.parametrize("name", ["pkcs7", "rsa2048"])
def test_the_signed_message_proves_the_document(identity: Identity, directory: Path, name: str) -> None:
    signed = find(identity.directory(GUEST), (name,))
    assert signed is not None
    (directory / name).write_bytes(b"-----BEGIN PKCS7-----\n" + signed + b"\n-----END PKCS7-----\n")
    verify = ("smime", "-verify", "-in", directory / name, "-inform", "PEM", "-noverify", "-nointern")
    certified = ("-certfile", directory / "certificate")
    assert openssl(*verify, *certified, "-out", directory / "opened")
    assert (directory / "opened").read_bytes() == document(GUEST)
    stranger = load_or_create(directory / "stranger.pem", NOW)
    (directory / "foreign").write_bytes(stranger.certificate.public_bytes(serialization.Encoding.PEM))
    assert not openssl(*verify, "-certfile", directory / "foreign", "-out", directory / "opened")


def test_the_signature_proves_the_document_and_no_other(identity: Identity, directory: Path) -> None:
    signature = find(identity.directory(GUEST), ("signature",))
    assert signature is not None
    (directory / "signature.64").write_bytes(signature + b"\n")
    assert openssl("base64", "-d", "-in", directory / "signature.64", "-out", directory / "signature")
    assert openssl("x509", "-in", directory / "certificate", "-pubkey", "-noout", "-out", directory / "key")
    verify = ("dgst", "-sha256", "-verify", directory / "key", "-signature", directory / "signature")
    for guest, genuine in ((GUEST, True), (replace(GUEST, account="999999999999"), False)):
        (directory / "document").write_bytes(document(guest))
        assert openssl(*verify, directory / "document") == genuine


def test_the_identity_is_made_once_and_closed_to_others(identity: Identity, directory: Path) -> None:
    again = load_or_create(directory / "identity.pem", NOW)
    assert again.certificate == identity.certificate
    assert (directory / "identity.pem").stat().st_mode & 0o777 == 0o600


def test_another_kind_of_key_is_an_error(tmp_path: Path) -> None:
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", tmp_path / "key"], check=True)
    with pytest.raises(TypeError, match="RSA"):
        load_or_create(tmp_path / "key", NOW)
