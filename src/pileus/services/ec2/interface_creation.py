"""Network interfaces come and go: made for owners, launches, NAT gateways and endpoints, all in the same way."""

import secrets
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from pileus.base.ids import new_id
from pileus.operations.context import Context
from pileus.records import NetworkInterface, SecurityGroup, Subnet
from pileus.records.network_interface import InterfaceAttachment
from pileus.services.ec2.address_binding import detach_public_addresses
from pileus.services.ec2.errors import InvalidParameter
from pileus.services.ec2.interface_addresses import Wanted, release_all, take_all
from pileus.services.ec2.resources import SECURITY_GROUP
from pileus.services.ec2.security_groups import group_named
from pileus.services.ec2.vpc_quotas import GROUPS_PER_INTERFACE, NETWORK_INTERFACES
from pileus.store import Transaction

AMAZON = "amazon-aws"
"""The requester and attacher of interfaces that the cloud makes for its own services."""


def make_interface(
    context: Context,
    subnet: Subnet,
    *,
    wanted: Wanted | None = None,
    groups: tuple[str, ...] = (),
    tags: Mapping[str, str] | None = None,
    description: str = "",
    interface_type: str = "interface",
    requester_id: str | None = None,
    attachment: InterfaceAttachment | None = None,
    auto_public: bool = False,
    source_dest_check: bool = True,
    primary_ipv6: bool = False,
) -> NetworkInterface:
    """Writes a new interface in a subnet, with private addresses. One with a ``requester_id`` is managed by the cloud.

    Raises:
        ServiceError: an address is taken or not of the subnet, there are not enough, or the quota is reached.
    """
    NETWORK_INTERFACES.check(len(context.view.list(NetworkInterface, account=context.account, region=context.region)))
    bare = NetworkInterface(
        id=new_id("eni"),
        account=context.account,
        region=context.region,
        tags=tags or {},
        subnet_id=subnet.id,
        vpc_id=subnet.vpc_id,
        zone=subnet.zone,
        mac=_new_mac(),
        addresses=(),
        groups=groups,
        created=context.now,
        description=description,
        source_dest_check=source_dest_check,
        interface_type=interface_type,
        requester_id=requester_id,
        attachment=attachment,
        auto_public=auto_public,
        primary_ipv6=primary_ipv6,
    )
    wanted = wanted or Wanted()
    if requester_id is None:
        wanted = with_subnet_defaults(subnet, wanted)
    return context.tx.put(take_all(context.tx, subnet, bare, wanted))


def with_subnet_defaults(subnet: Subnet, wanted: Wanted) -> Wanted:
    """An IPv6 address more where the subnet gives one and none is asked for."""
    asked = wanted.ipv6 or wanted.ipv6_count or wanted.ipv6_prefixes or wanted.ipv6_prefix_count
    gives = subnet.assign_ipv6 and subnet.ipv6_block is not None
    return replace(wanted, ipv6_count=1) if gives and not asked else wanted


def remove_interface(tx: Transaction, interface: NetworkInterface) -> None:
    """Deletes an interface: its private addresses and those public ones that EC2 gave are free, Elastic IPs unbound."""
    bare = detach_public_addresses(tx, interface)
    release_all(tx, bare)
    tx.delete(bare)


def check_groups(context: Context, subnet: Subnet, ids: Sequence[str], names: Sequence[str] = ()) -> tuple[str, ...]:
    """The ids of the groups that an interface in this subnet shall have: the VPC's default one where none is named.

    Raises:
        NotFound: a group is not there. InvalidParameter: it is in another VPC. LimitExceeded: there are too many.
    """
    groups: list[SecurityGroup] = SECURITY_GROUP.find(context, list(dict.fromkeys(ids)))
    groups.extend(group_named(context, name, subnet.vpc_id) for name in dict.fromkeys(names))
    if not groups:
        groups.append(group_named(context, "default", subnet.vpc_id))
    for group in groups:
        if group.vpc_id != subnet.vpc_id:
            raise InvalidParameter(f"Security group {group.id} and subnet {subnet.id} belong to different networks.")
    GROUPS_PER_INTERFACE.check(0, len(groups))
    return tuple(dict.fromkeys(group.id for group in groups))


def _new_mac() -> str:
    """A locally administered unicast address, as EC2's are."""
    return ":".join(f"{byte:02x}" for byte in (0x0A, *secrets.token_bytes(5)))
