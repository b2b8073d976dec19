"""What a VPC's dnsmasq is told, as text: its configuration, read at its start only, and tables that it reads again.

See dnsmasq(8). The options of a DHCP option set are the documented ones of EC2; what the set does not name is not
handed out.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pileus.drivers.errors import PermanentError
from pileus.drivers.network.linux.names import MTU, TAP_PREFIX, resolvers
from pileus.hostapi.network_spec import InterfaceSpec, SubnetSpec, VpcSpec

IPV6_RESOLVER = "fd00:ec2::253"
"""The resolver's IPv6 address, the same in every VPC."""

_LEASE_SECONDS = 3600
_SHORTEST_LEASE = 120
"""Of dnsmasq, in seconds."""
_TTL_SECONDS = 60
_ROUTER_INTERVAL, _ROUTER_LIFETIME = 60, 1800
_TEXT = re.compile(r"[A-Za-z0-9._-]+( [A-Za-z0-9._-]+)*")


def configuration(vpc: VpcSpec, directory: Path, upstream: tuple[str, ...] = ()) -> str:
    """What is read at the start only. A name that is not the VPC's is asked of ``upstream``, or does not exist.

    Raises:
        PermanentError: a DHCP option has a value that can't be one.
    """
    lines = (
        *(_dns(vpc, directory, upstream) if vpc.dns else ("port=0",)),
        f"interface={TAP_PREFIX}*",
        "bind-dynamic",
        "dhcp-authoritative",
        "no-ping",
        "leasefile-ro",
        "dhcp-lease-max=65536",
        "dhcp-broadcast",  # a unicast answer would overwrite the permanent neighbour entry
        "quiet-dhcp",
        "quiet-dhcp6",
        "quiet-ra",
        f"dhcp-hostsfile={directory}/leases",
        f"dhcp-option=option:mtu,{MTU}",
        *_options(vpc),
        *(line for subnet in sorted(vpc.subnets, key=lambda subnet: subnet.cidr) for line in _range(subnet)),
        *(_ipv6(vpc) if any(subnet.ipv6_cidr for subnet in vpc.subnets) else ()),
    )
    return "".join(f"{line}\n" for line in lines)


def leases(vpc: VpcSpec) -> str:
    """Who gets which addresses and host name (the first label: the domain is an option of its own).

    DHCP hands out an interface's first addresses; the others are the guest's to configure.
    """
    return "".join(f"{','.join(_lease(nic))}\n" for nic in vpc.interfaces if nic.kind == "guest")


def names(vpc: VpcSpec) -> str:
    """The names that mean one address each. Inside of the VPC public ones mean the private address.

    The first name of an address is its reverse name.
    """
    return "".join(f"{address} {' '.join(dict.fromkeys(found))}\n" for address, found in _named(vpc) if found)


def _named(vpc: VpcSpec) -> Iterator[tuple[str, tuple[str, ...]]]:
    for nic in vpc.interfaces:
        for one in nic.addresses:
            yield one.address, (*one.names, *one.public_names)
        for address in nic.ipv6[:1]:
            yield address, nic.ipv6_names
    for host in vpc.hosts:
        if not host.name.startswith("*."):
            for address in host.addresses:
                yield address, (host.name,)


def _lease(nic: InterfaceSpec) -> tuple[str, ...]:
    return (
        nic.mac,
        nic.private_address,
        *(f"[{address}]" for address in nic.ipv6[:1]),
        nic.hostname.partition(".")[0],
    )


def _dns(vpc: VpcSpec, directory: Path, upstream: tuple[str, ...]) -> Iterator[str]:
    """Answering names. A line for a domain holds for what is below it; the table of names comes before all of them."""
    yield from (
        "no-resolv",
        "no-hosts",
        f"addn-hosts={directory}/names",
        f"local-ttl={_TTL_SECONDS}",
        "cache-size=1000",
    )
    for one in vpc.public_domains:
        yield f"synth-domain={_text(one.domain)},{ipaddress.IPv4Network(one.cidr)},ec2-"
    for host in vpc.hosts:
        if host.name.startswith("*."):
            yield from (f"address=/{host.name[2:]}/{address}" for address in host.addresses)
    if not upstream:
        yield "address=/#/"
        return
    yield from (f"local=/{vpc.domain}/", "bogus-priv")
    yield from (f"local=/{zone}/" for zone in _reverse_zones(vpc.ipv6_cidrs))
    yield from (f"server={address}" for address in upstream)


