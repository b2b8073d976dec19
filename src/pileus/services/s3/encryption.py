"""Server-side encryption: which way an object goes, and its data key.

SSE-S3 (the default): a data key for each object, sealed by the cloud's own key. SSE-KMS: a data key under a KMS key of the
account. SSE-C: the client's key, never kept. Source: Amazon S3 user guide, "Protecting data with encryption".
"""

import base64
import binascii
import hmac
import secrets
from collections.abc import Mapping
from hashlib import md5
from ipaddress import IPv6Address, ip_address
from typing import Any

import msgspec

from pileus.engines.objects.model import Bucket, Encryption
from pileus.operations import keys
from pileus.operations.call import Call
from pileus.operations.context import Context
from pileus.operations.keys import KeyUse
from pileus.services.s3 import documents
from pileus.services.s3.errors import S3Error, denied, told

_SEALED_FOR = "s3/data-key"
_CUSTOMER = "customer"
_KMS = frozenset({"aws:kms", "aws:kms:dsse"})
DEFAULT_RULE: Mapping[str, Any] = {
    "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": False}]
}


async def choose(context: Context, bucket: Bucket, key: str, params: Mapping[str, Any]) -> tuple[Encryption, bytes]:
    """How a new object is encrypted, and under which data key. Raises S3Error."""
    customer = customer_key(params)
    mode = params.get("ServerSideEncryption")
    if customer is not None:
        if mode is not None:
            raise S3Error(
                "InvalidArgument",
                "Server Side Encryption with Customer provided key is incompatible with the encryption method specified",
            )
        return Encryption(mode=_CUSTOMER, customer_key_md5=customer_md5(customer)), customer
    name, bucket_key = params.get("SSEKMSKeyId"), params.get("BucketKeyEnabled", False)
    if mode is None:
        if name is not None:
            raise S3Error(
                "InvalidArgument",
                "Server Side Encryption with AWS KMS managed key requires HTTP header "
                "x-amz-server-side-encryption : aws:kms",
            )
        rule = (documents.load(bucket, documents.ENCRYPTION) or DEFAULT_RULE)["Rules"][0]
        default = rule.get("ApplyServerSideEncryptionByDefault", {})
        mode, name = default.get("SSEAlgorithm", "AES256"), default.get("KMSMasterKeyID")
        bucket_key = params.get("BucketKeyEnabled", rule.get("BucketKeyEnabled", False))
    if mode == "AES256":
        if name is not None:
            raise S3Error("InvalidArgument", "The SSE-KMS key id can only be given with aws:kms")
        data_key = secrets.token_bytes(keys.DATA_KEY)
        wrapped = context.env.sealer.seal(data_key, _SEALED_FOR).encode()
        return Encryption(mode=mode, wrapped=wrapped), data_key
    if mode not in _KMS:
        raise S3Error(
            "InvalidEncryptionAlgorithmError",
            fields={"ArgumentName": "x-amz-server-side-encryption", "ArgumentValue": mode[:200]},
        )
    return await _under_kms(context, bucket, key, mode, name, _client_context(params), bucket_key=bucket_key)


async def _under_kms(
    context: Context, bucket: Bucket, key: str, mode: str, name: str | None, extra: str, *, bucket_key: bool
) -> tuple[Encryption, bytes]:
    if not context.account:
        raise denied()
    with told():
        if name is None:
            account, region, sealer, now = bucket.account, bucket.region, context.env.sealer, context.now
            chosen = await context.submit(lambda tx: keys.default_key(tx, sealer, account, region, "s3", now))
        else:
            chosen = keys.choose_key(context, name, "s3")
        bound = _kms_context(bucket.name, key, extra)
        data_key, wrapped = keys.generate(context.env.sealer, chosen, bound)
    encryption = Encryption(mode=mode, kms_key=chosen.arn, wrapped=wrapped, context=extra, bucket_key=bucket_key)
    return msgspec.structs.replace(encryption, context=msgspec.json.encode(bound).decode()), data_key


def open_key(
    context: Context, encryption: Encryption | None, params: Mapping[str, Any], *, uploading: bool = False
) -> bytes | None:
    """The data key of what is stored; for SSE-C the client's, which must be the same. None: it is not encrypted.

    ``uploading``: it is for a part. Raises S3Error: a key is missing, is another, or can't be used.
    """
    customer = customer_key(params)
    if encryption is None or encryption.mode != _CUSTOMER:
        if customer is not None:
            raise S3Error("InvalidRequest", "The encryption parameters are not applicable to this object.")
        return _unwrapped(context, encryption) if encryption else None
    if customer is None:
        raise S3Error(
            "InvalidRequest",
            "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to "
            "retrieve the object.",
        )
    if not hmac.compare_digest(customer_md5(customer), encryption.customer_key_md5):
        if uploading:
            raise S3Error(
                "InvalidRequest", "The provided encryption parameters did not match the ones used originally."
            )
        raise denied()
    return customer


