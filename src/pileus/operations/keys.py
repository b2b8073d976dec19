"""KMS keys for the services that encrypt: finding a key, and data keys under it.

For a volume, snapshot or anything else with a lasting key of its own: ``new_data_key`` in the transaction that makes it,
``open_data_key`` where the bytes are needed. For many short-lived data keys that are kept with the data (objects):
``choose_key``, ``generate`` and ``unwrap``. All of the KMS service's own encryption goes through here, too.

Errors are KMS's (``KmsError``); each service tells them to its clients in its own words.
"""

import base64
import hmac
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Literal
from uuid import UUID

import msgspec

from pileus.base.errors import ServiceError
from pileus.base.ids import new_id, new_request_id
from pileus.base.sealing import SealBroken, Sealer
from pileus.operations import ciphertext
from pileus.operations.call import Identity
from pileus.operations.ciphertext import Ciphertext, CiphertextBroken
from pileus.operations.context import Context
from pileus.operations.key_access import default_policy, granted, may
from pileus.records.data_key import DataKey
from pileus.records.kms_alias import KmsAlias, alias_id
from pileus.records.kms_grant import KmsGrant
from pileus.records.kms_key import SYMMETRIC, KeyMaterial, KmsKey
from pileus.store import Transaction, View

AwsService = Literal["ebs", "s3"]
DATA_KEY = 32
"""Bytes of a data key."""

MANAGED_ROTATION = timedelta(days=365)
_LOOKING = ("Describe", "Get", "List")
_DESCRIPTIONS: Mapping[AwsService, str] = {
    "ebs": "Default key that protects my EBS volumes when no other key is defined",
    "s3": "Default key that protects my S3 objects when no other key is defined",
}


class KmsError(ServiceError):
    """What KMS may say of a key. The code is one of KMS's exceptions."""


class KeyNotFound(KmsError):
    """There is no such key or alias, or no such key any more."""

    code = "NotFoundException"


class KeyDisabled(KmsError):
    """The key is there, but disabled."""

    code = "DisabledException"


class KeyStateInvalid(KmsError):
    """The key waits for its deletion or for its material."""

    code = "KMSInvalidStateException"


class KeyAccessDenied(KmsError):
    """The caller may not do this with the key."""

    code = "AccessDeniedException"


class KeyUsageInvalid(KmsError):
    """The key is of another kind than is needed."""

    code = "InvalidKeyUsageException"


class InvalidCiphertext(KmsError):
    """What is to be decrypted is damaged, or the encryption context is another."""

    code = "InvalidCiphertextException"

    def __init__(self) -> None:
        super().__init__("")


class InvalidGrantToken(KmsError):
    """A grant token that was not given by CreateGrant, or of a grant that is gone."""

    code = "InvalidGrantTokenException"


