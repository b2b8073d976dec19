"""Network ACLs, tried with real packets: stateless, in order, at the subnet's border."""

import socket
from collections.abc import AsyncIterator

import pytest
from network_lab import ANY, EVERYTHING, HOST, Guest, Lab, inside, interface, network, route_table, subnet, vpc

from pileus.drivers.network.linux.network import LinuxNetwork
from pileus.hostapi.network_spec import AclEntrySpec, AclSpec, VpcSpec

pytestmark = [pytest.mark.root, pytest.mark.slow]

ANY6 = "::/0"
HERE, THERE = "10.0.0.0/20", "10.0.16.0/20"
HERE6, THERE6 = "2001:db8::/64", "2001:db8:0:1::/64"


def entry(verb: str, protocol: str = "-1", low: int = -1, high: int = -1, *, cidr: str = ANY) -> AclEntrySpec:
    return AclEntrySpec(allow=verb == "allow", protocol=protocol, cidr=cidr, from_port=low, to_port=high)


ALL = entry("allow"), entry("allow", cidr=ANY6)
OPEN = AclSpec(acl_id="acl-open", ingress=ALL, egress=ALL)
EPHEMERAL = entry("allow", "6", 1024, 65535)
NICS = (
    interface(5, "sg-open", ipv6=("2001:db8::5",)),
    interface(6, "sg-open"),
    interface(7, "sg-open", subnet=THERE, ipv6=("2001:db8:0:1::7",), public="203.0.113.7"),
)
ONE, NEIGHBOUR, OTHER, OTHER6 = "10.0.0.5", "10.0.0.6", "10.0.16.7", "2001:db8:0:1::7"


def part(ingress: tuple[AclEntrySpec, ...] = ALL, egress: tuple[AclEntrySpec, ...] = ALL) -> VpcSpec:
    """Two subnets; the ACL is that of the first."""
    return vpc(
        "vpc-1",
        (EVERYTHING,),
        *NICS,
        ipv6_cidrs=("2001:db8::/56",),
        acls=(AclSpec(acl_id="acl-1", ingress=ingress, egress=egress), OPEN),
        subnets=(subnet(HERE, ipv6_cidr=HERE6), subnet(THERE, acl="acl-open", ipv6_cidr=THERE6)),
        route_tables=(route_table((ANY, "internet", "igw-1"), local=("10.0.0.0/16", "2001:db8::/56")),),
    )


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    made = Lab()
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
async def driver(lab: Lab) -> LinuxNetwork:
    made = lab.driver(ipv6_pools=("2001:db8::/32",))
    await made.open()
    await made.apply(network(part()))
    return made


@pytest.fixture
async def guests(lab: Lab, driver: LinuxNetwork) -> list[Guest]:
    return [(await lab.guest(driver, nic)).configure().serve(80).serve(443) for nic in NICS]


async def test_the_first_entry_that_matches_decides(driver: LinuxNetwork, guests: list[Guest]) -> None:
    one, _, other = guests
    await driver.apply(network(part(ingress=(entry("deny", "tcp", 80, 80), *ALL))))
    assert other.connect(ONE, 80) is None
    assert other.connect(ONE, 443)
    assert one.connect(OTHER, 80), "the answers have other ports"
    await driver.apply(network(part(ingress=(entry("allow", "6", 80, 80), entry("deny", "6", 0, 1023), *ALL))))
    assert other.connect(ONE, 80)
    assert other.connect(ONE, 443) is None
    await driver.apply(network(part(ingress=(entry("deny", cidr="10.0.16.7/32"), *ALL))))
    assert other.connect(ONE, 80) is None
    await driver.apply(network(part(ingress=())))
    assert other.connect(ONE, 80) is None, "what no entry matches is denied"


