"""Where the network driver ``linux`` sends packets: route tables by subnet, targets, addresses that move."""

from collections.abc import AsyncIterator
from itertools import permutations
from subprocess import Popen

import pytest
import pytest_asyncio
from msgspec.structs import replace
from network_lab import EVERYTHING, Guest, Lab, interface, network, route_table, subnet, vpc

from pileus.drivers.network.linux.network import LinuxNetwork
from pileus.hostapi.network_spec import AddressSpec, NetworkSpec, RouteTableSpec, SubnetSpec, VpcSpec

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

OPEN, CLOSED, MIDDLE, SECOND = "10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24", "100.64.0.0/24"
CIDRS = ("10.0.0.0/16", "100.64.0.0/16")
WORLD, SERVER = "198.51.100.2", "203.0.113.40"
INTERNET = ("0.0.0.0/0", "internet", "igw-1")

PUBLIC = interface(5, "sg-open", subnet=OPEN, public="203.0.113.5")
ROUTER = interface(6, "sg-open", subnet=MIDDLE, public="203.0.113.6", source_dest_check=False)
PRIVATE = interface(7, "sg-open", subnet=CLOSED, public="203.0.113.7")
SPARE = interface(10, "sg-open", subnet=OPEN)
FAR = interface(8, "sg-open", subnet=SECOND)
NICS = (PUBLIC, ROUTER, PRIVATE, FAR, SPARE)
OTHER = vpc("vpc-2", (EVERYTHING,), interface(40, "sg-open", public=SERVER))


def tables(*, opened: tuple[tuple[str, ...], ...], closed: tuple[tuple[str, ...], ...]) -> tuple[RouteTableSpec, ...]:
    """The tables of the open and of the closed subnets, and that of the router's."""
    return (
        route_table(INTERNET, name="rtb-middle", local=CIDRS),
        route_table(*opened, name="rtb-open", local=CIDRS),
        route_table(*closed, name="rtb-closed", local=CIDRS),
    )


def subnets(opened: str) -> tuple[SubnetSpec, ...]:
    """All subnets, the open one with a table of that name."""
    names = {OPEN: opened, CLOSED: "rtb-closed", MIDDLE: "rtb-middle", SECOND: "rtb-closed"}
    return tuple(subnet(cidr, name) for cidr, name in names.items())


def spec(
    opened: tuple[tuple[str, ...], ...] = (INTERNET,), closed: tuple[tuple[str, ...], ...] = (), **other: object
) -> NetworkSpec:
    """vpc-1 with two tables, and a server in another VPC."""
    values: dict[str, object] = {
        "cidrs": CIDRS,
        "subnets": subnets("rtb-open"),
        "route_tables": tables(opened=opened, closed=closed),
        "interfaces": NICS,
    }
    made: VpcSpec = vpc("vpc-1", (EVERYTHING,), **(values | other))
    return network(made, OTHER)


class Place:
    """One lab for all tests here; each brings it to a spec of its own."""

    def __init__(self, lab: Lab, driver: LinuxNetwork) -> None:
        self.lab = lab
        self._driver = driver

    async def become(self, wanted: NetworkSpec) -> dict[str, Guest]:
        return await self.lab.up(self._driver, wanted)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab() -> AsyncIterator[Lab]:
    made = Lab()
    try:
        yield made
    finally:
        await made.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(lab: Lab) -> Place:
    lab.world()
    driver = lab.driver(uplink="up0")
    await driver.open()
    guests = await lab.up(driver, spec())
    router = guests[ROUTER.interface_id].forward()
    hide = "add table ip t; add chain ip t p { type nat hook postrouting priority 100; }; add rule ip t p masquerade"
    assert router.run("nft", hide).returncode == 0
    return Place(lab, driver)


async def test_all_subnets_and_cidrs_of_a_vpc_reach_each_other(place: Place) -> None:
    guests = await place.become(spec())
    nics = (PUBLIC, PRIVATE, FAR)
    for port, (one, other) in enumerate(permutations(nics, 2), 4100):
        seen = guests[one.interface_id].connect(other.private_address, 80, source_port=port)
        assert seen == f"{one.private_address}:{port}"


async def test_only_a_route_leads_to_the_internet(place: Place) -> None:
    guests = await place.become(spec())
    assert guests["eni-5"].connect(SERVER, 80, source_port=4001) == "203.0.113.5:4001"
    assert guests["eni-5"].connect(WORLD, 80)
    assert guests["eni-7"].connect(SERVER, 80) is None
    assert guests["eni-7"].connect(WORLD, 80) is None
    assert guests["eni-40"].connect("203.0.113.7", 80) is None, "no way back"
    await place.become(spec(closed=(INTERNET,)))
    assert guests["eni-7"].connect(SERVER, 80)
    assert guests["eni-40"].connect("203.0.113.7", 80)


async def test_the_most_specific_route_wins(place: Place) -> None:
    guests = await place.become(spec(opened=(INTERNET, (f"{SERVER}/32", "blackhole"))))
    assert guests["eni-5"].connect(SERVER, 80) is None
    assert guests["eni-5"].connect(WORLD, 80)
    guests = await place.become(spec(opened=(("0.0.0.0/0", "blackhole"), (f"{SERVER}/32", "internet", "igw-1"))))
    assert guests["eni-5"].connect(SERVER, 80)
    assert guests["eni-5"].connect(WORLD, 80) is None


