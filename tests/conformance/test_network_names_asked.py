"""What guests are told by DHCP, DHCPv6, router advertisements and DNS, asked with real clients and packets."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from ipaddress import IPv6Address, ip_address
from pathlib import Path

import pytest
from msgspec.structs import replace
from network_lab import EVERYTHING, Guest, Lab, inside, interface, network, route_table, subnet, vpc

from pileus.drivers.network.linux.names import GATEWAY6
from pileus.drivers.network.linux.namespace import write_settings
from pileus.drivers.network.linux.network import LinuxNetwork
from pileus.hostapi.network_spec import AddressSpec, DhcpSpec, HostEntry, InterfaceSpec, PublicDomainSpec, VpcSpec

pytestmark = [pytest.mark.root, pytest.mark.slow]

NAME_ERROR = 3
POINTER, IPV6 = 12, 28
RESOLVER, RESOLVER6 = "10.0.0.2", "fd00:ec2::253"
BLOCK = "2001:db8:0:100::/56"
HERE, THERE = (
    subnet("10.0.0.0/20", ipv6_cidr="2001:db8:0:101::/64"),
    subnet("10.0.16.0/20", ipv6_cidr="2001:db8:0:102::/64"),
)


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    made = Lab()
    try:
        yield made
    finally:
        await made.close()


async def start(lab: Lab, spec: VpcSpec, **options: object) -> tuple[LinuxNetwork, list[Guest]]:
    """A driver with one VPC, and its guests, which have no address yet."""
    driver = lab.driver(**options)
    await driver.open()
    await driver.apply(network(spec))
    return driver, [await lab.guest(driver, nic) for nic in spec.interfaces if nic.kind == "guest"]


async def until(condition: Callable[[], bool]) -> None:
    """Waits for what comes soon."""
    for _ in range(50):
        if await asyncio.to_thread(condition):
            return
        await asyncio.sleep(0.1)
    raise AssertionError("it did not come")


def plain(*interfaces: InterfaceSpec, **other: object) -> VpcSpec:
    return vpc("vpc-1", (EVERYTHING,), *interfaces, **other)


def dual(number: int, where: str = "10.0.0.0/20", **other: object) -> InterfaceSpec:
    """An interface with IPv6, in one of the two subnets that have it."""
    third = "1" if where == HERE.cidr else "2"
    return interface(number, "sg-open", subnet=where, ipv6=(f"2001:db8:0:10{third}::{number:x}",), **other)


def lease(lab: Lab, guest: Guest) -> dict[str, str]:
    """What a real DHCP client is given when it asks for everything."""
    script = _script(lab)
    options = [word for name in OPTIONS for word in ("-O", name)]
    told = guest.run(
        "busybox", "udhcpc", "-i", "eth0", "-f", "-q", "-n", "-t", "10", "-T", "1", *options, "-s", str(script)
    )
    assert told.returncode == 0, told.stderr
    return dict(line.split("=", 1) for line in told.stdout.splitlines() if "=" in line)


OPTIONS = ("mtu", "hostname", "domain", "dns", "ntpsrv", "wins", "46")


def lease6(lab: Lab, guest: Guest) -> dict[str, str]:
    """What a real DHCPv6 client is given."""
    folder = Path("/run", f"{guest.namespace}-dhcp6")
    folder.mkdir()
    script, told = folder / "script", folder / "told"
    script.write_text(f'#!/bin/sh\n[ "$reason" = BOUND6 ] && env > {told}.new && mv {told}.new {told}\nexit 0\n')
    script.chmod(0o755)
    files = ("-lf", f"{folder}/leases", "-pf", f"{folder}/pid", "-cf", "/dev/null", "-sf", str(script))
    try:
        done = guest.run("timeout", "20", "dhclient", "-6", "-1", *files, "eth0")
        assert done.returncode == 0, done.stderr
        return dict(line.split("=", 1) for line in told.read_text().splitlines() if "=" in line)
    finally:
        guest.run("dhclient", "-6", "-x", *files, "eth0")
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


def _script(lab: Lab) -> Path:
    script = lab.root / "lease.sh"
    script.write_text("#!/bin/sh\nenv\n")
    script.chmod(0o755)
    return script


def ask(guest: Guest, name: str, kind: int = 1, server: str = RESOLVER) -> tuple[int, list[str]]:
    """The response code, and the addresses or the name in the answers, sorted."""
    return inside(guest.namespace, lambda: _exchange(name, kind, server))


def _exchange(name: str, kind: int, server: str) -> tuple[int, list[str]]:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    question = struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0) + labels + struct.pack(">BHH", 0, kind, 1)
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.settimeout(3)
        asking.connect((server, 53))
        asking.send(question)
        answer = asking.recv(4096)
    found: list[str] = []
    position = len(question)
    for _ in range(struct.unpack(">H", answer[6:8])[0]):
        position = _name_at(answer, position)[1]
        what, _, _, length = struct.unpack(">HHIH", answer[position : position + 10])
        position += 10
        data = answer[position : position + length]
        if what == kind:
            found.append(str(ip_address(data)) if kind != POINTER else _name_at(answer, position)[0])
        position += length
    return answer[3] & 15, sorted(found)


def _name_at(packet: bytes, position: int) -> tuple[str, int]:
    """The name that begins there, and where it ends."""
    labels: list[str] = []
    while length := packet[position]:
        if length >= 0xC0:
            pointed = struct.unpack(">H", packet[position : position + 2])[0] & 0x3FFF
            return ".".join([*labels, *filter(None, [_name_at(packet, pointed)[0]])]), position + 2
        labels.append(packet[position + 1 : position + 1 + length].decode())
        position += 1 + length
    return ".".join(labels), position + 1


async def test_the_default_option_set(lab: Lab) -> None:
    _, (guest,) = await start(lab, plain(interface(5, "sg-open", subnet="10.0.16.0/20")))
    told = lease(lab, guest)
    assert (told["ip"], told["subnet"], told["router"]) == ("10.0.16.5", "255.255.240.0", "10.0.16.1")
    assert (told["dns"], told["domain"], told["hostname"]) == (RESOLVER, "ec2.internal", "ip-10-0-16-5")
    assert (told["mtu"], told["lease"]) == ("1500", "3600")
    assert not {"ntpsrv", "wins", "opt46"} & told.keys()


async def test_an_option_set_of_ones_own_and_its_change(lab: Lab) -> None:
    options = DhcpSpec(
        domain="corp.example",
        dns_servers=("10.0.0.9", "amazon"),
        ntp_servers=("169.254.169.123",),
        netbios_servers=("10.0.0.10",),
        netbios_node_type=2,
    )
    spec = plain(interface(5, "sg-open"), dhcp=options)
    driver, (guest,) = await start(lab, spec)
    told = lease(lab, guest)
    assert (told["domain"], told["dns"]) == ("corp.example", f"10.0.0.9 {RESOLVER}")
    assert (told["ntpsrv"], told["wins"], told["opt46"]) == ("169.254.169.123", "10.0.0.10", "02")
    await driver.apply(network(replace(spec, dhcp=DhcpSpec(domain=None, dns_servers=()))))
    told = lease(lab, guest)
    assert told["ip"] == "10.0.0.5"
    assert not {"domain", "dns", "ntpsrv", "wins", "opt46"} & told.keys()


async def test_addresses_of_ipv6_come_by_dhcp_in_every_subnet(lab: Lab) -> None:
    nics = dual(5), dual(6, THERE.cidr), interface(7, "sg-open")
    options = DhcpSpec(domain="ec2.internal", dns_servers=("amazon", "2001:db8::9"), ntp_servers=("fd00:ec2::123",))
    spec = plain(*nics, subnets=(HERE, THERE), ipv6_cidrs=(BLOCK,), dhcp=options)
    _, (here, there, _) = await start(lab, spec)
    for guest in (here, there):
        told = lease6(lab, guest)
        assert told["new_ip6_address"] == guest.spec.ipv6[0]
        assert told["new_dhcp6_name_servers"] == f"{RESOLVER6} 2001:db8::9"
        assert told["new_dhcp6_domain_search"].rstrip(".") == "ec2.internal"
        assert told["new_max_life"] == "140"
        assert lease(lab, guest)["ip"] == guest.address


async def test_routers_say_that_everything_goes_by_them(lab: Lab) -> None:
    spec = plain(dual(5), interface(6, "sg-open", subnet="10.0.32.0/20"), ipv6_cidrs=(BLOCK,))
    spec = replace(spec, subnets=(HERE, subnet("10.0.32.0/20")))
    _, (with_ipv6, without) = await start(lab, spec)
    heard = [_advertised(guest) for guest in (with_ipv6, without)]
    assert heard[1] is None
    flags, lifetime, prefixes = heard[0] or (0, 0, {})
    assert flags & 0x80  # addresses by DHCPv6
    assert lifetime == 1800
    assert prefixes == {"2001:db8:0:101::": 0}  # neither on-link nor for addresses of one's own making


def _advertised(guest: Guest) -> tuple[int, int, dict[str, int]] | None:
    """Flags, lifetime in seconds, and prefixes with their flags, of the router that answers a solicitation."""

    def listen() -> tuple[int, int, dict[str, int]] | None:
        with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
            raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
            raw.settimeout(3)
            link = socket.if_nametoindex("eth0")
            raw.sendto(b"\x85" + bytes(7), ("ff02::2", 0, 0, link))
            try:
                while True:
                    packet, sender = raw.recvfrom(1500)
                    if packet[0] == 134:
                        break
            except TimeoutError:
                return None
        assert str(ip_address(sender[0].partition("%")[0])) == GATEWAY6
        prefixes: dict[str, int] = {}
        position = 16
        while position < len(packet):
            kind, length = packet[position], packet[position + 1] * 8
            if kind == 3:
                flags = packet[position + 3] & 0xC0
                prefixes[str(IPv6Address(packet[position + 16 : position + 32]))] = flags
            position += length
        return packet[5], struct.unpack(">H", packet[6:8])[0], prefixes

    return inside(guest.namespace, listen)


async def test_a_guest_that_does_as_it_is_told_reaches_its_neighbour_over_ipv6(lab: Lab) -> None:
    """The kernel's own configuration by router advertisement, and the address that DHCPv6 gives."""
    routes = route_table(local=("10.0.0.0/16", BLOCK))
    spec = plain(dual(5), dual(6), subnets=(HERE,), ipv6_cidrs=(BLOCK,), route_tables=(routes,))
    _, guests = await start(lab, spec)
    for guest in guests:
        told = lease6(lab, guest)
        inside(guest.namespace, lambda: write_settings([("ipv6/conf/eth0/accept_ra", "2")]))
        guest.ip(f"address add {told['new_ip6_address']}/128 dev eth0 nodad")
        inside(guest.namespace, _solicit)
    one, other = guests
    await until(lambda: GATEWAY6 in one.run("ip", "-6", "route", "show", "default").stdout)
    await until(lambda: GATEWAY6 in other.run("ip", "-6", "route", "show", "default").stdout)
    assert "2001:db8:0:101::/64" not in one.run("ip", "-6", "route").stdout
    assert one.pings(other.spec.ipv6[0])


