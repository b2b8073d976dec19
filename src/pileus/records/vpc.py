"""Virtual private clouds."""

from typing import ClassVar

import msgspec

from pileus.records.tagged import Tagged


class Ipv6Block(msgspec.Struct, frozen=True, kw_only=True):
    """An IPv6 CIDR of a VPC (/56) or of a subnet (/64); ``pool`` is ``Amazon`` for those that the cloud provides."""

    id: str
    cidr: str
    pool: str = "Amazon"
    border_group: str = ""


class Vpc(Tagged, frozen=True, kw_only=True):
    """``cidrs`` are (association id, IPv4 CIDR), the primary one first. ``dhcp_options_id`` may be ``default``: none."""

    kind: ClassVar[str] = "vpc"
    indexes: ClassVar[tuple[str, ...]] = ("dhcp_options_id",)

    cidrs: tuple[tuple[str, str], ...]
    dhcp_options_id: str
    ipv6_blocks: tuple[Ipv6Block, ...] = ()
    is_default: bool = False
    tenancy: str = "default"
    dns_support: bool = True
    dns_hostnames: bool = False
    network_address_usage_metrics: bool = False

    @property
    def cidr(self) -> str:
        """The primary CIDR."""
        return self.cidrs[0][1]

    @property
    def ipv6_cidrs(self) -> tuple[str, ...]:
        """Its IPv6 CIDRs."""
        return tuple(block.cidr for block in self.ipv6_blocks)


def ipv6_scope(region: str) -> str:
    """The claim scope of a region's IPv6 CIDRs of VPCs; keys are CIDRs, holders are VPC ids."""
    return f"ipv6-block/{region}"
