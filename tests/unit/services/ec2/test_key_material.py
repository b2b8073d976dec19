"""Keys against cryptography's own reading, and against what OpenSSH and OpenSSL said of a key that ssh-keygen made."""

import base64
import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
    load_ssh_public_key,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from pileus.services.ec2.key_material import InvalidKeyFormat, generate, read_public

RSA_LINE = (
    "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQDFznrhGtyLRl/xnyKHGouVtaRnC8oeXvOmsP7I/hfwgP4sd2GwBnGv1PLpBecr"
    "Dq/7Un03dBz+1nOq1/Sghhz2juOurI1RPRLR/USIOvznqLqOh6AELZTbhZLGWJqjsQlwP0BEFSpovP3H7iaFG5qerf5R5Z2NcW5E"
    "y10B4+tzWyt2WjLIziOtzb8/2Bp0RGDpJXa7iHsRiBNuqnWQJjK4oyozAkjaUl7OL+YvBmq3UiXhrw8UKd7O7JVZid+xlZmFRiyJ"
    "zJhAQXHUdLEDXU+nUOYm3c16DDE+UD91YtkhrAIZGJRJ5bvUlmrZ//1Tynlemm7RtH3OxBvFQtpZIpSn owner@example"
)
RSA_MD5 = "92:ee:b7:aa:eb:5f:d5:10:09:24:1e:49:dd:3d:9c:89"
"""``openssl rsa -pubout -outform DER | openssl md5 -c``"""
RSA_RFC4716 = """---- BEGIN SSH2 PUBLIC KEY ----
Comment: "2048-bit RSA, converted by owner@example from OpenSSH"
AAAAB3NzaC1yc2EAAAADAQABAAABAQDFznrhGtyLRl/xnyKHGouVtaRnC8oeXvOmsP7I/h
fwgP4sd2GwBnGv1PLpBecrDq/7Un03dBz+1nOq1/Sghhz2juOurI1RPRLR/USIOvznqLqO
h6AELZTbhZLGWJqjsQlwP0BEFSpovP3H7iaFG5qerf5R5Z2NcW5Ey10B4+tzWyt2WjLIzi
Otzb8/2Bp0RGDpJXa7iHsRiBNuqnWQJjK4oyozAkjaUl7OL+YvBmq3UiXhrw8UKd7O7JVZ
id+xlZmFRiyJzJhAQXHUdLEDXU+nUOYm3c16DDE+UD91YtkhrAIZGJRJ5bvUlmrZ//1Tyn
lemm7RtH3OxBvFQtpZIpSn
---- END SSH2 PUBLIC KEY ----
"""
"""``ssh-keygen -e -m RFC4716``"""
ED25519_LINE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEDD4XMpwnlacANLhRml2h5v67xepzO7quxc8xapHPJp owner@example"
ED25519_SHA256 = "DxBc8sKzvM3b94iMpN89QHXXF34L43DbZ4d37j7ILRQ="
"""``ssh-keygen -l``, without the algorithm and with its padding."""


def blob(line):
    return base64.b64decode(line.split()[1])


def test_an_rsa_key_is_pkcs1_with_the_sha1_of_its_pkcs8_form():
    made = generate("rsa", "pem", "x")
    assert made.private.startswith("-----BEGIN RSA PRIVATE KEY-----\n")
    key = load_pem_private_key(made.private.encode(), None)
    assert key.key_size == 2048
    der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    assert made.fingerprint.replace(":", "") == hashlib.sha1(der).hexdigest()
    assert load_ssh_public_key(made.public.encode()) == key.public_key()


