"""What is asked and found: packets, the components on a packet's way, and what stops it there."""

from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Literal

import msgspec

from pileus.records.network_acl import AclEntry
from pileus.records.route_table import Route
from pileus.records.security_group import SecurityGroupRule

Protocol = Literal["tcp", "udp"]
Direction = Literal["ingress", "egress"]


class Packet(msgspec.Struct, frozen=True, kw_only=True):
    """A packet of IPv4."""

    source: str
    destination: str
    protocol: Protocol
    source_port: int
    destination_port: int

    def answered(self) -> "Packet":
        """The packet that answers this one."""
        return Packet(
            source=self.destination,
            destination=self.source,
            protocol=self.protocol,
            source_port=self.destination_port,
            destination_port=self.source_port,
        )


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A component that a packet passes, by its id; the rule or route that lets it pass; the packet before and behind it."""

    component: str
    inbound: Packet | None = None
    outbound: Packet | None = None
    acl_entry: AclEntry | None = None
    rule: SecurityGroupRule | None = None
    route: Route | None = None
    attached_to: str | None = None
    subnet: str | None = None
    vpc: str | None = None
    source_vpc: str | None = None
    destination_vpc: str | None = None


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why a packet does not go on.

    ``code`` is one of Reachability Analyzer's explanation codes. ``parts`` are ids by the explanation's member, e.g.
    ``NetworkInterface``. ``answer``: whether it is the answer that is stopped. ``shown``: the rest of the explanation's
    members that the reason knows: ``Addresses``, ``Cidrs``, ``State``, ``PacketField``.

    See https://docs.aws.amazon.com/vpc/latest/reachability/explanation-codes.html.
    """

    code: str
    packet: Packet
    parts: Mapping[str, str | tuple[str, ...]]
    direction: Direction | None = None
    answer: bool = False
    acl_entry: AclEntry | None = None
    route: Route | None = None
    shown: Mapping[str, str | tuple[str, ...]] = msgspec.field(default_factory=dict[str, str | tuple[str, ...]])


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """What the packet has to be like at one end. Ports are (low, high)."""

    source: str | None = None
    destination: str | None = None
    source_ports: tuple[int, int] | None = None
    destination_ports: tuple[int, int] | None = None

    def holds(self, packet: Packet) -> bool:
        """Whether the packet is like that."""
        return (
            self.source in {None, packet.source}
            and self.destination in {None, packet.destination}
            and _between(packet.source_port, self.source_ports)
            and _between(packet.destination_port, self.destination_ports)
        )


def _between(port: int, ports: tuple[int, int] | None) -> bool:
    return ports is None or ports[0] <= port <= ports[1]


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """From where to where. ``source`` and ``destination`` are ids of instances, interfaces, internet gateways, peerings or
    VPC endpoints; without a destination the address of ``at_source`` is it.

    ``through`` and ``around`` are ids of components that the packet has to pass, or must not.
    """

    account: str
    source: str
    destination: str | None
    protocol: Protocol
    at_source: Filter = Filter()
    at_destination: Filter = Filter()
    through: tuple[str, ...] = ()
    around: tuple[str, ...] = ()


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The way there and back up to where it ends, and every reason why it does. ``asked``: the packet that was looked at.

    ``open_ports`` and ``open_ends``: whether its destination port and the addresses of the outside were free to choose.
    """

    asked: Packet
    forward: tuple[Step, ...]
    back: tuple[Step, ...]
    reasons: tuple[Reason, ...]

    @property
    def reachable(self) -> bool:
        """Whether nothing stops the packet or its answer."""
        return not self.reasons


def is_private(address: str) -> bool:
    """Whether an address is of RFC 1918."""
    value = int(IPv4Address(address))
    return value >> 24 == 10 or value >> 20 == 0xAC1 or value >> 16 == 0xC0A8


def is_shared(address: str) -> bool:
    """Whether an address is of RFC 6598 (100.64.0.0/10)."""
    return int(IPv4Address(address)) >> 22 == (100 << 2 | 1)
