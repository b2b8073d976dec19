"""Key material: making key pairs, reading public keys in the formats that EC2 takes, and EC2's fingerprints.

Pure functions from bytes to text; nothing here is stored or logged. Sources: "Amazon EC2 key pairs" in the EC2 User Guide
(formats, lengths, fingerprints), RFC 4253 and RFC 4716 (public keys), appendix C of the PuTTY manual (PPK).
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Literal

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
    load_ssh_public_key,
)

from pileus.base.errors import ServiceError

KeyType = Literal["rsa", "ed25519"]
PublicKey = RSAPublicKey | Ed25519PublicKey

RSA_BITS = 2048
"""Of keys that are made here."""

IMPORTED_RSA_BITS = frozenset({1024, 2048, 3072, 4096})
"""What the User Guide lists, and 3072, which ``ssh-keygen`` makes unless told otherwise."""

_SSH_TYPES = frozenset({b"ssh-rsa", b"ssh-ed25519"})
_RFC4716_BEGIN = b"---- BEGIN SSH2 PUBLIC KEY ----"
_RFC4716_END = b"---- END SSH2 PUBLIC KEY ----"
_PPK_LINE = 64
_NO_KEY = "Key is not in valid OpenSSH public key format"


class InvalidKeyFormat(ServiceError):
    """What was imported is no public key of a kind that EC2 takes."""

    code = "InvalidKey.Format"


class Generated(msgspec.Struct, frozen=True, kw_only=True):
    """A new key pair: the private half for its owner alone, the public half as an OpenSSH line without comment."""

    private: str
    public: str
    fingerprint: str


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """A public key as an OpenSSH line without comment."""

    type: KeyType
    public: str
    fingerprint: str


def generate(key_type: KeyType, key_format: Literal["pem", "ppk"], comment: str) -> Generated:
    """A new key pair. PEM is PKCS#1 for RSA and OpenSSH's format for ED25519; PPK is version 2, which every PuTTY reads."""
    if key_type == "rsa":
        key: RSAPrivateKey | Ed25519PrivateKey = generate_private_key(public_exponent=65537, key_size=RSA_BITS)
        pkcs8 = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        fingerprint = _colons(hashlib.sha1(pkcs8, usedforsecurity=False).hexdigest())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    else:
        key = Ed25519PrivateKey.generate()
        fingerprint = _sha256(key.public_key())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    private = _ppk(key, comment) if key_format == "ppk" else pem.decode()
    return Generated(private=private, public=_openssh(key.public_key()), fingerprint=fingerprint)


def read_public(material: bytes) -> Imported:
    """A public key from an OpenSSH line, RFC 4716, PEM, or base64 of its DER form.

    Raises:
        InvalidKeyFormat: it is none of these, of another kind, or of a length that EC2 does not take.
    """
    try:
        key = _load(material.strip())
    except (ValueError, UnsupportedAlgorithm, binascii.Error) as error:
        raise InvalidKeyFormat(_NO_KEY) from error
    if isinstance(key, Ed25519PublicKey):
        return Imported(type="ed25519", public=_openssh(key), fingerprint=_sha256(key))
    if key.key_size not in IMPORTED_RSA_BITS:
        raise InvalidKeyFormat(f"Key length of {key.key_size} bits is not supported")
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    md5 = hashlib.md5(der, usedforsecurity=False).hexdigest()
    return Imported(type="rsa", public=_openssh(key), fingerprint=_colons(md5))


def _load(material: bytes) -> PublicKey:
    if material.startswith(_RFC4716_BEGIN):
        key = load_ssh_public_key(_from_rfc4716(material))
    elif material.startswith(b"-----BEGIN "):
        key = load_pem_public_key(material)
    elif b" " in material or b"\t" in material:
        # Options before the type, certificates and further lines would be taken over into authorized_keys: not here.
        if material.split()[0] not in _SSH_TYPES or len(material.splitlines()) > 1:
            raise ValueError("not one plain OpenSSH line")
        key = load_ssh_public_key(material)
    else:
        key = load_der_public_key(base64.b64decode(b"".join(material.split()), validate=True))
    if not isinstance(key, (RSAPublicKey, Ed25519PublicKey)):
        raise InvalidKeyFormat(_NO_KEY)
    return key


def _from_rfc4716(material: bytes) -> bytes:
    """The OpenSSH line of a key in RFC 4716's format; its headers, which may be continued by backslashes, are dropped."""
    lines = [line.strip() for line in material.splitlines()]
    if lines[-1] != _RFC4716_END:
        raise ValueError("the end is missing")
    body: list[bytes] = []
    header = False
    for line in lines[1:-1]:
        header_here = header or b":" in line
        header = header_here and line.endswith(b"\\")
        if not header_here:
            body.append(line)
    blob = base64.b64decode(b"".join(body), validate=True)
    length = int.from_bytes(blob[:4], "big")
    return blob[4 : 4 + length] + b" " + base64.b64encode(blob)


def _openssh(key: PublicKey) -> str:
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def _blob(key: PublicKey) -> bytes:
    return base64.b64decode(_openssh(key).split()[1])


def _sha256(key: PublicKey) -> str:
    """As ``ssh-keygen -l`` has it, but padded and without the algorithm's name: so EC2 spells it."""
    return base64.b64encode(hashlib.sha256(_blob(key)).digest()).decode()


def _colons(digest: str) -> str:
    return ":".join(digest[index : index + 2] for index in range(0, len(digest), 2))


def _string(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value


def _mpint(value: int) -> bytes:
    return _string(value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _ppk(key: RSAPrivateKey | Ed25519PrivateKey, comment: str) -> str:
    """A PuTTY private key file without passphrase."""
    public = _blob(key.public_key())
    if isinstance(key, RSAPrivateKey):
        algorithm, numbers = "ssh-rsa", key.private_numbers()
        private = b"".join(_mpint(number) for number in (numbers.d, numbers.p, numbers.q, numbers.iqmp))
    else:
        algorithm, private = "ssh-ed25519", _string(key.private_bytes_raw())
    signed = (algorithm.encode(), b"none", comment.encode(), public, private)
    mac_key = hashlib.sha1(b"putty-private-key-file-mac-key", usedforsecurity=False).digest()
    mac = hmac.new(mac_key, b"".join(_string(part) for part in signed), "sha1").hexdigest()
    public_lines, private_lines = _wrapped(public), _wrapped(private)
    return "\n".join(
        (
            f"PuTTY-User-Key-File-2: {algorithm}",
            "Encryption: none",
            f"Comment: {comment}",
            f"Public-Lines: {len(public_lines)}",
            *public_lines,
            f"Private-Lines: {len(private_lines)}",
            *private_lines,
            f"Private-MAC: {mac}",
            "",
        )
    )


def _wrapped(data: bytes) -> Sequence[str]:
    text = base64.b64encode(data).decode()
    return [text[start : start + _PPK_LINE] for start in range(0, len(text), _PPK_LINE)]
