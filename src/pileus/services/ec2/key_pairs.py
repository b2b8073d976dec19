"""Key pairs. The private half is in the answer to its maker and nowhere else."""

import re
from typing import TYPE_CHECKING, Any

from pileus.base.ids import new_id
from pileus.operations.context import Context
from pileus.operations.listing import Listing
from pileus.operations.tags import tag_set, tags_for
from pileus.records import KeyPair
from pileus.records.key_pair import key_name_scope
from pileus.services.ec2.errors import (
    Duplicate,
    InvalidParameterCombination,
    InvalidParameterValue,
    MissingParameter,
    NotFound,
)
from pileus.services.ec2.key_material import KeyType, generate, read_public
from pileus.services.ec2.resources import KEY_PAIR
from pileus.services.ec2.service import ec2
from pileus.store import ClaimTaken

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        CreateKeyPairRequestTypeDef,
        DeleteKeyPairRequestTypeDef,
        DescribeKeyPairsRequestTypeDef,
        ImportKeyPairRequestTypeDef,
    )

_NAME = re.compile(r"(?! )[ -~]{1,255}(?<! )")
_MAX_MATERIAL = 2048


def _draw(context: Context, pair: KeyPair) -> dict[str, Any]:
    drawn: dict[str, Any] = {
        "KeyPairId": pair.id,
        "KeyName": pair.name,
        "KeyType": pair.type,
        "KeyFingerprint": pair.fingerprint,
        "CreateTime": pair.created,
        "Tags": tag_set(pair.tags),
    }
    if context.call.params.get("IncludePublicKey"):
        drawn["PublicKey"] = pair.public_key
    return drawn


KEY_PAIRS = Listing(
    kind=KeyPair,
    member="KeyPairs",
    draw=_draw,
    cached=False,
    ids="KeyPairIds",
    find=KEY_PAIR.find,
    page=None,
    filters={
        "fingerprint": lambda _, pair: pair.fingerprint,
        "key-name": lambda _, pair: pair.name,
        "key-pair-id": lambda _, pair: pair.id,
    },
)


def key_named(context: Context, name: str) -> KeyPair:
    """The caller's key pair of this name. Raises InvalidKeyPair.NotFound."""
    for pair in context.view.list(KeyPair, account=context.account, region=context.region, name=name):
        return pair
    raise NotFound(f"The key pair '{name}' does not exist", code="InvalidKeyPair.NotFound")


@ec2.reads("DescribeKeyPairs")
def describe_key_pairs(context: Context, params: "DescribeKeyPairsRequestTypeDef") -> dict[str, Any]:
    """The caller's key pairs, without their private halves, which nobody has."""
    named = [key_named(context, name).id for name in params.get("KeyNames", ())]
    return KEY_PAIRS.answer(context, {**params, "KeyPairIds": [*params.get("KeyPairIds", ()), *named]})


@ec2.writes("CreateKeyPair", resources=("key-pair:*",), taggable=("key-pair",))
def create_key_pair(context: Context, params: "CreateKeyPairRequestTypeDef") -> dict[str, Any]:
    """A new key pair; its private half is told once, here."""
    name = params["KeyName"]
    key_type, key_format = params.get("KeyType", "rsa"), params.get("KeyFormat", "pem")
    if key_type not in {"rsa", "ed25519"}:
        raise InvalidParameterValue(f"Invalid value '{key_type}' for KeyType. Expecting 'rsa' or 'ed25519'.")
    if key_format not in {"pem", "ppk"}:
        raise InvalidParameterValue(f"Invalid value '{key_format}' for KeyFormat. Expecting 'pem' or 'ppk'.")
    id_ = _claim_name(context, name)
    made = generate(key_type, key_format, name)
    pair = _put(context, params, id_, key_type, made.public, made.fingerprint)
    return {**_draw_new(pair), "KeyMaterial": made.private}


@ec2.writes("ImportKeyPair", resources=("key-pair:*",), taggable=("key-pair",))
def import_key_pair(context: Context, params: "ImportKeyPairRequestTypeDef") -> dict[str, Any]:
    """A key pair whose private half stays with its owner."""
    material = bytes(params["PublicKeyMaterial"])  # pyright: ignore[reportArgumentType] - the protocol gives bytes only
    if len(material) > _MAX_MATERIAL:
        raise InvalidParameterValue(
            f"Value for parameter PublicKeyMaterial is invalid. Length exceeds maximum of {_MAX_MATERIAL}."
        )
    if not material.isascii():
        raise InvalidParameterValue(
            "Value for parameter PublicKeyMaterial is invalid. Character sets beyond ASCII are not supported."
        )
    read = read_public(material)
    id_ = _claim_name(context, params["KeyName"])
    return _draw_new(_put(context, params, id_, read.type, read.public, read.fingerprint))


def _claim_name(context: Context, name: str) -> str:
    """The id of a new pair that has got this name."""
    if not _NAME.fullmatch(name):
        raise InvalidParameterValue(
            f"Value ({name}) for parameter KeyName is invalid. It must have 1 to 255 ASCII characters and neither begin "
            "nor end with a space."
        )
    id_ = new_id("key")
    try:
        context.tx.claim(key_name_scope(context.account, context.region), name, id_)
    except ClaimTaken as taken:
        raise Duplicate("The keypair already exists", code="InvalidKeyPair.Duplicate") from taken
    return id_


def _put(
    context: Context,
    params: "CreateKeyPairRequestTypeDef | ImportKeyPairRequestTypeDef",
    id_: str,
    key_type: KeyType,
    public: str,
    fingerprint: str,
) -> KeyPair:
    name = params["KeyName"]
    return context.tx.put(
        KeyPair(
            id=id_,
            account=context.account,
            region=context.region,
            name=name,
            type=key_type,
            public_key=f"{public} {name}",
            fingerprint=fingerprint,
            created=context.now,
            tags=tags_for(params, "key-pair"),
        )
    )


def _draw_new(pair: KeyPair) -> dict[str, Any]:
    return {
        "KeyPairId": pair.id,
        "KeyName": pair.name,
        "KeyFingerprint": pair.fingerprint,
        "Tags": tag_set(pair.tags),
    }


@ec2.writes("DeleteKeyPair", resources=("key-pair:KeyName", "key-pair:KeyPairId"))
def delete_key_pair(context: Context, params: "DeleteKeyPairRequestTypeDef") -> dict[str, Any]:
    """Forgets a key pair; one that is not there is forgotten already. Instances keep the key they were launched with."""
    name, id_ = params.get("KeyName"), params.get("KeyPairId")
    if name and id_:
        raise InvalidParameterCombination("The parameter keyName cannot be used with the parameter keyPairId")
    if not name and not id_:
        raise MissingParameter("keyName or keyPairId")
    if id_:
        KEY_PAIR.check(id_)
    mine = context.view.list(KeyPair, account=context.account, region=context.region)
    for pair in mine:
        if pair.id == id_ or pair.name == name:
            context.tx.release(key_name_scope(pair.account, pair.region), pair.name)
            context.tx.delete(pair)
            return {"Return": True, "KeyPairId": pair.id}
    return {"Return": True}
