"""What a host's networking must be: one ``NetworkSpec``, the same for every network driver.

It says what EC2's owners asked for in terms of VPCs: subnets with their route table and ACL, interfaces with their
addresses and groups. How that becomes links, flows or rules is the driver's. Whatever is not in it is removed.
"""

from typing import Literal

import msgspec


class Spec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all messages: unknown fields are ignored, so that versions can differ by one."""


class RuleSpec(Spec, frozen=True, kw_only=True):
    """One security group rule with one peer.

    ``protocol`` is ``-1`` (all), ``tcp``, ``udp``, ``icmp``, ``icmpv6`` or a number.

    For tcp and udp ``from_port`` and ``to_port`` bound the destination port; for icmp they are type and code, -1 any.
    Exactly one of ``cidr`` (IPv4 or IPv6), ``group`` and ``prefix_list`` is set.
    """

    protocol: str
    from_port: int = -1
    to_port: int = -1
    cidr: str | None = None
    group: str | None = None
    prefix_list: str | None = None


class GroupSpec(Spec, frozen=True, kw_only=True):
    """A security group: its rules and the private addresses of all its members, on whatever host they are.

    ``members`` are IPv4 and IPv6 addresses and delegated prefixes (CIDRs). A group of a peer VPC that a rule names has
    members only.
    """

    group_id: str
    ingress: tuple[RuleSpec, ...]
    egress: tuple[RuleSpec, ...]
    members: tuple[str, ...] = ()


class PrefixListSpec(Spec, frozen=True, kw_only=True):
    """The CIDRs, IPv4 or IPv6, that a group's rule means by naming a prefix list."""

    prefix_list_id: str
    cidrs: tuple[str, ...] = ()


class AclEntrySpec(Spec, frozen=True, kw_only=True):
    """One entry of a network ACL. Protocol and ports are as in ``RuleSpec``; ``cidr`` is IPv4 or IPv6."""

    allow: bool
    protocol: str
    cidr: str
    from_port: int = -1
    to_port: int = -1


class AclSpec(Spec, frozen=True, kw_only=True):
    """A network ACL: its entries in the order in which they are tried; what none matches is denied.

    It is stateless and stands at the subnet's border: traffic inside of the subnet, and that with the VPC's own
    resolver, DHCP and metadata service, does not pass it.
    """

    acl_id: str
    ingress: tuple[AclEntrySpec, ...] = ()
    egress: tuple[AclEntrySpec, ...] = ()


class RouteSpec(Spec, frozen=True, kw_only=True):
    """One route of a subnet's traffic. The most specific one wins; without any, traffic is dropped.

    ``destination`` is an IPv4 or IPv6 CIDR. ``kind`` says where it leads, ``target`` names that:
        local: to whatever interface of the VPC has the address. internet: by the internet gateway (IPv4 only from
        interfaces' public addresses). egress-only: the same for IPv6, outwards only. carrier: by the carrier gateway.
        nat: to the NAT gateway ``target``. interface: to the interface ``target``, whatever the packet's destination.
        peering: to the other VPC of the peering ``target``. endpoint: to the gateway endpoint ``target`` (S3).
        blackhole: nowhere, for the target is gone.
    """

    destination: str
    kind: Literal["local", "internet", "egress-only", "carrier", "nat", "interface", "peering", "endpoint", "blackhole"]
    target: str = ""


class RouteTableSpec(Spec, frozen=True, kw_only=True):
    """The routes of the subnets that use it, local ones included."""

    route_table_id: str
    routes: tuple[RouteSpec, ...]


class SubnetSpec(Spec, frozen=True, kw_only=True):
    """A subnet: its CIDRs, and which route table and ACL of the VPC hold for it."""

    subnet_id: str
    cidr: str
    route_table: str
    acl: str
    ipv6_cidr: str | None = None


class AddressSpec(Spec, frozen=True, kw_only=True):
    """A private IPv4 address of an interface.

    ``public`` is translated to it 1:1, on every way to or from the internet (or carrier) gateway. ``names`` are the DNS
    names that mean the private address inside of the VPC, ``public_names`` those that mean the public one outside of
    it, and the private one inside. The first of each is the reverse name.
    """

    address: str
    public: str | None = None
    names: tuple[str, ...] = ()
    public_names: tuple[str, ...] = ()


class InterfaceSpec(Spec, frozen=True, kw_only=True):
    """A network interface on this host.

    Attributes:
        kind: ``guest``: a tap for a guest, with DHCP. ``nat``: the interface of a NAT gateway. ``endpoint``: of an
            interface endpoint. The driver itself is behind the latter two.
        addresses: IPv4, the primary one first. ipv6: addresses; names of theirs are in ``ipv6_names``.
        prefixes: delegated CIDRs, IPv4 (/28) and IPv6 (/80): all of their addresses are the interface's.
        groups: an interface in no group neither sends nor receives.
        hostname: the first label of what DHCP hands out.
        source_dest_check: whether it may send and receive only what is from and to its own addresses.
    """

    interface_id: str
    mac: str
    subnet: str
    addresses: tuple[AddressSpec, ...]
    groups: tuple[str, ...]
    hostname: str
    kind: Literal["guest", "nat", "endpoint"] = "guest"
    ipv6: tuple[str, ...] = ()
    ipv6_names: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    source_dest_check: bool = True

    @property
    def private_address(self) -> str:
        """The primary IPv4 address."""
        return self.addresses[0].address


