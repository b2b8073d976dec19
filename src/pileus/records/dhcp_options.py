"""DHCP option sets."""

from typing import ClassVar

from pileus.records.tagged import Tagged


class DhcpOptions(Tagged, frozen=True, kw_only=True):
    """What DHCP hands out in the VPCs that name it. ``options`` are (key, values) in the order in which they were given.

    Keys: ``domain-name``, ``domain-name-servers`` (addresses or ``AmazonProvidedDNS``), ``ntp-servers``,
    ``netbios-name-servers``, ``netbios-node-type``, ``ipv6-address-preferred-lease-time`` (seconds).
    ``is_default``: new VPCs of the account in this region begin with it.
    """

    kind: ClassVar[str] = "dhcp-options"

    options: tuple[tuple[str, tuple[str, ...]], ...]
    is_default: bool = False