def _unwrapped(context: Context, encryption: Encryption) -> bytes:
    sealer = context.env.sealer
    if encryption.mode == "AES256":
        return sealer.open(encryption.wrapped.decode(), _SEALED_FOR)
    if not context.account:
        raise denied()
    bound = msgspec.json.decode(encryption.context, type=dict[str, str])
    region = encryption.kms_key.split(":")[3]
    with told():
        key, _ = keys.key_of(context.view, region, encryption.wrapped)
        use = KeyUse(identity=context.call.identity, operation="Decrypt", context=bound, service="s3")
        keys.check_use(context.view, sealer, key, use)
        return keys.unwrap(context.view, sealer, region, encryption.wrapped, bound)


def check_transport(call: Call, params: Mapping[str, Any]) -> None:
    """A customer's key comes over TLS, as in S3, or over loopback, where it was on no wire. Raises S3Error."""
    if call.secure or not any("SSECustomerKey" in name for name in params):
        return
    address = ip_address(call.source_address) if call.source_address else None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address is None or not address.is_loopback:
        raise S3Error(
            "InvalidRequest",
            "Requests specifying Server Side Encryption with Customer provided keys must be made over a secure connection.",
        )


def customer_key(params: Mapping[str, Any], prefix: str = "") -> bytes | None:
    """SSE-C's key of 32 bytes in a request; None without one. Raises S3Error."""
    algorithm = params.get(f"{prefix}SSECustomerAlgorithm")
    text = params.get(f"{prefix}SSECustomerKey")
    digest = params.get(f"{prefix}SSECustomerKeyMD5")
    if algorithm is None and text is None and digest is None:
        return None
    if algorithm is None:
        raise S3Error(
            "InvalidArgument",
            "Requests specifying Server Side Encryption with Customer provided keys must provide a valid encryption "
            "algorithm.",
        )
    if algorithm != "AES256":
        raise S3Error(
            "InvalidEncryptionAlgorithmError", "The requested encryption algorithm is not valid, must be AES256."
        )
    if text is None:
        raise S3Error(
            "InvalidArgument",
            "Requests specifying Server Side Encryption with Customer provided keys must provide an appropriate secret key.",
        )
    try:
        key = text if isinstance(text, bytes) else base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 32:
        raise S3Error("InvalidArgument", "The secret key was invalid for the specified algorithm.")
    if digest is None:
        raise S3Error(
            "InvalidArgument",
            "Requests specifying Server Side Encryption with Customer provided keys must provide the client calculated MD5 "
            "of the secret key.",
        )
    if not hmac.compare_digest(customer_md5(key), digest):
        raise S3Error("InvalidArgument", "The calculated MD5 hash of the key did not match the hash that was provided.")
    return key


def customer_md5(key: bytes) -> str:
    """What tells customer keys apart."""
    return base64.b64encode(md5(key, usedforsecurity=False).digest()).decode()


def shape(encryption: Encryption | None, *, customer: bool = True) -> dict[str, Any]:
    """The members of an answer that tell how an object is encrypted; without ``customer`` nothing of SSE-C."""
    if encryption is None:
        return {}
    if encryption.mode == _CUSTOMER:
        if not customer:
            return {}
        return {"SSECustomerAlgorithm": "AES256", "SSECustomerKeyMD5": encryption.customer_key_md5}
    if encryption.mode == "AES256":
        return {"ServerSideEncryption": "AES256"}
    return {
        "ServerSideEncryption": encryption.mode,
        "SSEKMSKeyId": encryption.kms_key,
        "BucketKeyEnabled": encryption.bucket_key or None,
    }


def _client_context(params: Mapping[str, Any]) -> str:
    text = params.get("SSEKMSEncryptionContext")
    if text is None:
        return ""
    try:
        pairs = msgspec.json.decode(base64.b64decode(text, validate=True), type=dict[str, str])
    except (binascii.Error, msgspec.DecodeError):
        raise S3Error("InvalidArgument", "The x-amz-server-side-encryption-context header is not valid.") from None
    return msgspec.json.encode(pairs).decode()


def _kms_context(bucket: str, key: str, extra: str) -> dict[str, str]:
    given = msgspec.json.decode(extra, type=dict[str, str]) if extra else {}
    return {**given, "aws:s3:arn": f"arn:aws:s3:::{bucket}/{key}"}