async def test_an_interface_is_a_gateway_for_others(place: Place) -> None:
    guests = await place.become(spec(closed=(("0.0.0.0/0", "interface", "eni-6"),)))
    seen = guests["eni-7"].connect(SERVER, 80)
    assert seen is not None
    assert seen.startswith("203.0.113.6:")
    assert (guests["eni-8"].connect(SERVER, 80) or "").startswith("203.0.113.6:")
    checked = replace(ROUTER, source_dest_check=True)
    await place.become(
        spec(closed=(("0.0.0.0/0", "interface", "eni-6"),), interfaces=(PUBLIC, checked, PRIVATE, FAR, SPARE))
    )
    assert guests["eni-7"].connect(SERVER, 80) is None


async def test_a_target_that_is_not_here_is_a_black_hole(place: Place) -> None:
    guests = await place.become(spec(opened=(("0.0.0.0/0", "interface", "eni-99"),)))
    assert guests["eni-5"].connect(SERVER, 80) is None
    assert guests["eni-5"].connect(PRIVATE.private_address, 80)


async def test_a_route_within_the_vpc_may_lead_through_an_interface(place: Place) -> None:
    through = (INTERNET, (CLOSED, "interface", "eni-6"))
    guests = await place.become(spec(opened=through))
    seen = guests["eni-5"].connect(PRIVATE.private_address, 80)
    assert seen is not None
    assert seen.startswith(f"{ROUTER.private_address}:")
    assert (guests["eni-5"].connect(FAR.private_address, 80) or "").startswith(f"{PUBLIC.private_address}:")


async def test_secondary_addresses_and_prefixes_are_the_interfaces(place: Place) -> None:
    rich = replace(
        PUBLIC,
        addresses=(*PUBLIC.addresses, AddressSpec(address="10.0.0.30", public="203.0.113.30")),
        prefixes=("10.0.0.64/28",),
    )
    guests = await place.become(spec(interfaces=(rich, ROUTER, PRIVATE, FAR, SPARE)))
    guest = guests["eni-5"]
    guest.ip("address add 10.0.0.30/24 dev eth0", "address add 10.0.0.70/32 dev eth0")
    for address in ("10.0.0.5", "10.0.0.30", "10.0.0.70"):
        assert guests["eni-7"].connect(address, 80), address
        seen = guest.connect(PRIVATE.private_address, 80, source=address, source_port=4002)
        assert seen == f"{address}:4002"
    assert guests["eni-7"].connect("10.0.0.80", 80) is None
    assert guests["eni-40"].connect("203.0.113.30", 80)
    assert guest.connect(SERVER, 80, source="10.0.0.30", source_port=4003) == "203.0.113.30:4003"
    guest.ip("address delete 10.0.0.30/24 dev eth0", "address delete 10.0.0.70/32 dev eth0")


async def test_an_address_that_moves_to_another_interface_is_there_at_once(place: Place) -> None:
    moving = AddressSpec(address="10.0.0.30")

    def owned_by(number: int) -> NetworkSpec:
        nics = tuple(
            replace(nic, addresses=(*nic.addresses, moving)) if nic.interface_id == f"eni-{number}" else nic
            for nic in NICS
        )
        return spec(interfaces=nics)

    guests = await place.become(owned_by(5))
    for number in (5, 10):
        guests[f"eni-{number}"].ip("address add 10.0.0.30/32 dev eth0")
        guests[f"eni-{number}"].serve(1000 + number)
    for number, other in ((5, 10), (10, 5), (5, 10)):
        await place.become(owned_by(number))
        assert guests["eni-7"].connect("10.0.0.30", 1000 + number)
        assert guests["eni-7"].connect("10.0.0.30", 1000 + other, timeout=0.3) is None
    for number in (5, 10):
        guests[f"eni-{number}"].ip("address delete 10.0.0.30/32 dev eth0")


async def test_no_packet_of_others_is_lost_while_routes_and_interfaces_change(place: Place) -> None:
    guests = await place.become(spec())
    pings = ["busybox", "ping", "-i", "0.01", "-c", "200", "-W", "1"]
    running = [
        guests["eni-5"].start(*pings, PRIVATE.private_address),
        guests["eni-5"].start(*pings, SERVER),
    ]
    extra = interface(9, "sg-open", subnet=CLOSED)
    for _ in range(4):
        await place.become(spec(opened=(INTERNET, ("192.0.2.0/24", "interface", "eni-6")), closed=(INTERNET,)))
        await place.become(spec(interfaces=(*NICS, extra)))
        await place.become(spec())
    for process in running:
        assert "200 packets received" in _output(process)


async def test_a_subnet_goes_over_to_a_new_table_without_a_gap(place: Place) -> None:
    guests = await place.become(spec())
    running = guests["eni-5"].start("busybox", "ping", "-i", "0.01", "-c", "200", "-W", "1", SERVER)
    for number in range(6):
        name = f"rtb-new{number}"
        table = route_table(INTERNET, name=name, local=CIDRS)
        await place.become(spec(subnets=subnets(name), route_tables=(table, *tables(opened=(), closed=()))))
    assert "200 packets received" in _output(running)


def _output(process: Popen[str]) -> str:
    return process.communicate(timeout=30)[0]