def _reverse_zones(cidrs: Iterable[str]) -> Iterator[str]:
    """The zones of the reverse names of IPv6 CIDRs, e.g. ``0.1.0.0.2.ip6.arpa``."""
    for cidr in cidrs:
        network = ipaddress.IPv6Network(cidr)
        digits = network.network_address.exploded.replace(":", "")[: network.prefixlen // 4]
        yield f"{'.'.join(reversed(digits))}.ip6.arpa"


def _options(vpc: VpcSpec) -> Iterator[str]:
    """The option set. An empty option keeps dnsmasq from sending its own idea of it."""
    dhcp = vpc.dhcp
    yield _option("option:dns-server", _servers(vpc, 4))
    yield _option("option:ntp-server", _addresses(dhcp.ntp_servers, 4))
    if dhcp.domain is not None:
        yield f'dhcp-option=option:domain-name,"{_text(dhcp.domain)}"'
    if dhcp.netbios_servers:
        yield _option("option:netbios-ns", _addresses(dhcp.netbios_servers, 4))
    if dhcp.netbios_node_type is not None:
        yield f"dhcp-option=option:netbios-nodetype,{dhcp.netbios_node_type}"


def _ipv6(vpc: VpcSpec) -> Iterator[str]:
    """Router advertisements that send guests to DHCPv6 for their addresses, and to the router for everything."""
    yield from _ipv6_ranges(vpc)
    yield "enable-ra"
    yield f"ra-param={TAP_PREFIX}*,{_ROUTER_INTERVAL},{_ROUTER_LIFETIME}"
    yield _option("option6:dns-server", [f"[{address}]" for address in _servers(vpc, 6)])
    if ntp := _addresses(vpc.dhcp.ntp_servers, 6):
        yield _option("option6:sntp-server", [f"[{address}]" for address in ntp])
    if vpc.dhcp.domain is not None:
        yield _option("option6:domain-search", _text(vpc.dhcp.domain).split())


def _range(subnet: SubnetSpec) -> Iterator[str]:
    network = ipaddress.IPv4Network(subnet.cidr)
    tag = f"net{network.network_address}-{network.prefixlen}"
    yield f"dhcp-range=set:{tag},{network.network_address},static,{network.netmask},{_LEASE_SECONDS}"
    yield f"dhcp-option=tag:{tag},option:router,{network[1]}"


def _ipv6_ranges(vpc: VpcSpec) -> Iterator[str]:
    """A range for the IPv6 CIDR of every subnet. Its addresses are nobody's neighbours: all goes by the router."""
    lease = max(vpc.dhcp.ipv6_lease, _SHORTEST_LEASE)
    for subnet in sorted(vpc.subnets, key=lambda subnet: subnet.cidr):
        if subnet.ipv6_cidr:
            network = ipaddress.IPv6Network(subnet.ipv6_cidr)
            yield f"dhcp-range={network.network_address},static,off-link,{network.prefixlen},{lease}"


def _option(name: str, values: Iterable[str]) -> str:
    return ",".join((f"dhcp-option={name}", *values))


def _servers(vpc: VpcSpec, version: int) -> list[str]:
    """The name servers of a version of IP. The VPC's own is none while it does not answer."""
    own = resolvers(vpc)[0] if version == 4 else IPV6_RESOLVER
    named = (own if server == "amazon" else server for server in vpc.dhcp.dns_servers if vpc.dns or server != "amazon")
    return _addresses(named, version)


def _addresses(values: Iterable[str], version: int) -> list[str]:
    """Those of a version of IP, in their shortest form."""
    try:
        parsed = [ipaddress.ip_address(value) for value in values]
    except ValueError as error:
        raise PermanentError(f"a DHCP option's address: {error}") from error
    return [str(address) for address in parsed if address.version == version]


def _text(value: str) -> str:
    if not _TEXT.fullmatch(value):
        raise PermanentError(f"a DHCP option's domain name: {value!r}")
    return value
