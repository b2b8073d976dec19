"""Names of keys."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.operations.context import Context
from pileus.operations.keys import KeyNotFound, put_alias
from pileus.records import KmsAlias, KmsKey
from pileus.records.kms_alias import alias_id
from pileus.services.kms.access import answer_page, key_to_change, key_to_see
from pileus.services.kms.errors import (
    AlreadyExistsException,
    InvalidAliasNameException,
    LimitExceededException,
    NotAuthorizedException,
    ValidationException,
)
from pileus.services.kms.service import kms

if TYPE_CHECKING:
    from types_boto3_kms.type_defs import (
        CreateAliasRequestTypeDef,
        DeleteAliasRequestTypeDef,
        UpdateAliasRequestTypeDef,
    )

_NAME = re.compile(r"alias/[a-zA-Z0-9/_-]+")
_PER_KEY = 50


@kms.writes("CreateAlias")
def create_alias(context: Context, params: "CreateAliasRequestTypeDef") -> dict[str, Any]:
    """A name for a key of the caller's. Raises AlreadyExistsException, LimitExceededException, what bad names raise."""
    name = _checked(params["AliasName"])
    key = _target(context, params["TargetKeyId"])
    if context.tx.get(KmsAlias, alias_id(context.account, context.region, name)) is not None:
        arn = f"arn:aws:kms:{context.region}:{context.account}:{name}"
        raise AlreadyExistsException(f"An alias with the name {arn} already exists")
    _check_room(context, key)
    put_alias(context.tx, key, name, context.now)
    return {}


@kms.writes("UpdateAlias")
def update_alias(context: Context, params: "UpdateAliasRequestTypeDef") -> dict[str, Any]:
    """Gives the name to another key of the same kind and usage. Raises ValidationException when it is of another."""
    alias = _own(context, params["AliasName"])
    key, before = _target(context, params["TargetKeyId"]), context.tx.get(KmsKey, alias.key_id)
    if before is not None and (before.usage, _family(before)) != (key.usage, _family(key)):
        raise ValidationException(
            f"Alias {alias.arn} cannot be changed from a {_family(before)} key for {before.usage} "
            f"to a {_family(key)} key for {key.usage}"
        )
    if key.id != alias.key_id:
        _check_room(context, key)
    context.tx.put(replace(alias, key_id=key.id, updated=context.now))
    return {}


@kms.writes("DeleteAlias")
def delete_alias(context: Context, params: "DeleteAliasRequestTypeDef") -> dict[str, Any]:
    """Takes the name away; the key stays."""
    context.tx.delete(_own(context, params["AliasName"]))
    return {}


@kms.reads("ListAliases")
def list_aliases(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """The caller's names, or those of one key."""
    if name := params.get("KeyId"):
        aliases = context.view.list(KmsAlias, key_id=key_to_see(context, name).id)
    else:
        aliases = context.view.list(KmsAlias, account=context.account, region=context.region)
    return answer_page(context, params, "Aliases", aliases, lambda alias: alias.name, _draw)


def _draw(alias: KmsAlias) -> dict[str, Any]:
    return {
        "AliasName": alias.name,
        "AliasArn": alias.arn,
        "TargetKeyId": alias.key_id,
        "CreationDate": alias.created,
        "LastUpdatedDate": alias.updated,
    }


def _checked(name: str) -> str:
    if not name.startswith("alias/"):
        raise ValidationException("Invalid identifier")
    if name.startswith("alias/aws/"):
        raise NotAuthorizedException("")
    if ":" in name:
        raise ValidationException(f"{name} contains invalid characters for an alias")
    if not _NAME.fullmatch(name):
        raise InvalidAliasNameException(f"{name} is not a valid alias name")
    return name


def _target(context: Context, name: str) -> KmsKey:
    if name.startswith("alias/") or ":alias/" in name:
        raise ValidationException("Aliases must refer to keys. Not aliases")
    return key_to_change(context, name)


def _own(context: Context, name: str) -> KmsAlias:
    alias = context.tx.get(KmsAlias, alias_id(context.account, context.region, _checked(name)))
    if alias is None:
        raise KeyNotFound(f"Alias arn:aws:kms:{context.region}:{context.account}:{name} is not found.")
    return alias


def _check_room(context: Context, key: KmsKey) -> None:
    if len(context.tx.list(KmsAlias, key_id=key.id)) >= _PER_KEY:
        raise LimitExceededException(f"A key can have {_PER_KEY} aliases.")


def _family(key: KmsKey) -> str:
    return "symmetric" if key.public is None else "asymmetric"