class NatGatewaySpec(Spec, frozen=True, kw_only=True):
    """A NAT gateway behind the interface ``interface_id`` of this VPC, which has kind ``nat`` and is of its subnet.

    What is routed to it goes on from the interface's addresses (several share the load), by the routes of its subnet.
    """

    nat_gateway_id: str
    interface_id: str


class ServiceSpec(Spec, frozen=True, kw_only=True):
    """A service of the cloud itself on a public address: ``api`` or ``s3``. Guests reach it as they reach the internet."""

    service: Literal["api", "s3"]
    address: str


class EndpointSpec(Spec, frozen=True, kw_only=True):
    """An interface endpoint: the service answers at every address of these interfaces, which have kind ``endpoint``."""

    endpoint_id: str
    service: Literal["api", "s3"]
    interfaces: tuple[str, ...]


class HostEntry(Spec, frozen=True, kw_only=True):
    """A name that the VPC's resolver knows beside those of interfaces. ``*.x`` stands for every name below x, too."""

    name: str
    addresses: tuple[str, ...]


class PublicDomainSpec(Spec, frozen=True, kw_only=True):
    """Names of public addresses, whoever has them: ``ec2-A-B-C-D.domain`` means A.B.C.D of ``cidr``, and the reverse.

    What interfaces and hosts of the VPC are called goes before.
    """

    domain: str
    cidr: str


class DhcpSpec(Spec, frozen=True, kw_only=True):
    """What DHCP hands out besides addresses. ``dns_servers`` are addresses; ``amazon`` stands for the VPC's own resolver.

    ``netbios_node_type`` 1, 2, 4 or 8. ``ipv6_lease`` in seconds.
    """

    domain: str | None
    dns_servers: tuple[str, ...] = ("amazon",)
    ntp_servers: tuple[str, ...] = ()
    netbios_servers: tuple[str, ...] = ()
    netbios_node_type: int | None = None
    ipv6_lease: int = 140


class CaptureSpec(Spec, frozen=True, kw_only=True):
    """Of an interface's traffic, records are kept for flow logs: of what is accepted, of what is rejected."""

    interface_id: str
    accepted: bool
    rejected: bool


class VpcSpec(Spec, frozen=True, kw_only=True):
    """A VPC's part on this host.

    Attributes:
        cidrs, ipv6_cidrs: all of the VPC's. domain: of its private names, e.g. ``ec2.internal``.
        dns: whether the VPC's resolver answers (enableDnsSupport).
        subnets, route_tables, acls: those of the interfaces that are here; ``groups`` likewise, and those that they name.
        internet: whether an internet gateway is attached. carrier: whether a carrier gateway is.
        hosts: names besides those of interfaces. public_domains: how public addresses are called. captures: for flow
            logs.
    """

    vpc_id: str
    cidrs: tuple[str, ...]
    domain: str
    dhcp: DhcpSpec
    subnets: tuple[SubnetSpec, ...]
    route_tables: tuple[RouteTableSpec, ...]
    acls: tuple[AclSpec, ...]
    groups: tuple[GroupSpec, ...]
    interfaces: tuple[InterfaceSpec, ...]
    ipv6_cidrs: tuple[str, ...] = ()
    dns: bool = True
    internet: bool = False
    carrier: bool = False
    prefix_lists: tuple[PrefixListSpec, ...] = ()
    nat_gateways: tuple[NatGatewaySpec, ...] = ()
    endpoints: tuple[EndpointSpec, ...] = ()
    hosts: tuple[HostEntry, ...] = ()
    public_domains: tuple[PublicDomainSpec, ...] = ()
    captures: tuple[CaptureSpec, ...] = ()


class PeeringSpec(Spec, frozen=True, kw_only=True):
    """Two VPCs of this host that route to one another where their route tables say so. Never to what lies beyond them."""

    peering_id: str
    requester: str
    accepter: str


class PoolSpec(Spec, frozen=True, kw_only=True):
    """Public addresses that this cloud owns, as a CIDR.

    ``announce``: how others learn that: not at all (they have a route), by ARP on the uplink, or by BGP.
    """

    cidr: str
    announce: Literal["", "arp", "bgp"] = ""


class NetworkSpec(Spec, frozen=True, kw_only=True):
    """All networking of a host. ``pools``: IPv4. ``ipv6_pools``: the prefixes that VPCs' IPv6 CIDRs are cut from."""

    pools: tuple[PoolSpec, ...] = ()
    ipv6_pools: tuple[str, ...] = ()
    services: tuple[ServiceSpec, ...] = ()
    vpcs: tuple[VpcSpec, ...] = ()
    peerings: tuple[PeeringSpec, ...] = ()