class KeyUse(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants of a key: ``operation`` is KMS's name for it, e.g. ``GenerateDataKey``."""

    identity: Identity
    operation: str
    context: Mapping[str, str] = {}
    grant_tokens: Sequence[str] = ()
    service: AwsService | None = None


# Finding keys


def find_key(view: View, account: str, region: str, name: str) -> KmsKey:
    """A key by id, ARN, ``alias/…`` or alias ARN, in whatever state. Names without an ARN are the account's own.

    Says nothing about whether the caller may use it: ``check_use`` does. Raises KeyNotFound.
    """
    if name.startswith("arn:"):
        return _find_by_arn(view, region, name)
    if name.startswith("alias/"):
        return _find_by_alias(view, account, region, name)
    return _find_by_id(view, account, region, name)


def _find_by_arn(view: View, region: str, name: str) -> KmsKey:
    parts = name.split(":", 5)
    if len(parts) != 6 or parts[:3] != ["arn", "aws", "kms"]:
        raise KeyNotFound(f"Invalid arn {name}")
    if parts[3] != region:
        raise KeyNotFound(f"Invalid arn {parts[3]}")
    if parts[5].startswith("alias/"):
        return _find_by_alias(view, parts[4], region, parts[5])
    if not parts[5].startswith("key/"):
        raise KeyNotFound(f"Invalid arn {name}")
    return _find_by_id(view, parts[4], region, parts[5].removeprefix("key/"))


def _find_by_alias(view: View, account: str, region: str, name: str) -> KmsKey:
    alias = view.get(KmsAlias, alias_id(account, region, name))
    key = view.get(KmsKey, alias.key_id) if alias else None
    if key is None:
        raise KeyNotFound(f"Alias arn:aws:kms:{region}:{account}:{name} is not found.")
    return key


def _find_by_id(view: View, account: str, region: str, name: str) -> KmsKey:
    try:
        UUID(name)
    except ValueError as error:
        raise KeyNotFound(f"Invalid keyId '{name}'") from error
    key = view.get(KmsKey, name.lower())
    if key is None or (key.account, key.region) != (account, region):
        raise KeyNotFound(f"Key 'arn:aws:kms:{region}:{account}:key/{name}' does not exist")
    return key


def check_use(view: View, sealer: Sealer, key: KmsKey, use: KeyUse) -> None:
    """Raises KeyAccessDenied unless the caller may; then KeyDisabled or KeyStateInvalid unless the key can."""
    check_access(view, sealer, key, use)
    check_state(key)


def check_access(view: View, sealer: Sealer, key: KmsKey, use: KeyUse) -> None:
    """Raises KeyAccessDenied unless the caller may do this with the key, InvalidGrantToken for a token that is none."""
    tokens = [grant_of(view, sealer, token) for token in use.grant_tokens]
    # A key that a service made for itself can be looked at, but used through that service alone.
    if key.manager == "CUSTOMER" or use.service is not None or use.operation.startswith(_LOOKING):
        if may(key, use.identity, f"kms:{use.operation}"):
            return
        grants = [*tokens, *view.list(KmsGrant, key_id=key.id)]
        if any(grant.key_id == key.id and granted(grant, use.identity, use.operation, use.context) for grant in grants):
            return
    raise KeyAccessDenied(
        f"User: {use.identity.arn} is not authorized to perform: kms:{use.operation} on resource: {key.arn} "
        f"because no resource-based policy allows the kms:{use.operation} action"
    )


def grant_of(view: View, sealer: Sealer, token: str) -> KmsGrant:
    """The grant that CreateGrant gave a token for. Raises InvalidGrantToken."""
    try:
        grant = view.get(KmsGrant, sealer.open(token, GRANT_TOKEN).decode())
    except SealBroken as error:
        raise InvalidGrantToken("The grant token is not valid.") from error
    if grant is None:
        raise InvalidGrantToken("The grant token is not valid.")
    return grant


GRANT_TOKEN = "kms-grant-token"  # noqa: S105 - what tokens are sealed for
"""The context in which grant tokens are sealed; what is sealed is the grant's id."""


def check_state(key: KmsKey) -> None:
    """Raises KeyDisabled or KeyStateInvalid unless the key is enabled."""
    match key.state:
        case "Enabled":
            pass
        case "Disabled":
            raise KeyDisabled(f"{key.arn} is disabled.")
        case "PendingDeletion":
            raise KeyStateInvalid(f"{key.arn} is pending deletion.")
        case "PendingImport":
            raise KeyStateInvalid(f"{key.arn} is pending import.")


def choose_key(context: Context, name: str | None, service: AwsService, operation: str = "GenerateDataKey") -> KmsKey:
    """The key that a service shall encrypt with: the named one, or the account's default one, made on first use.

    Needs a writing context only where the default key is not there yet (or use ``find_key`` with ``alias/aws/…``).

    Raises:
        KeyNotFound, KeyAccessDenied, KeyDisabled, KeyStateInvalid. KeyUsageInvalid: it is no symmetric encryption key.
    """
    alias = f"alias/aws/{service}"
    if name is None or name in {alias, f"arn:aws:kms:{context.region}:{context.account}:{alias}"}:
        existing = context.view.get(KmsAlias, alias_id(context.account, context.region, alias))
        if existing is None:
            return default_key(context.tx, context.env.sealer, context.account, context.region, service, context.now)
        name = existing.key_id
    key = find_key(context.view, context.account, context.region, name)
    check_use(
        context.view,
        context.env.sealer,
        key,
        KeyUse(identity=context.call.identity, operation=operation, service=service),
    )
    if not key.symmetric:
        raise KeyUsageInvalid(f"{key.arn} key usage is {key.usage} which is not valid for {operation}.")
    return key


# Making keys


def default_key(
    tx: Transaction, sealer: Sealer, account: str, region: str, service: AwsService, now: datetime
) -> KmsKey:
    """The key with the alias ``alias/aws/<service>``, made on first use."""
    name = f"alias/aws/{service}"
    found = tx.get(KmsAlias, alias_id(account, region, name))
    if found is not None:
        key = tx.get(KmsKey, found.key_id)
        assert key is not None, f"{found.id} names a key that is gone"
        return key
    key_id = new_request_id()
    key = KmsKey(
        id=key_id,
        account=account,
        region=region,
        spec=SYMMETRIC,
        usage="ENCRYPT_DECRYPT",
        created=now,
        policy=default_policy(account),
        materials=(new_material(sealer, key_id, secrets.token_bytes(DATA_KEY), now),),
        description=_DESCRIPTIONS[service],
        manager="AWS",
        rotation_period=MANAGED_ROTATION.days,
        rotation_due=now + MANAGED_ROTATION,
    )
    put_alias(tx, key, name, now)
    return tx.put(key)


def put_alias(tx: Transaction, key: KmsKey, name: str, now: datetime) -> None:
    """Gives a key a name that nothing has yet."""
    id_ = alias_id(key.account, key.region, name)
    tx.put(KmsAlias(id=id_, account=key.account, region=key.region, name=name, key_id=key.id, created=now, updated=now))


def new_material(sealer: Sealer, key_id: str, secret: bytes, now: datetime) -> KeyMaterial:
    """A key's secret, ready to be stored. The id follows from the secret, so that it is known when it is imported again."""
    id_ = hmac.digest(secret, f"pileus-kms-material/{key_id}".encode(), sha256).hex()
    return KeyMaterial(id=id_, sealed=sealer.seal(secret, _sealed_for(key_id, id_)), made=now)


def _sealed_for(key_id: str, material_id: str) -> str:
    return f"kms-key/{key_id}/{material_id}"


def open_material(sealer: Sealer, key: KmsKey, generation: int = -1) -> bytes:
    """A key's secret of a generation (the current one by default). Raises KeyStateInvalid when it was deleted."""
    material = key.materials[generation]
    if material.sealed is None:
        raise KeyStateInvalid(f"{key.arn} is pending import.")
    return sealer.open(material.sealed, _sealed_for(key.id, material.id))


# Encrypting under a key. Nothing here asks who calls, or whether the key is enabled.


def encrypt(sealer: Sealer, key: KmsKey, plaintext: bytes, context: Mapping[str, str]) -> bytes:
    """A ciphertext blob under the key's current material."""
    generation = len(key.materials) - 1
    return ciphertext.encrypt(open_material(sealer, key), key.id, generation, plaintext, context)


def key_of(view: View, region: str, blob: bytes) -> tuple[KmsKey, Ciphertext]:
    """The key that a blob was encrypted under. Raises InvalidCiphertext for what is no blob of this region's keys."""
    try:
        parts = Ciphertext.parse(blob)
    except CiphertextBroken as error:
        raise InvalidCiphertext from error
    key = view.get(KmsKey, parts.key_id)
    if key is None or key.region != region or parts.generation >= len(key.materials):
        raise InvalidCiphertext
    return key, parts


def decrypt(sealer: Sealer, key: KmsKey, blob: Ciphertext, context: Mapping[str, str]) -> bytes:
    """The plaintext of a blob of this key. Raises InvalidCiphertext, KeyStateInvalid."""
    try:
        return ciphertext.decrypt(open_material(sealer, key, blob.generation), blob, context)
    except CiphertextBroken as error:
        raise InvalidCiphertext from error


# Data keys


def generate(sealer: Sealer, key: KmsKey, context: Mapping[str, str]) -> tuple[bytes, bytes]:
    """A fresh data key of 32 bytes, and the blob to keep beside what it encrypts."""
    plaintext = secrets.token_bytes(DATA_KEY)
    return plaintext, encrypt(sealer, key, plaintext, context)


def unwrap(view: View, sealer: Sealer, region: str, blob: bytes, context: Mapping[str, str]) -> bytes:
    """The data key in a blob of ``generate``. A service that acts for a caller checks the caller's right besides.

    Raises:
        InvalidCiphertext: it is damaged, or its key is deleted. KeyDisabled, KeyStateInvalid: the key can't be used now.
    """
    key, parts = key_of(view, region, blob)
    check_state(key)
    return decrypt(sealer, key, parts, context)


def new_data_key(
    context: Context, key_name: str | None, *, service: AwsService = "ebs", key: KmsKey | None = None
) -> DataKey:
    """A data key under a KMS key (id, ARN, alias; None: the account's default key of the service), on record.

    ``key`` instead of a name where the caller has the key already (from ``choose_key``). To be called in the writing
    operation that makes what it is for: a data key that nothing refers to is collected soon. Errors as ``choose_key``.
    """
    chosen = key or choose_key(context, key_name, service)
    return make_data_key(context.tx, context.env.sealer, chosen, context.account, context.now)


def make_data_key(tx: Transaction, sealer: Sealer, key: KmsKey, account: str, now: datetime) -> DataKey:
    """The same under a key that was chosen and checked, for whoever has no call."""
    id_ = new_id("dk")
    bound = {"aws:ebs:id": id_}
    _, blob = generate(sealer, key, bound)
    return tx.put(
        DataKey(
            id=id_,
            account=account,
            region=key.region,
            kms_key_arn=key.arn,
            wrapped=base64.b64encode(blob).decode(),
            context=tuple(bound.items()),
            created=now,
        )
    )


def open_data_key(view: View, sealer: Sealer, data_key: DataKey) -> bytes:
    """The 32 bytes of a data key.

    Raises:
        KeyNotFound: its KMS key is deleted. KeyDisabled, KeyStateInvalid: that can't be used now. InvalidCiphertext: the
            record is damaged.
    """
    blob = base64.b64decode(data_key.wrapped)
    try:
        parts = Ciphertext.parse(blob)
    except CiphertextBroken as error:
        raise InvalidCiphertext from error
    key = view.get(KmsKey, parts.key_id)
    if key is None or key.arn != data_key.kms_key_arn:
        raise KeyNotFound(f"Key '{data_key.kms_key_arn}' does not exist")
    return unwrap(view, sealer, data_key.region, blob, dict(data_key.context))
