"""The IPv6 blocks of VPCs: taken from the region's prefix, and what changes in a VPC that gets its first one."""

from ipaddress import IPv6Network

from msgspec.structs import replace

from pileus.base.ids import new_id
from pileus.operations.context import Context
from pileus.records import NetworkAcl, SecurityGroup, Vpc
from pileus.records.network_acl import AclEntry
from pileus.records.vpc import Ipv6Block, ipv6_scope
from pileus.services.ec2.cidr_rules import VPC_IPV6_PREFIX, first_free
from pileus.services.ec2.defaults import everything_out
from pileus.services.ec2.errors import InsufficientAddressCapacity, InvalidParameterValue
from pileus.services.ec2.regions import configured_zones
from pileus.store import Transaction

_LAST_IPV6 = 32768


def take_block(context: Context, vpc_id: str, border_group: str | None) -> Ipv6Block:
    """Claims a /56 of the region's prefix for a VPC. ``border_group``: None stands for the region's own.

    Raises:
        InvalidParameterValue: the border group is not one in which the caller has zones for IPv6.
        InsufficientAddressCapacity: the prefix is used up.
    """
    if border_group is not None:
        known = {zone.network_border_group for zone in configured_zones(context) if zone.type != "wavelength-zone"}
        if border_group not in known:
            raise InvalidParameterValue(
                f"Value ({border_group}) for parameter ipv6CidrBlockNetworkBorderGroup is invalid. "
                "Unknown network border group."
            )
    scope = ipv6_scope(context.region)
    pool = context.env.config.region(context.region).ipv6_pool
    cidr = first_free(pool, VPC_IPV6_PREFIX, context.view.claims(scope))
    if cidr is None:
        raise InsufficientAddressCapacity("There are no free IPv6 CIDR blocks in the pool of the region.")
    context.tx.claim(scope, cidr, vpc_id)
    return Ipv6Block(id=new_id("vpc-cidr-assoc"), cidr=cidr, border_group=border_group or context.region)


def open_to_ipv6(tx: Transaction, vpc: Vpc) -> None:
    """Gives network ACLs and groups of a VPC with its first IPv6 block the rules that AWS gives them.

    Every network ACL gets the entry that denies the rest. What has been changed by hand is not opened.
    """
    for acl in tx.list(NetworkAcl, vpc_id=vpc.id):
        added = [entry for egress in (True, False) for entry in _ipv6_entries(acl, egress=egress)]
        if added:
            tx.put(replace(acl, entries=(*acl.entries, *added)))
    for group in tx.list(SecurityGroup, vpc_id=vpc.id):
        out = [rule for rule in group.rules if rule.egress]
        if len(out) == 1 and (out[0].protocol, out[0].cidr) == ("-1", "0.0.0.0/0"):
            tx.put(replace(group, rules=(*group.rules, everything_out(vpc.account, vpc.region, ipv6=True))))


def _ipv6_entries(acl: NetworkAcl, *, egress: bool) -> list[AclEntry]:
    entries = [entry for entry in acl.entries if entry.egress == egress]
    if any(entry.number == _LAST_IPV6 for entry in entries):
        return []
    added = [AclEntry(number=_LAST_IPV6, egress=egress, action="deny", cidr=None, cidr6="::/0")]
    untouched = [entry for entry in entries if entry.number < _LAST_IPV6 - 1]
    if acl.is_default and untouched == [AclEntry(number=100, egress=egress, action="allow")]:
        added.insert(0, AclEntry(number=101, egress=egress, action="allow", cidr=None, cidr6="::/0"))
    return added


def holds_ipv6(block: Ipv6Block, cidr: str) -> bool:
    """Whether a CIDR lies in a VPC's block."""
    return IPv6Network(cidr).subnet_of(IPv6Network(block.cidr))
