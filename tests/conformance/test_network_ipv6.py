"""IPv6 of the network driver ``linux``, tried with real packets."""

import subprocess
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from network_lab import ANY, EVERYTHING, Guest, Lab, group, interface, network, route_table, subnet, vpc

from pileus.drivers.network.linux.names import GATEWAY6, HOST6
from pileus.drivers.network.linux.network import LinuxNetwork
from pileus.hostapi.network_spec import NetworkSpec, PeeringSpec, RouteTableSpec, RuleSpec

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

POOL = "2001:db8::/36"
OPEN, CLOSED, FAR = "10.0.0.0/24", "10.0.1.0/24", "10.0.0.0/20"
ONE, TWO = "2001:db8:0:100::/56", "2001:db8:0:200::/56"
OPEN6, CLOSED6, FAR6 = "2001:db8:0:100::/64", "2001:db8:0:101::/64", "2001:db8:0:200::/64"
WORLD = "2001:db8:ffff::2"
ANY6 = "::/0"
INTERNET = ((ANY, "internet", "igw-1"), (ANY6, "internet", "igw-1"))

PUBLIC = interface(5, "sg-open", subnet=OPEN, ipv6=("2001:db8:0:100::5",))
NEXT = interface(6, "sg-open", subnet=OPEN, ipv6=("2001:db8:0:100::6", "2001:db8:0:100::66"))
INNER = interface(7, "sg-open", subnet=CLOSED, ipv6=("2001:db8:0:101::7",))
OTHER = interface(40, "sg-open", subnet=FAR, ipv6=("2001:db8:0:200::40",))


def table(*routes: tuple[str, ...], name: str, cidr6: str = ONE) -> RouteTableSpec:
    """A table with what is local in both families."""
    return route_table(*routes, name=name, local=("10.0.0.0/16", cidr6))


def spec(
    closed: tuple[tuple[str, ...], ...] = (),
    *,
    far: tuple[tuple[str, ...], ...] = INTERNET,
    peerings: tuple[PeeringSpec, ...] = (),
    nics: tuple[object, ...] = (PUBLIC, NEXT, INNER),
) -> NetworkSpec:
    """vpc-1 with an open and a closed subnet, vpc-2 with one on the internet."""
    one = vpc(
        "vpc-1",
        (EVERYTHING,),
        interfaces=nics,
        ipv6_cidrs=(ONE,),
        subnets=(subnet(OPEN, "rtb-open", ipv6_cidr=OPEN6), subnet(CLOSED, "rtb-closed", ipv6_cidr=CLOSED6)),
        route_tables=(table(*INTERNET, name="rtb-open"), table(*closed, name="rtb-closed")),
    )
    two = vpc(
        "vpc-2",
        (EVERYTHING,),
        OTHER,
        ipv6_cidrs=(TWO,),
        subnets=(subnet(FAR, "rtb-far", ipv6_cidr=FAR6),),
        route_tables=(table(*far, name="rtb-far", cidr6=TWO),),
    )
    return network(one, two, ipv6_pools=(POOL,), peerings=peerings)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab() -> AsyncIterator[Lab]:
    made = Lab()
    try:
        yield made
    finally:
        await made.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def driver(lab: Lab) -> LinuxNetwork:
    world = lab.world()
    for name, address in ((lab.host, "2001:db8:ffff::1/64"), (world.namespace, f"{WORLD}/64")):
        link = "up0" if name == lab.host else "eth0"
        subprocess.run(["ip", "-n", name, "address", "add", address, "dev", link, "nodad"], check=True)
    made = lab.driver(uplink="up0", ipv6_pools=(POOL,))
    await made.open()
    return made


@pytest_asyncio.fixture(loop_scope="module")
async def guests(lab: Lab, driver: LinuxNetwork) -> dict[str, Guest]:
    return await lab.up(driver, spec())


async def test_guests_of_a_vpc_reach_each_other(guests: dict[str, Guest]) -> None:
    assert guests["eni-5"].connect("2001:db8:0:100::6", 80, source_port=4000) == "2001:db8:0:100::5:4000"
    assert guests["eni-5"].connect("2001:db8:0:100::66", 80, source_port=4001)
    assert guests["eni-7"].connect("2001:db8:0:100::5", 80, source_port=4002) == "2001:db8:0:101::7:4002"
    assert guests["eni-7"].pings("2001:db8:0:100::6")
    assert guests["eni-5"].connect("2001:db8:0:100::99", 80) is None


async def test_the_router_is_discovered(guests: dict[str, Guest]) -> None:
    assert guests["eni-5"].run("busybox", "ping", "-6", "-c", "1", "-W", "1", f"{GATEWAY6}%eth0").returncode in (0, 1)
    shown = guests["eni-5"].run("ip", "-6", "neighbour", "show", GATEWAY6).stdout
    assert "02:00:a9:fe:00:01" in shown
    assert "FAILED" not in shown


async def test_the_internet_gateway_does_not_translate(guests: dict[str, Guest]) -> None:
    assert guests["eni-5"].connect("2001:db8:0:200::40", 80, source_port=4003) == "2001:db8:0:100::5:4003"
    assert guests["eni-40"].connect("2001:db8:0:100::5", 80, source_port=4004) == "2001:db8:0:200::40:4004"
    assert guests["eni-7"].connect("2001:db8:0:200::40", 80) is None, "no route"
    assert guests["eni-40"].connect("2001:db8:0:101::7", 80) is None


