"""How guests reach the cloud's own services: by the internet, a NAT gateway, a gateway or an interface endpoint."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from network_lab import ANY, EVERYTHING, Guest, Lab, group, interface, network, route_table, subnet, tcp, vpc

from pileus.drivers.errors import RetryableError
from pileus.drivers.network.linux.names import TRANSIT
from pileus.drivers.network.linux.network import LinuxNetwork
from pileus.hostapi.network_spec import EndpointSpec, NatGatewaySpec, NetworkSpec, ServiceSpec

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

OPEN, CLOSED, HIDDEN = "10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24"
API, S3 = "203.0.113.3", "203.0.113.254"
SERVICES = (ServiceSpec(service="api", address=API), ServiceSpec(service="s3", address=S3))
WEB = group("sg-web", tcp(443, cidr="10.0.0.0/16"))

PUBLIC = interface(5, "sg-open", subnet=OPEN, public="203.0.113.5")
NAT = interface(20, subnet=OPEN, public="203.0.113.20", kind="nat", source_dest_check=False)
PRIVATE = interface(7, "sg-open", subnet=CLOSED)
BEHIND = interface(8, "sg-open", subnet=HIDDEN)
DOOR = interface(21, "sg-web", subnet=OPEN, kind="endpoint")
SIDE_DOOR = interface(22, "sg-web", subnet=CLOSED, kind="endpoint")


def spec(*closed: tuple[str, ...], doors: tuple[str, ...] = ("eni-21", "eni-22")) -> NetworkSpec:
    """An open subnet, one behind a NAT gateway, and a closed one with the routes."""
    made = vpc(
        "vpc-1",
        (EVERYTHING, WEB),
        PUBLIC,
        NAT,
        PRIVATE,
        BEHIND,
        *(one for one in (DOOR, SIDE_DOOR) if one.interface_id in doors),
        subnets=(subnet(OPEN), subnet(CLOSED, "rtb-closed"), subnet(HIDDEN, "rtb-hidden")),
        route_tables=(
            route_table((ANY, "internet", "igw-1")),
            route_table(*closed, name="rtb-closed"),
            route_table((ANY, "nat", "nat-1"), name="rtb-hidden"),
        ),
        nat_gateways=(NatGatewaySpec(nat_gateway_id="nat-1", interface_id="eni-20"),),
        endpoints=(EndpointSpec(endpoint_id="vpce-1", service="api", interfaces=doors),),
    )
    return network(made, services=SERVICES)


class Answering:
    """Says to every visitor who he is."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._task = asyncio.create_task(self._serve())

    async def _serve(self) -> None:
        async def tell(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(":".join(map(str, writer.get_extra_info("peername")[:2])).encode())
            writer.close()

        server = await asyncio.start_server(tell, sock=self._listener)
        async with server:
            await server.serve_forever()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def seen(guest: Guest, address: str, port: int = 443) -> str | None:
    """As whom the service at the address sees the guest."""
    answer = await asyncio.to_thread(guest.connect, address, port)
    return None if answer is None else answer.split(":")[0]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab() -> AsyncIterator[Lab]:
    made = Lab()
    try:
        yield made
    finally:
        await made.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def driver(lab: Lab) -> AsyncIterator[LinuxNetwork]:
    lab.world()
    made = lab.driver(uplink="up0")
    await made.open()
    await lab.up(made, spec())
    answering = [Answering(await made.listen("services", address, 443)) for address in (API, S3)]
    yield made
    for one in answering:
        await one.close()


@pytest_asyncio.fixture(loop_scope="module")
async def guests(lab: Lab, driver: LinuxNetwork) -> dict[str, Guest]:
    return await lab.up(driver, spec())


async def test_services_are_on_the_internet(guests: dict[str, Guest]) -> None:
    for service in (API, S3):
        assert await seen(guests["eni-5"], service) == "203.0.113.5"
        assert await seen(guests["eni-8"], service) == "203.0.113.20", "through the NAT gateway"
        assert await seen(guests["eni-7"], service) is None


async def test_services_are_for_vpcs_only(guests: dict[str, Guest], lab: Lab) -> None:
    assert await seen(guests["eni-5"], API)
    for service in (API, S3):
        assert await asyncio.to_thread(lab.connect, service, 443) is None
    assert await seen(guests["eni-5"], API, 7) is None
    assert not guests["eni-5"].pings(API)


async def test_a_gateway_endpoint_leads_to_s3_without_the_internet(lab: Lab, driver: LinuxNetwork) -> None:
    guests = await lab.up(driver, spec((f"{S3}/32", "endpoint", "vpce-2")))
    address = await seen(guests["eni-7"], S3)
    assert address is not None
    assert socket.inet_aton(address)[:2] == TRANSIT.network_address.packed[:2]
    assert await seen(guests["eni-7"], API) is None
    assert await asyncio.to_thread(guests["eni-7"].connect, "198.51.100.2", 80) is None
    assert await asyncio.to_thread(guests["eni-7"].connect, "203.0.113.5", 80) is None


async def test_a_gateway_endpoint_leads_to_nothing_else(lab: Lab, driver: LinuxNetwork) -> None:
    """Even when its list of addresses is wrong: others would see an address that means nothing to them."""
    routes = (
        (f"{S3}/32", "endpoint", "vpce-2"),
        ("198.51.100.0/24", "endpoint", "vpce-2"),
        ("203.0.113.5/32", "endpoint"),
    )
    guests = await lab.up(driver, spec(*routes))
    assert await seen(guests["eni-7"], S3)
    assert await asyncio.to_thread(guests["eni-7"].connect, "198.51.100.2", 80) is None
    assert await asyncio.to_thread(guests["eni-7"].connect, "203.0.113.5", 80) is None


async def test_an_interface_endpoint_answers_at_its_addresses(lab: Lab, driver: LinuxNetwork) -> None:
    guests = await lab.up(driver, spec())
    doors = [nic.private_address for nic in (DOOR, SIDE_DOOR)]
    answering = [Answering(await driver.listen("vpce-1", address, 443)) for address in doors]
    try:
        for address in doors:
            for number in (5, 7, 8):
                assert await seen(guests[f"eni-{number}"], address) == guests[f"eni-{number}"].address
            assert not guests["eni-7"].pings(address)
            assert await seen(guests["eni-7"], address, 80) is None, "its group"
    finally:
        for one in answering:
            await one.close()


async def test_a_place_must_be_there_to_listen_in(driver: LinuxNetwork, guests: dict[str, Guest]) -> None:
    assert guests
    for place, address in (
        ("vpce-1", "10.0.0.5"),
        ("vpce-9", "10.0.0.21"),
        ("services", "203.0.113.99"),
        ("vpc-9", "169.254.169.254"),
        ("vpc-1", "203.0.113.3"),
    ):
        with pytest.raises(RetryableError):
            await driver.listen(place, address, 443)


async def test_an_endpoint_that_goes_leaves_nothing(lab: Lab, driver: LinuxNetwork) -> None:
    with await driver.listen("vpce-1", SIDE_DOOR.private_address, 443):
        await lab.up(driver, spec(doors=("eni-21",)))
        assert not any("eni-22" in name for name in lab.namespaces())
    assert "eni-21" in (await driver.observe()).interfaces
    assert "eni-22" not in (await driver.observe()).interfaces


async def test_what_a_guest_has_sent_is_heard(driver: LinuxNetwork, guests: dict[str, Guest]) -> None:
    before = await driver.heard("eni-5")
    assert guests["eni-5"].pings(PRIVATE.private_address)
    after = await driver.heard("eni-5")
    assert after > before
    with pytest.raises(RetryableError):
        await driver.heard("eni-99")