def _solicit() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        raw.sendto(b"\x85" + bytes(7), ("ff02::2", 0, 0, socket.if_nametoindex("eth0")))


async def test_names_within_the_vpc(lab: Lab) -> None:
    second = AddressSpec(
        address="10.0.0.55",
        public="203.0.113.11",
        names=("ip-10-0-0-55.ec2.internal",),
        public_names=("ec2-203-0-113-11.compute-1.amazonaws.com",),
    )
    first = AddressSpec(address="10.0.0.5", names=("ip-10-0-0-5.ec2.internal", "i-5.ec2.internal"))
    nic = dual(5, addresses=(first, second), ipv6_names=("i-5.ec2.internal",))
    _, (guest,) = await start(lab, plain(nic, subnets=(HERE,), ipv6_cidrs=(BLOCK,)))
    guest.configure()
    assert ask(guest, "ip-10-0-0-5.ec2.internal") == (0, ["10.0.0.5"])
    assert ask(guest, "i-5.ec2.internal") == (0, ["10.0.0.5"])
    assert ask(guest, "i-5.ec2.internal", IPV6) == (0, ["2001:db8:0:101::5"])
    assert ask(guest, "ec2-203-0-113-11.compute-1.amazonaws.com") == (0, ["10.0.0.55"])
    assert ask(guest, "5.0.0.10.in-addr.arpa", POINTER) == (0, ["ip-10-0-0-5.ec2.internal"])
    assert ask(guest, "55.0.0.10.in-addr.arpa", POINTER) == (0, ["ip-10-0-0-55.ec2.internal"])
    reverse = IPv6Address("2001:db8:0:101::5").reverse_pointer
    assert ask(guest, reverse, POINTER) == (0, ["i-5.ec2.internal"])
    assert ask(guest, "nobody.ec2.internal") == (NAME_ERROR, [])
    for server in ("169.254.169.253", RESOLVER6):
        assert ask(guest, "i-5.ec2.internal", server=server) == (0, ["10.0.0.5"])


