"""Network access control lists."""

from typing import ClassVar, Literal

import msgspec

from pileus.records.tagged import Tagged


class AclEntry(msgspec.Struct, frozen=True, kw_only=True):
    """``number`` 32767 is the ``*`` entry that denies what no other entry matched. ``protocol`` -1 is all."""

    number: int
    egress: bool
    action: Literal["allow", "deny"]
    protocol: str = "-1"
    cidr: str = "0.0.0.0/0"


class AclAssociation(msgspec.Struct, frozen=True, kw_only=True):
    """Every subnet is associated with exactly one list."""

    id: str
    subnet_id: str


class NetworkAcl(Tagged, frozen=True, kw_only=True):
    """Stateless rules at the subnet's border."""

    kind: ClassVar[str] = "network-acl"
    indexes: ClassVar[tuple[str, ...]] = ("vpc_id",)

    vpc_id: str
    is_default: bool
    entries: tuple[AclEntry, ...]
    associations: tuple[AclAssociation, ...] = ()