async def test_an_egress_only_gateway_lets_answers_in_only(lab: Lab, driver: LinuxNetwork) -> None:
    guests = await lab.up(driver, spec(((ANY6, "egress-only", "eigw-1"),)))
    assert guests["eni-7"].connect("2001:db8:0:200::40", 80, source_port=4005) == "2001:db8:0:101::7:4005"
    assert guests["eni-40"].connect("2001:db8:0:101::7", 80) is None
    assert not guests["eni-40"].pings("2001:db8:0:101::7")
    assert guests["eni-7"].pings("2001:db8:0:200::40")


async def test_the_host_and_the_world_beyond(guests: dict[str, Guest], lab: Lab) -> None:
    assert (lab.connect("2001:db8:0:100::5", 80) or "").startswith(f"{HOST6}:")
    seen = guests["eni-5"].connect(WORLD, 80)
    assert seen is not None, "the uplink"
    assert seen.startswith("2001:db8:ffff::1:"), "a pool that nobody announces hides behind the host"
    assert guests["eni-7"].connect(WORLD, 80) is None
    for address in (HOST6, "2001:db8:ffff::1"):
        assert not guests["eni-5"].pings(address)


async def test_a_black_hole_and_the_most_specific_route(lab: Lab, driver: LinuxNetwork) -> None:
    routes = ((ANY6, "internet", "igw-1"), (TWO, "blackhole"), ("2001:db8:0:200::40/128", "internet", "igw-1"))
    guests = await lab.up(driver, spec(routes))
    assert guests["eni-7"].connect("2001:db8:0:200::40", 80)
    await lab.up(driver, spec(routes[:2]))
    assert guests["eni-7"].connect("2001:db8:0:200::40", 80) is None
    assert guests["eni-7"].connect(WORLD, 80)


async def test_an_interface_is_a_gateway_for_others(lab: Lab, driver: LinuxNetwork) -> None:
    router = interface(8, "sg-open", subnet=OPEN, ipv6=("2001:db8:0:100::8",), source_dest_check=False)
    wanted = spec(((ANY6, "interface", "eni-8"),), nics=(PUBLIC, NEXT, INNER, router))
    guests = await lab.up(driver, wanted)
    hide = "add table ip6 t; add chain ip6 t p { type nat hook postrouting priority 100; }; add rule ip6 t p masquerade"
    assert guests["eni-8"].forward().run("nft", hide).returncode == 0
    assert (guests["eni-7"].connect("2001:db8:0:200::40", 80) or "").startswith("2001:db8:0:100::8:")
    guests["eni-8"].run("nft", "delete table ip6 t")


async def test_a_delegated_prefix_is_the_interfaces(lab: Lab, driver: LinuxNetwork) -> None:
    rich = interface(5, "sg-open", subnet=OPEN, ipv6=PUBLIC.ipv6, prefixes=("2001:db8:0:100:1::/80",))
    guests = await lab.up(driver, spec(nics=(rich, NEXT, INNER)))
    guests["eni-5"].ip("address add 2001:db8:0:100:1::77/128 dev eth0 nodad")
    assert guests["eni-7"].connect("2001:db8:0:100:1::77", 80)
    assert guests["eni-40"].connect("2001:db8:0:100:1::77", 80)
    seen = guests["eni-5"].connect("2001:db8:0:101::7", 80, source="2001:db8:0:100:1::77", source_port=4006)
    assert seen == "2001:db8:0:100:1::77:4006"
    guests["eni-5"].ip("address delete 2001:db8:0:100:1::77/128 dev eth0")


async def test_a_peering_carries_it(lab: Lab, driver: LinuxNetwork) -> None:
    peering = PeeringSpec(peering_id="pcx-1", requester="vpc-1", accepter="vpc-2")
    there, back = ((TWO, "peering", "pcx-1"),), ((ONE, "peering", "pcx-1"),)
    guests = await lab.up(driver, spec(there, far=back, peerings=(peering,)))
    assert guests["eni-7"].connect("2001:db8:0:200::40", 80, source_port=4007) == "2001:db8:0:101::7:4007"
    assert guests["eni-40"].connect("2001:db8:0:101::7", 80)


async def test_groups_hold_for_it(lab: Lab, driver: LinuxNetwork) -> None:
    narrow = group("sg-web", RuleSpec(protocol="tcp", from_port=80, to_port=80, cidr=OPEN6))
    made = spec()
    changed = vpc(
        "vpc-1",
        (EVERYTHING, narrow),
        interfaces=(PUBLIC, NEXT, interface(7, "sg-web", subnet=CLOSED, ipv6=INNER.ipv6)),
        ipv6_cidrs=(ONE,),
        subnets=made.vpcs[0].subnets,
        route_tables=made.vpcs[0].route_tables,
    )
    guests = await lab.up(driver, network(changed, made.vpcs[1], ipv6_pools=(POOL,)))
    assert guests["eni-5"].connect("2001:db8:0:101::7", 80)
    assert not guests["eni-5"].pings("2001:db8:0:101::7")


async def test_nobody_sends_from_anothers_address(guests: dict[str, Guest]) -> None:
    guests["eni-5"].ip("address add 2001:db8:0:100::99/128 dev eth0 nodad")
    assert guests["eni-5"].connect("2001:db8:0:100::6", 80, source="2001:db8:0:100::99") is None
    guests["eni-5"].ip("address delete 2001:db8:0:100::99/128 dev eth0")