async def test_a_public_name_means_the_private_address_inside_and_the_public_one_elsewhere(lab: Lab) -> None:
    one = AddressSpec(
        address="10.0.0.5", public="203.0.113.11", public_names=("ec2-203-0-113-11.compute-1.amazonaws.com",)
    )
    domain = PublicDomainSpec(domain="compute-1.amazonaws.com", cidr="203.0.113.0/24")
    named = HostEntry(name="mail.example.com", addresses=("203.0.113.20",))
    spec = plain(dual(5, addresses=(one,)), public_domains=(domain,), hosts=(named,))
    _, (guest,) = await start(lab, replace(spec, subnets=(HERE,), ipv6_cidrs=(BLOCK,)))
    guest.configure()
    assert ask(guest, "ec2-203-0-113-11.compute-1.amazonaws.com") == (0, ["10.0.0.5"])
    assert ask(guest, "ec2-203-0-113-77.compute-1.amazonaws.com") == (0, ["203.0.113.77"])
    assert ask(guest, "77.113.0.203.in-addr.arpa", POINTER) == (0, ["ec2-203-0-113-77.compute-1.amazonaws.com"])
    assert ask(guest, "20.113.0.203.in-addr.arpa", POINTER) == (0, ["mail.example.com"])
    assert ask(guest, "ec2-198-51-100-7.compute-1.amazonaws.com") == (NAME_ERROR, [])