def test_an_ed25519_key_is_openssh_with_the_sha256_of_its_public_half():
    made = generate("ed25519", "pem", "x")
    assert made.private.startswith("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    key = load_ssh_private_key(made.private.encode(), None)
    assert load_ssh_public_key(made.public.encode()) == key.public_key()
    assert base64.b64decode(made.fingerprint) == hashlib.sha256(blob(made.public)).digest()


def test_every_key_is_another():
    assert generate("ed25519", "pem", "x").private != generate("ed25519", "pem", "x").private


def read_ppk(text):
    """The parts of a PuTTY key file without passphrase, its MAC checked."""
    lines = iter(text.splitlines())
    fields, blocks = {}, {}
    for line in lines:
        name, _, value = line.partition(": ")
        fields[name] = value
        if name in {"Public-Lines", "Private-Lines"}:
            encoded = [next(lines) for _ in range(int(value))]
            assert all(len(part) == 64 for part in encoded[:-1])
            blocks[name] = base64.b64decode("".join(encoded))
    algorithm = fields["PuTTY-User-Key-File-2"]
    parts = (algorithm.encode(), b"none", fields["Comment"].encode(), blocks["Public-Lines"], blocks["Private-Lines"])
    key = hashlib.sha1(b"putty-private-key-file-mac-key").digest()
    signed = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    assert hmac.new(key, signed, "sha1").hexdigest() == fields["Private-MAC"]
    return fields, blocks["Public-Lines"], blocks["Private-Lines"]


def strings(data):
    while data:
        length = int.from_bytes(data[:4], "big")
        yield data[4 : 4 + length]
        data = data[4 + length :]


def test_an_rsa_key_for_putty():
    made = generate("rsa", "ppk", "my key")
    fields, public, private = read_ppk(made.private)
    assert (fields["PuTTY-User-Key-File-2"], fields["Comment"], public) == ("ssh-rsa", "my key", blob(made.public))
    d, p, q, iqmp = (int.from_bytes(part, "big") for part in strings(private))
    numbers = load_ssh_public_key(made.public.encode()).public_numbers()
    assert p * q == numbers.n
    assert pow(pow(2, numbers.e, numbers.n), d, numbers.n) == 2
    assert iqmp * q % p == 1


def test_an_ed25519_key_for_putty():
    made = generate("ed25519", "ppk", "my key")
    fields, public, private = read_ppk(made.private)
    assert (fields["PuTTY-User-Key-File-2"], public) == ("ssh-ed25519", blob(made.public))
    key = Ed25519PrivateKey.from_private_bytes(next(strings(private)))
    assert key.public_key() == load_ssh_public_key(made.public.encode())


def rsa_forms():
    key = load_ssh_public_key(RSA_LINE.encode())
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return {
        "line": RSA_LINE.encode(),
        "line without comment": " ".join(RSA_LINE.split()[:2]).encode(),
        "line with spaces around": f"\n {RSA_LINE}\r\n".encode(),
        "rfc 4716": RSA_RFC4716.encode(),
        "pem": key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "pkcs1 pem": key.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        "base64 of der": base64.b64encode(der),
        "base64 of der in lines": base64.encodebytes(der),
    }


@pytest.mark.parametrize("form", rsa_forms())
def test_reads_rsa_keys_in_every_form(form):
    read = read_public(rsa_forms()[form])
    assert (read.type, read.fingerprint) == ("rsa", RSA_MD5)
    assert read.public == " ".join(RSA_LINE.split()[:2])


def test_reads_ed25519_keys():
    read = read_public(ED25519_LINE.encode())
    assert (read.type, read.fingerprint) == ("ed25519", ED25519_SHA256)
    assert read.public == " ".join(ED25519_LINE.split()[:2])


def test_reads_continued_headers_of_rfc_4716():
    lines = RSA_RFC4716.splitlines()
    long = [lines[0], "Subject: me", "Comment: a long one, \\", "that goes on \\", "and ends", *lines[2:]]
    assert read_public("\n".join(long).encode()).fingerprint == RSA_MD5


def openssh(key):
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)


@pytest.mark.parametrize("bits", [1024, 3072, 4096])
def test_takes_rsa_keys_of_other_lengths(bits):
    assert read_public(openssh(rsa.generate_private_key(65537, bits))).type == "rsa"


REFUSED = {
    "nothing": b"",
    "a word": b"x",
    "a type alone": b"ssh-rsa",
    "no key": b"ssh-rsa AAAA",
    "options": b'command="rm" ' + RSA_LINE.encode(),
    "two lines": f"{RSA_LINE}\n{RSA_LINE}\n".encode(),
    "another type": openssh(ec.generate_private_key(ec.SECP256R1())),
    "another type in PEM": dsa.generate_private_key(2048)
    .public_key()
    .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    "an odd length": openssh(rsa.generate_private_key(65537, 1536)),
    "a private key": generate("ed25519", "pem", "x").private.encode(),
    "no end": RSA_RFC4716.rsplit("\n", 2)[0].encode(),
    "no body": b"---- BEGIN SSH2 PUBLIC KEY ----\n---- END SSH2 PUBLIC KEY ----",
}


@pytest.mark.parametrize("what", REFUSED)
def test_refuses(what):
    with pytest.raises(InvalidKeyFormat):
        read_public(REFUSED[what])


@settings(max_examples=300, deadline=None)
@given(form=st.sampled_from(sorted(rsa_forms())), at=st.integers(0, 1000), byte=st.binary(min_size=0, max_size=3))
def test_a_damaged_key_is_read_or_refused_and_nothing_else(form, at, byte):
    material = rsa_forms()[form]
    at %= len(material)
    try:
        read_public(material[:at] + byte + material[at + 1 :])
    except InvalidKeyFormat as error:
        assert error.code == "InvalidKey.Format"
