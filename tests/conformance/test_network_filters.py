"""Security groups in both families, and what a guest can't pretend or reach, each tried with real packets."""

import socket
from collections.abc import AsyncIterator, Iterator

import pytest
from network_frames import (
    ALL_NODES,
    ALL_NODES_MAC,
    ROUTER_MAC,
    advertised_neighbour,
    advertised_router,
    frame,
    heard,
    ipv4,
    ipv6,
    udp,
)
from network_lab import ANY, HOST, Guest, Lab, group, inside, interface, network, route_table, subnet, tcp, vpc
from network_probes import Echo, Probe, reached

from pileus.drivers.network.linux.names import HOST6, METADATA6
from pileus.drivers.network.linux.network import LinuxNetwork
from pileus.hostapi.network_spec import AddressSpec, GroupSpec, PrefixListSpec, RuleSpec, VpcSpec

pytestmark = [pytest.mark.root, pytest.mark.slow]

ANY6 = "::/0"
CIDR, CIDR6 = "10.0.0.0/20", "2001:db8::/64"
ONE, TWO, ONE6, TWO6 = "10.0.0.5", "10.0.0.6", "2001:db8::5", "2001:db8::6"
OPEN = group(
    "sg-open",
    *(RuleSpec(protocol="-1", cidr=cidr) for cidr in (ANY, ANY6)),
    egress=tuple(RuleSpec(protocol="-1", cidr=cidr) for cidr in (ANY, ANY6)),
)
ALLOWED = frozenset({"tcp", "udp", "ping", "tcp6", "udp6", "ping6"})


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    made = Lab()
    try:
        yield made
    finally:
        await made.close()


def part(*groups: GroupSpec, lists: tuple[PrefixListSpec, ...] = (), **second: object) -> VpcSpec:
    """eni-5, which may send everything, and eni-6 in sg-web; both have both families."""
    nics = (
        interface(5, "sg-open", ipv6=(ONE6,), public="203.0.113.5"),
        interface(6, "sg-web", ipv6=(TWO6,), **second),
    )
    return vpc(
        "vpc-1",
        (OPEN, *groups),
        *nics,
        ipv6_cidrs=("2001:db8::/56",),
        subnets=(subnet(CIDR, ipv6_cidr=CIDR6),),
        route_tables=(
            route_table(
                (ANY, "internet", "igw-1"), (ANY6, "internet", "igw-1"), local=("10.0.0.0/16", "2001:db8::/56")
            ),
        ),
        prefix_lists=lists,
    )


async def start(lab: Lab, spec: VpcSpec, *, serve: bool = True) -> tuple[LinuxNetwork, list[Guest]]:
    driver = lab.driver(ipv6_pools=("2001:db8::/32",))
    await driver.open()
    await driver.apply(network(spec))
    guests = [(await lab.guest(driver, nic)).configure() for nic in spec.interfaces]
    return driver, [guest.serve(80).serve(81) for guest in guests] if serve else guests


def rule(protocol: str, low: int = -1, high: int = -1, **peer: str) -> RuleSpec:
    return RuleSpec(protocol=protocol, from_port=low, to_port=high, **peer)


def passing(client: Guest) -> frozenset[str]:
    """What gets through from eni-5 to eni-6: TCP and UDP to port 80 and pings, in both families."""
    tries = {
        f"{name}{suffix}": Probe(client.namespace, address, protocol, 80)
        for suffix, address in (("", TWO), ("6", TWO6))
        for name, protocol in (("tcp", "tcp"), ("udp", "udp"), ("ping", "icmp"))
    }
    return frozenset(name for name, told in zip(tries, reached(list(tries.values()), 0.5), strict=True) if told)


@pytest.fixture
def echo() -> Iterator[Echo]:
    made = Echo()
    yield made
    made.close()


