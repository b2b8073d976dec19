"""The instance identity document and its signatures, by which software elsewhere can tell who an instance is.

Source: "Instance identity documents" in the EC2 user guide. There, each signature has a key of its own (RSA-1024, DSA and
RSA-2048); here all are made with one RSA-2048 key, whose certificate takes the place of Amazon's published ones.
"""

import base64
import functools
import json
import textwrap
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

from pileus.agent.metadata.tree import Directory
from pileus.agent.state import replace_file
from pileus.hostapi.spec import MetadataSpec


class Identity:
    """Signs documents. ``certificate`` is what verifiers need: ``openssl smime -verify -nointern -certfile …``."""

    def __init__(self, key: rsa.RSAPrivateKey, certificate: x509.Certificate) -> None:
        self._key = key
        self.certificate = certificate
        # A document is read several times at boot and signing takes a millisecond in the service's only thread.
        self._signature = functools.lru_cache(maxsize=1024)(self._make_signature)
        self._pkcs7 = functools.lru_cache(maxsize=1024)(self._make_pkcs7)

    def directory(self, guest: MetadataSpec) -> Directory:
        """What is below ``dynamic/instance-identity/``."""
        content = document(guest)
        return Directory(
            {
                "document": content,
                "pkcs7": lambda: self._pkcs7(content),
                "rsa2048": lambda: self._pkcs7(content),
                "signature": lambda: self._signature(content),
            }
        )

    def _make_signature(self, content: bytes) -> bytes:
        return _base64_lines(self._key.sign(content, padding.PKCS1v15(), hashes.SHA256()))

    def _make_pkcs7(self, content: bytes) -> bytes:
        """The document in a PKCS #7 signed message, without the certificate: a verifier must bring the right one."""
        builder = pkcs7.PKCS7SignatureBuilder().set_data(content)
        builder = builder.add_signer(self.certificate, self._key, hashes.SHA256())
        options = [pkcs7.PKCS7Options.Binary, pkcs7.PKCS7Options.NoCerts]
        return _base64_lines(builder.sign(serialization.Encoding.DER, options))


def document(guest: MetadataSpec) -> bytes:
    """The document with EC2's members, in EC2's order and layout."""
    primary = next((interface for interface in guest.interfaces if interface.index == 0), None)
    members = {
        "accountId": guest.account,
        "architecture": guest.architecture,
        "availabilityZone": guest.zone,
        "billingProducts": None,
        "devpayProductCodes": None,
        "marketplaceProductCodes": None,
        "imageId": guest.image_id,
        "instanceId": guest.instance_id,
        "instanceType": guest.instance_type,
        "kernelId": None,
        "pendingTime": f"{guest.pending_time[:19]}Z",  # whole seconds, whatever precision the control plane keeps
        "privateIp": None if primary is None else primary.private_addresses[0],
        "ramdiskId": None,
        "region": guest.region,
        "version": "2017-09-30",
    }
    return json.dumps(members, indent=2, separators=(",", " : ")).encode()


def load_or_create(path: Path, now: datetime) -> Identity:
    """Reads the key and certificate from one PEM file; makes them when there is none. Blocks.

    The hosts of one cloud share an identity if they are given the same file beforehand. Raises OSError, and ValueError
    or TypeError when the file holds something else.
    """
    if not path.exists():
        replace_file(path, _create(now))
    pem = path.read_bytes()
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError(f"{path.name} must hold an RSA key")
    return Identity(key, x509.load_pem_x509_certificate(pem))


def _create(now: datetime) -> bytes:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Pileus instance identity")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3650))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)


def _base64_lines(raw: bytes) -> bytes:
    return "\n".join(textwrap.wrap(base64.b64encode(raw).decode(), 64)).encode()