async def test_names_of_the_cloud_itself_and_below_them(lab: Lab) -> None:
    def hosts(*addresses: str) -> tuple[HostEntry, ...]:
        names = ("ec2.us-east-1.amazonaws.com", "s3.us-east-1.amazonaws.com", "*.s3.us-east-1.amazonaws.com")
        return tuple(HostEntry(name=name, addresses=addresses) for name in names)

    spec = plain(interface(5, "sg-open"), hosts=hosts("203.0.113.3"))
    driver, (guest,) = await start(lab, spec)
    guest.configure()
    for name in ("ec2", "s3", "bucket.s3", "my.bucket.s3"):
        assert ask(guest, f"{name}.us-east-1.amazonaws.com") == (0, ["203.0.113.3"])
    assert ask(guest, "other.us-east-1.amazonaws.com") == (NAME_ERROR, [])
    assert ask(guest, "below.ec2.us-east-1.amazonaws.com") == (NAME_ERROR, [])
    await driver.apply(network(replace(spec, hosts=hosts("10.0.0.20", "10.0.16.20"))))
    for name in ("ec2", "s3", "bucket.s3"):
        assert ask(guest, f"{name}.us-east-1.amazonaws.com") == (0, ["10.0.0.20", "10.0.16.20"])


async def test_a_name_of_its_own_beats_a_wildcard_above_it(lab: Lab) -> None:
    hosts = (
        HostEntry(name="*.example.com", addresses=("203.0.113.3",)),
        HostEntry(name="one.example.com", addresses=("10.0.0.9",)),
    )
    _, (guest,) = await start(lab, plain(interface(5, "sg-open"), hosts=hosts))
    guest.configure()
    assert ask(guest, "one.example.com") == (0, ["10.0.0.9"])
    assert ask(guest, "two.example.com") == (0, ["203.0.113.3"])


async def test_without_dns_support_addresses_are_handed_out_and_nothing_is_answered(lab: Lab) -> None:
    spec = plain(interface(5, "sg-open"), dns=False)
    driver, (guest,) = await start(lab, spec)
    told = lease(lab, guest)
    assert told["ip"] == "10.0.0.5"
    assert "dns" not in told
    guest.configure()
    with pytest.raises(OSError):
        ask(guest, "ip-10-0-0-5.ec2.internal")
    await driver.apply(network(replace(spec, dns=True)))
    await until(lambda: ask(guest, "ip-10-0-0-5.ec2.internal") == (0, ["10.0.0.5"]))


async def test_two_vpcs_with_the_same_addresses_have_names_of_their_own(lab: Lab) -> None:
    def names(name: str) -> tuple[AddressSpec, ...]:
        return (AddressSpec(address="10.0.0.5", names=(f"{name}.ec2.internal",)),)

    one = interface(5, "sg-open", addresses=names("one"))
    two = interface(5, "sg-open", addresses=names("two"), interface_id="eni-25")
    driver = lab.driver()
    await driver.open()
    await driver.apply(network(vpc("vpc-1", (EVERYTHING,), one), vpc("vpc-2", (EVERYTHING,), two)))
    for nic, name, other in ((one, "one", "two"), (two, "two", "one")):
        guest = (await lab.guest(driver, nic)).configure()
        assert ask(guest, f"{name}.ec2.internal") == (0, ["10.0.0.5"])
        assert ask(guest, f"{other}.ec2.internal") == (NAME_ERROR, [])
        assert ask(guest, "5.0.0.10.in-addr.arpa", POINTER) == (0, [f"{name}.ec2.internal"])


async def test_changes_are_answered_without_a_gap(lab: Lab) -> None:
    nics = [interface(number, "sg-open") for number in range(5, 9)]
    driver, (guest, *_) = await start(lab, plain(nics[0]))
    guest.configure()
    before = lab.processes()
    missed = 0
    for count in (2, 3, 4, 1, 4):
        change = asyncio.create_task(driver.apply(network(plain(*nics[:count]))))
        while not change.done():
            missed += await asyncio.to_thread(ask, guest, "ip-10-0-0-5.ec2.internal") != (0, ["10.0.0.5"])
        await change
    assert missed == 0
    assert lab.processes() == before