async def test_answers_need_an_entry_of_their_own(driver: LinuxNetwork, guests: list[Guest]) -> None:
    one, _, other = guests
    await driver.apply(network(part(ingress=(entry("allow", "6", 80, 80),), egress=(EPHEMERAL,))))
    assert other.connect(ONE, 80)
    assert one.connect(OTHER, 80) is None
    await driver.apply(network(part(ingress=(entry("allow", "6", 80, 80),), egress=())))
    assert other.connect(ONE, 80) is None
    await driver.apply(network(part(ingress=(EPHEMERAL,), egress=(entry("allow", "6", 80, 80),))))
    assert one.connect(OTHER, 80)
    assert other.connect(ONE, 80) is None


async def test_inside_of_a_subnet_it_says_nothing(driver: LinuxNetwork, guests: list[Guest]) -> None:
    one, neighbour, other = guests
    await driver.apply(network(part(ingress=(), egress=())))
    assert one.connect(NEIGHBOUR, 80)
    assert neighbour.pings(ONE)
    assert one.connect(OTHER, 80) is None
    assert not other.pings(ONE)


async def test_the_vpcs_own_services_do_not_pass_it(driver: LinuxNetwork, guests: list[Guest]) -> None:
    await driver.apply(network(part(ingress=(), egress=())))
    with await driver.listen("vpc-1", "169.254.169.254", 80) as listener:
        listener.settimeout(5)
        with inside(guests[0].namespace, lambda: socket.create_connection(("169.254.169.254", 80), timeout=2)):
            assert listener.accept()[1][0] == ONE
    asked = guests[0].run("busybox", "nslookup", "ip-10-0-0-6.ec2.internal", "10.0.0.2")
    assert NEIGHBOUR in asked.stdout


async def test_the_internet_passes_it(driver: LinuxNetwork, guests: list[Guest], lab: Lab) -> None:
    def there(*entries: AclEntrySpec) -> VpcSpec:
        spec = part()
        return vpc(
            "vpc-1",
            (EVERYTHING,),
            *NICS,
            ipv6_cidrs=spec.ipv6_cidrs,
            acls=(OPEN, AclSpec(acl_id="acl-1", ingress=entries, egress=ALL)),
            subnets=(subnet(HERE, acl="acl-open", ipv6_cidr=HERE6), subnet(THERE, ipv6_cidr=THERE6)),
            route_tables=spec.route_tables,
        )

    assert lab.connect("203.0.113.7", 80)
    await driver.apply(network(there(entry("deny", "6", 80, 80, cidr=f"{HOST}/32"), *ALL)))
    assert lab.connect("203.0.113.7", 80) is None
    assert lab.connect("203.0.113.7", 443)
    assert guests[0].connect(OTHER, 80), "the entry is about the host's address"


async def test_icmp_has_types_and_each_family_its_own(driver: LinuxNetwork, guests: list[Guest]) -> None:
    one, _, other = guests
    echo = entry("allow", "1", 8, -1), entry("allow", "1", 0, 0)
    await driver.apply(network(part(ingress=echo, egress=echo)))
    assert one.pings(OTHER)
    assert other.pings(ONE)
    assert not one.pings(OTHER6)
    await driver.apply(network(part(ingress=(entry("allow", "1", 0, -1),), egress=(entry("allow", "1", 8, -1),))))
    assert one.pings(OTHER)
    assert not other.pings(ONE), "requests may not come in"
    await driver.apply(network(part(ingress=(entry("allow", "58", 129, -1, cidr=ANY6),), egress=ALL)))
    assert one.pings(OTHER6)
    assert not other.pings("2001:db8::5")
    assert not one.pings(OTHER)


async def test_entries_of_one_family_say_nothing_about_the_other(driver: LinuxNetwork, guests: list[Guest]) -> None:
    one, _, _ = guests
    await driver.apply(network(part(ingress=ALL[:1])))
    assert one.connect(OTHER, 80)
    assert one.connect(OTHER6, 80) is None
    await driver.apply(network(part(egress=(entry("deny", "6", 80, 80, cidr=THERE6), *ALL))))
    assert one.connect(OTHER6, 80) is None
    assert one.connect(OTHER6, 443)
    assert one.connect(OTHER, 80)