async def test_rules_of_each_kind_let_in_what_they_say(lab: Lab, echo: Echo) -> None:
    cases: list[tuple[tuple[RuleSpec, ...], set[str]]] = [
        ((rule("-1", cidr=ANY),), {"tcp", "udp", "ping"}),
        ((rule("-1", cidr=ANY6),), {"tcp6", "udp6", "ping6"}),
        ((rule("tcp", 80, 80, cidr=f"{ONE6}/128"), rule("udp", 80, 90, cidr=CIDR)), {"tcp6", "udp"}),
        ((rule("tcp", 80, 80, cidr="2001:db8:0:1::/64"), rule("tcp", 81, 82, cidr=ANY)), set()),
        ((rule("icmp", 8, -1, cidr=ANY),), {"ping"}),
        ((rule("icmp", 8, 0, cidr=ANY),), {"ping"}),
        ((rule("icmp", 0, -1, cidr=ANY), rule("icmp", 8, 1, cidr=ANY)), set()),
        ((rule("icmpv6", 128, -1, cidr=ANY6),), {"ping6"}),
        ((rule("58", cidr=ANY6), rule("17", cidr=ANY6)), {"ping6", "udp6"}),
        ((rule("47", cidr=ANY),), set()),
        ((rule("-1", prefix_list="pl-1"),), {"tcp", "udp", "ping"}),
        ((rule("tcp", 80, 80, prefix_list="pl-6"),), {"tcp6"}),
        ((rule("-1", prefix_list="pl-gone"),), set()),
        ((rule("-1", group="sg-clients"),), set(ALLOWED)),
        ((rule("tcp", 80, 80, group="sg-prefixes"),), {"tcp", "tcp6"}),
        ((rule("-1", group="sg-web"),), set()),
    ]
    lists = (
        PrefixListSpec(prefix_list_id="pl-1", cidrs=("192.0.2.0/24", "10.0.0.4/30", "10.0.0.5/32")),
        PrefixListSpec(prefix_list_id="pl-6", cidrs=(f"{ONE6}/128", "10.0.0.6/32")),
    )
    others = (
        group("sg-clients", members=(ONE, ONE6)),
        group("sg-prefixes", members=("10.0.0.0/28", "2001:db8::/80", "10.0.0.3")),
    )
    driver, (client, server) = await start(lab, part(group("sg-web")), serve=False)
    echo.add(server.namespace, (80,))
    for rules, allowed in cases:
        web = group("sg-web", *rules, members=(TWO, TWO6))
        await driver.apply(network(part(web, *others, lists=lists)))
        assert passing(client) == allowed, rules


async def test_several_addresses_and_prefixes_are_all_the_interfaces(lab: Lab) -> None:
    own = {
        "addresses": (AddressSpec(address=TWO), AddressSpec(address="10.0.0.60")),
        "prefixes": ("10.0.1.0/28", "2001:db8:0:0:1::/80"),
    }
    _, (client, server) = await start(lab, part(group("sg-web", tcp(80, cidr=ANY), tcp(80, cidr=ANY6)), **own))
    server.ip("address add 10.0.1.3/32 dev eth0", "address add 2001:db8:0:0:1::3/128 dev eth0 nodad")
    for address in (TWO, "10.0.0.60", "10.0.1.3", "2001:db8:0:0:1::3"):
        assert client.connect(address, 80), address
    assert client.connect("10.0.1.17", 80, timeout=0.3) is None


async def test_nobody_plays_router_or_neighbour(lab: Lab) -> None:
    """Router and neighbour advertisements and DHCP answers go nowhere, whoever they name as their source."""
    _, (liar, victim) = await start(lab, part(group("sg-web", rule("-1", cidr=ANY), rule("-1", cidr=ANY6))))
    mac, other = liar.spec.mac, victim.spec.mac
    local = "fe80::ff:fe00:5"
    icmp, datagram = socket.IPPROTO_ICMPV6, socket.IPPROTO_UDP
    lies = [
        (ALL_NODES_MAC, ipv6(local, ALL_NODES, icmp, advertised_router(mac))),
        (ROUTER_MAC, ipv6(ONE6, TWO6, icmp, advertised_router(mac))),
        (ROUTER_MAC, ipv6(ONE6, TWO6, icmp, advertised_neighbour("fe80::a9ff:fefe:1", mac))),
        (ROUTER_MAC, ipv6(ONE6, TWO6, icmp, advertised_neighbour(TWO6, mac))),
        (ROUTER_MAC, ipv6(local, TWO6, datagram, udp(5000, 5001, b"link-local"))),
        (ROUTER_MAC, ipv6(TWO6, TWO6, datagram, udp(5000, 5001, b"your own address"))),
        (ROUTER_MAC, ipv6("2001:db8::77", TWO6, datagram, udp(5000, 5001, b"nobody's address"))),
        (ROUTER_MAC, ipv6(ONE6, TWO6, datagram, udp(547, 546, b"lease of IPv6"))),
        (ROUTER_MAC, ipv4(ONE, TWO, datagram, udp(67, 68, b"lease"))),
        (other, ipv4(ONE, TWO, datagram, udp(67, 68, b"lease to the MAC"))),
        ("ff:ff:ff:ff:ff:ff", ipv4(ONE, "255.255.255.255", datagram, udp(67, 68, b"lease to all"))),
        (ROUTER_MAC, ipv4("169.254.169.254", TWO, datagram, udp(80, 5001, b"metadata"))),
    ]
    marks = [b"link-local", b"your own address", b"nobody's address", b"lease", b"metadata", b"from another MAC"]
    marks += [option + bytes.fromhex(mac.replace(":", "")) for option in (b"\x01\x01", b"\x02\x01")]
    with victim.sniffer() as sniffer:
        for to, packet in lies:
            liar.send_frame(frame(mac, to, 0x86DD if packet[0] >> 4 == 6 else 0x0800, packet))
        forged = ipv6(ONE6, TWO6, datagram, udp(5000, 5001, b"from another MAC"))
        liar.send_frame(frame(other, ROUTER_MAC, 0x86DD, forged))
        liar.send_frame(frame(mac, ROUTER_MAC, 0x86DD, ipv6(ONE6, TWO6, datagram, udp(5000, 5001, b"the truth"))))
        assert heard(sniffer, (*marks, b"the truth")) == {b"the truth"}
    assert liar.connect(TWO6, 80), "the namespace was not misled either"
    assert liar.connect(TWO, 80)


