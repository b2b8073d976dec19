"""Access control lists: canned ones, those in headers and documents, and what they grant.

Source: Amazon S3 user guide, "Access control list (ACL) overview". Kept with buckets and objects as MessagePack of ``Acl``.
"""

from collections.abc import Mapping
from typing import Any, Literal, cast

import msgspec

from pileus.operations.call import Identity
from pileus.operations.context import Context
from pileus.records import Account
from pileus.services.s3.access import canonical_id
from pileus.services.s3.errors import S3Error

Permission = Literal["FULL_CONTROL", "READ", "WRITE", "READ_ACP", "WRITE_ACP"]

EVERYBODY = "http://acs.amazonaws.com/groups/global/AllUsers"
AUTHENTICATED = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
LOG_DELIVERY = "http://acs.amazonaws.com/groups/s3/LogDelivery"
_GROUPS = frozenset({EVERYBODY, AUTHENTICATED, LOG_DELIVERY})
_PERMISSIONS = frozenset({"FULL_CONTROL", "READ", "WRITE", "READ_ACP", "WRITE_ACP"})
MAX_GRANTS = 100
_HEADERS: Mapping[str, Permission] = {
    "GrantFullControl": "FULL_CONTROL",
    "GrantRead": "READ",
    "GrantWrite": "WRITE",
    "GrantReadACP": "READ_ACP",
    "GrantWriteACP": "WRITE_ACP",
}


class Grant(msgspec.Struct, frozen=True, array_like=True):
    """``grantee`` is an account's number or a group's URI."""

    grantee: str
    permission: Permission


class Acl(msgspec.Struct, frozen=True):
    """``owner`` is an account's number."""

    owner: str
    grants: tuple[Grant, ...] = ()

    def allows(self, identity: Identity, permission: Permission, *, ignore_public: bool) -> bool:
        """Whether the caller has a permission by this list."""
        return any(
            grant.permission in {permission, "FULL_CONTROL"}
            and (
                (identity.account != "" and grant.grantee == identity.account)
                or (not ignore_public and grant.grantee == EVERYBODY)
                or (not ignore_public and grant.grantee == AUTHENTICATED and identity.account != "")
            )
            for grant in self.grants
        )

    @property
    def public(self) -> bool:
        """Whether it grants anything to everybody, or to everybody with an account."""
        return any(grant.grantee in {EVERYBODY, AUTHENTICATED} for grant in self.grants)


def private(owner: str) -> Acl:
    """What buckets and objects have by default."""
    return Acl(owner, (Grant(owner, "FULL_CONTROL"),))


def load(document: bytes, owner: str) -> Acl:
    """The list in its stored form; the default one where none is stored."""
    return msgspec.msgpack.decode(document, type=Acl) if document else private(owner)


def dump(acl: Acl) -> bytes:
    """The stored form."""
    return msgspec.msgpack.encode(acl)


def named(params: Mapping[str, Any]) -> bool:
    """Whether the request says anything of an ACL."""
    return any(name in params for name in ("ACL", "AccessControlPolicy", *_HEADERS))


def wanted(context: Context, params: Mapping[str, Any], owner: str, bucket_owner: str) -> Acl:
    """The list that a request asks for; the default one when it says nothing.

    Raises:
        S3Error: contradictory, unknown or malformed.
    """
    by_header = [name for name in _HEADERS if name in params]
    if sum((bool(by_header), "ACL" in params, "AccessControlPolicy" in params)) > 1:
        raise S3Error("InvalidRequest", "Specifying both Canned ACLs and Header Grants is not allowed")
    if "AccessControlPolicy" in params:
        return _from_document(context, params["AccessControlPolicy"], owner)
    if by_header:
        grants = [
            Grant(_from_header(context, part), _HEADERS[name])
            for name in by_header
            for part in params[name].split(",")
            if part.strip()
        ]
        return _limited(owner, grants)
    return _canned(params.get("ACL", "private"), owner, bucket_owner)


