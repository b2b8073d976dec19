"""A certificate authority for tests of mutual TLS."""

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """Issues certificates whose DNS name is what it is asked for."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self.certificate_path = directory / "authority.pem"
        self.certificate_path.write_bytes(self._sign("test authority", self._key.public_key(), authority=True))

    def server_context(self, name: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        return self._equip(context, name)

    def client_context(self, name: str) -> ssl.SSLContext:
        return self._equip(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), name)

    def _equip(self, context: ssl.SSLContext, name: str) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        path = self._directory / f"{name}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + self._sign(name, key.public_key())
        )
        context.load_cert_chain(path)
        context.load_verify_locations(self.certificate_path)
        return context

    def _sign(self, name: str, key: ec.EllipticCurvePublicKey, *, authority: bool = False) -> bytes:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name.replace(" ", "-"))]), critical=False)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )


@pytest.fixture
def new_authority(tmp_path: Path) -> Callable[[str], Authority]:
    """Makes a certificate authority that keeps its files in a directory of the given name."""
    return lambda name: Authority(tmp_path / name)
