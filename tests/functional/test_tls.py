"""``pileus up`` with a certificate answers over TLS, and only so: real processes, a real client that verifies."""

import datetime
import ipaddress
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

pytestmark = pytest.mark.slow
PILEUS = str(Path(sys.executable).with_name("pileus"))


def write_certificate(directory: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key, as PEM files that the control plane's user may read."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pileus test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, secret = directory / "server.pem", directory / "server.key"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem, secret


@pytest.fixture
def directory() -> Iterator[Path]:
    """A data directory whose path is short enough for unix sockets."""
    path = Path(tempfile.mkdtemp(prefix="pt", dir="/tmp"))
    path.chmod(0o755)
    yield path
    subprocess.run([PILEUS, "--data-dir", str(path), "down"], check=True, capture_output=True)
    shutil.rmtree(path)


def test_a_client_that_verifies_the_certificate_is_answered(directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    pem, secret = write_certificate(directory)
    (directory / "config.toml").write_text(f'port = {port}\ncertificate = "{pem}"\nkey = "{secret}"\n')
    subprocess.run([PILEUS, "--data-dir", str(directory), "up", "--simulate"], check=True, capture_output=True)
    told = subprocess.run([PILEUS, "--data-dir", str(directory), "env"], check=True, capture_output=True, text=True)
    keys = dict(line.removeprefix("export ").split("=", 1) for line in told.stdout.splitlines())
    assert keys["AWS_ENDPOINT_URL"] == f"https://127.0.0.1:{port}"
    sts = boto3.client(
        "sts",
        endpoint_url=keys["AWS_ENDPOINT_URL"],
        region_name="us-east-1",
        verify=str(pem),
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
    )
    assert sts.get_caller_identity()["Account"] == "000000000001"
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
        plain.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert not plain.recv(100).startswith(b"HTTP/1.1 200")