def _canned(name: str, owner: str, bucket_owner: str) -> Acl:
    own = Grant(owner, "FULL_CONTROL")
    further: Mapping[str, tuple[Grant, ...]] = {
        "private": (),
        "public-read": (Grant(EVERYBODY, "READ"),),
        "public-read-write": (Grant(EVERYBODY, "READ"), Grant(EVERYBODY, "WRITE")),
        "authenticated-read": (Grant(AUTHENTICATED, "READ"),),
        "bucket-owner-read": (Grant(bucket_owner, "READ"),) if bucket_owner != owner else (),
        "bucket-owner-full-control": (Grant(bucket_owner, "FULL_CONTROL"),) if bucket_owner != owner else (),
        "log-delivery-write": (Grant(LOG_DELIVERY, "WRITE"), Grant(LOG_DELIVERY, "READ_ACP")),
    }
    if name not in further:
        raise S3Error("InvalidArgument", fields={"ArgumentName": "x-amz-acl", "ArgumentValue": name[:200]})
    return Acl(owner, (own, *further[name]))


def _from_header(context: Context, part: str) -> str:
    kind, _, value = part.strip().partition("=")
    value = value.strip().strip('"')
    match kind.strip().lower():
        case "id":
            return account_of(context, value)
        case "uri":
            return _group(value)
        case "emailaddress":
            raise S3Error("UnresolvableGrantByEmailAddress")
        case _:
            raise S3Error("InvalidArgument", "Argument format not recognized")


def _from_document(context: Context, document: Mapping[str, Any], owner: str) -> Acl:
    told = document.get("Owner", {}).get("ID")
    if not told or "Grants" not in document:
        raise S3Error("MalformedACLError")
    if told != canonical_id(owner):
        raise S3Error("AccessDenied")
    grants: list[Grant] = []
    for grant in document["Grants"]:
        grantee, permission = grant.get("Grantee", {}), grant.get("Permission")
        if permission not in _PERMISSIONS:
            raise S3Error("MalformedACLError")
        match grantee:
            case {"EmailAddress": _}:
                raise S3Error("UnresolvableGrantByEmailAddress")
            case {"ID": id_}:
                who = account_of(context, id_)
            case {"URI": uri}:
                who = _group(uri)
            case _:
                raise S3Error("MalformedACLError")
        grants.append(Grant(who, cast("Permission", permission)))
    return _limited(owner, grants)


def _limited(owner: str, grants: list[Grant]) -> Acl:
    if len(grants) > MAX_GRANTS:
        raise S3Error("InvalidRequest", f"An ACL may have at most {MAX_GRANTS} grants")
    return Acl(owner, tuple(dict.fromkeys(grants)))


def _group(uri: str) -> str:
    if uri not in _GROUPS:
        raise S3Error(
            "InvalidArgument", "Invalid group uri", fields={"ArgumentName": "uri", "ArgumentValue": uri[:200]}
        )
    return uri


def account_of(context: Context, id_: str) -> str:
    """The account with this canonical id. Raises S3Error."""
    for account in context.view.list(Account):
        if canonical_id(account.id) == id_:
            return account.id
    raise S3Error(
        "InvalidArgument", "Invalid id", fields={"ArgumentName": "CanonicalUser/ID", "ArgumentValue": id_[:200]}
    )


def owner_shape(account: str) -> dict[str, str]:
    """An owner or initiator in an answer."""
    return {"ID": canonical_id(account)}


def shape(acl: Acl) -> dict[str, Any]:
    """The list as GetBucketAcl and GetObjectAcl give it."""
    return {
        "Owner": owner_shape(acl.owner),
        "Grants": [
            {
                "Grantee": {"Type": "Group", "URI": grant.grantee}
                if grant.grantee in _GROUPS
                else {"Type": "CanonicalUser", **owner_shape(grant.grantee)},
                "Permission": grant.permission,
            }
            for grant in acl.grants
        ],
    }
