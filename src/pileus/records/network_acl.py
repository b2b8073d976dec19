"""Network access control lists."""

from typing import ClassVar, Literal

import msgspec

from pileus.records.tagged import Tagged


class AclEntry(msgspec.Struct, frozen=True, kw_only=True):
    """``number`` 32767 is the ``*`` entry that denies what no other entry matched (32768 the one of IPv6).

    ``protocol`` is a number, -1 is all. Ports bound the destination port of TCP (6) and UDP (17); of ICMP (1) and ICMPv6
    (58) they are type and code, -1 any.
    Exactly one of ``cidr`` and ``cidr6`` is set.
    """

    number: int
    egress: bool
    action: Literal["allow", "deny"]
    protocol: str = "-1"
    cidr: str | None = "0.0.0.0/0"
    cidr6: str | None = None
    from_port: int = -1
    to_port: int = -1


def entry_order(entry: AclEntry) -> tuple[bool, int]:
    """Outgoing entries first, each direction by number: as EC2 lists them."""
    return not entry.egress, entry.number


class AclAssociation(msgspec.Struct, frozen=True, kw_only=True):
    """Every subnet is associated with exactly one list."""

    id: str
    subnet_id: str


class NetworkAcl(Tagged, frozen=True, kw_only=True):
    """Stateless rules at the subnet's border."""

    kind: ClassVar[str] = "network-acl"
    indexes: ClassVar[tuple[str, ...]] = ("vpc_id", "subnet_ids", "association_ids")

    vpc_id: str
    is_default: bool
    entries: tuple[AclEntry, ...]
    associations: tuple[AclAssociation, ...] = ()

    @property
    def subnet_ids(self) -> tuple[str, ...]:
        """The subnets at whose border it stands."""
        return tuple(association.subnet_id for association in self.associations)

    @property
    def association_ids(self) -> tuple[str, ...]:
        """The ids of its associations."""
        return tuple(association.id for association in self.associations)
