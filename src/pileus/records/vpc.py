"""Virtual private clouds."""

from typing import ClassVar

from pileus.records.tagged import Tagged


class Vpc(Tagged, frozen=True, kw_only=True):
    """``cidrs`` are (association id, IPv4 CIDR), the primary one first."""

    kind: ClassVar[str] = "vpc"

    cidrs: tuple[tuple[str, str], ...]
    dhcp_options_id: str
    is_default: bool = False
    tenancy: str = "default"
    dns_support: bool = True
    dns_hostnames: bool = False
    network_address_usage_metrics: bool = False

    @property
    def cidr(self) -> str:
        """The primary CIDR."""
        return self.cidrs[0][1]