async def test_a_router_may_not_pass_as_the_vpcs_services(lab: Lab) -> None:
    spec = part(group("sg-web", rule("-1", cidr=ANY), rule("-1", cidr=ANY6)))
    router = interface(5, "sg-open", ipv6=(ONE6,), source_dest_check=False)
    spec = vpc(
        "vpc-1",
        spec.groups,
        router,
        spec.interfaces[1],
        ipv6_cidrs=spec.ipv6_cidrs,
        subnets=spec.subnets,
        route_tables=spec.route_tables,
    )
    _, (liar, victim) = await start(lab, spec)
    mac, datagram = liar.spec.mac, socket.IPPROTO_UDP
    forged = ("169.254.169.254", "127.0.0.1", "0.0.0.0", "224.0.0.1")
    forged6 = (METADATA6, "fe80::1", "::1", "ff02::1")
    with victim.sniffer() as sniffer:
        for source in forged:
            liar.send_frame(frame(mac, ROUTER_MAC, 0x0800, ipv4(source, TWO, datagram, udp(80, 81, b"forged"))))
        for source in forged6:
            liar.send_frame(frame(mac, ROUTER_MAC, 0x86DD, ipv6(source, TWO6, datagram, udp(80, 81, b"forged"))))
        assert heard(sniffer, (b"forged",)) == set()
        liar.send_frame(frame(mac, ROUTER_MAC, 0x0800, ipv4("192.0.2.9", TWO, datagram, udp(80, 81, b"routed"))))
        liar.send_frame(
            frame(mac, ROUTER_MAC, 0x86DD, ipv6("2001:db8:9::9", TWO6, datagram, udp(80, 81, b"routed too")))
        )
        assert heard(sniffer, (b"routed", b"routed too")) == {b"routed", b"routed too"}


async def test_the_hosts_own_addresses_and_the_edge_are_out_of_reach(lab: Lab) -> None:
    driver, guests = await start(lab, part(group("sg-web")))
    out_of_reach = (HOST, HOST6, "169.254.0.1", "198.18.0.1", "10.0.0.1", "fe80::a9ff:fefe:1%eth0", "127.0.0.1")
    with socket.create_server(("0.0.0.0", 7000)), socket.create_server((HOST6, 7001), family=socket.AF_INET6):
        for guest in guests:
            for address in out_of_reach:
                for port in (7000, 7001):
                    assert guest.connect(address, port, timeout=0.2) is None, address
        assert lab.connect("203.0.113.5", 80)
    with await driver.listen("vpc-1", "169.254.169.254", 80) as listener:
        listener.settimeout(0.5)
        assert lab.connect("169.254.169.254", 80, timeout=0.3) is None
        with pytest.raises(TimeoutError):
            listener.accept()


async def test_another_instances_metadata_is_out_of_reach(lab: Lab) -> None:
    """The service knows who asks by the address, so nobody may ask from another's."""
    driver, (liar, victim) = await start(lab, part(group("sg-web")))
    listeners = [await driver.listen("vpc-1", address, 80) for address in ("169.254.169.254", METADATA6)]
    for listener, own, forged in zip(listeners, (ONE, ONE6), (TWO, TWO6), strict=True):
        listener.settimeout(0.6)
        length = 128 if ":" in forged else 32
        liar.ip(f"address add {forged}/{length} dev lo")
        target, family = listener.getsockname()[0], listener.family
        with inside(liar.namespace, lambda f=family, s=forged, t=target: _begin(f, s, t)), pytest.raises(TimeoutError):
            listener.accept()
        with inside(liar.namespace, lambda f=family, s=own, t=target: _begin(f, s, t)):
            assert listener.accept()[1][0] == own
        listener.close()
    assert victim.spec.interface_id == "eni-6"


def _begin(family: int, source: str, target: str) -> socket.socket:
    """A connection that is on its way."""
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setblocking(False)
    made.bind((source, 0))
    made.connect_ex((target, 80))
    return made


async def test_an_interface_in_no_group_neither_sends_nor_receives(lab: Lab) -> None:
    nics = interface(5, "sg-open", ipv6=(ONE6,)), interface(6, ipv6=(TWO6,))
    base = part(group("sg-web"))
    spec = vpc(
        "vpc-1",
        base.groups,
        *nics,
        ipv6_cidrs=base.ipv6_cidrs,
        subnets=base.subnets,
        route_tables=base.route_tables,
    )
    _, (client, lonely) = await start(lab, spec)
    assert passing(client) == set()
    assert lonely.connect(ONE, 80) is None
    assert not lonely.pings(ONE6)
