"""NAT gateways of the network driver ``linux``, tried with real packets."""

import socket
import subprocess
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from msgspec.structs import replace
from network_lab import EVERYTHING, Guest, Lab, inside, interface, network, route_table, subnet, vpc

from pileus.drivers.network.linux.network import LinuxNetwork
from pileus.hostapi.network_spec import AddressSpec, InterfaceSpec, NatGatewaySpec, NetworkSpec

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

OPEN, CLOSED = "10.0.0.0/24", "10.0.1.0/24"
GATEWAY, SECOND, SERVER = "203.0.113.20", "203.0.113.21", "203.0.113.40"

NAT = interface(20, subnet=OPEN, public=GATEWAY, kind="nat", source_dest_check=False)
ONE, TWO = interface(7, "sg-open", subnet=CLOSED), interface(8, "sg-open", subnet=CLOSED)
OTHER = vpc("vpc-2", (EVERYTHING,), interface(40, "sg-open", public=SERVER))
WAYS = (
    route_table(("0.0.0.0/0", "internet", "igw-1"), name="rtb-open"),
    route_table(("0.0.0.0/0", "nat", "nat-1"), name="rtb-closed"),
)
# Echoes a datagram to whoever sends one.
ECHO = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
    server.bind(("0.0.0.0", 7))
    print("ready", flush=True)
    while True:
        data, peer = server.recvfrom(65536)
        server.sendto(data, peer)
"""


def spec(nat: InterfaceSpec = NAT, *, gateway: bool = True, internet: bool = True) -> NetworkSpec:
    """vpc-1 with two guests behind a NAT gateway, and a server elsewhere."""
    managed = (nat,) if gateway else ()
    made = vpc(
        "vpc-1",
        (EVERYTHING,),
        ONE,
        TWO,
        *managed,
        subnets=(subnet(OPEN, "rtb-open"), subnet(CLOSED, "rtb-closed")),
        route_tables=WAYS,
        nat_gateways=tuple(NatGatewaySpec(nat_gateway_id="nat-1", interface_id=one.interface_id) for one in managed),
        internet=internet,
    )
    return network(made, OTHER)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab() -> AsyncIterator[Lab]:
    made = Lab()
    try:
        yield made
    finally:
        await made.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def driver(lab: Lab) -> LinuxNetwork:
    made = lab.driver()
    await made.open()
    return made


@pytest_asyncio.fixture(loop_scope="module")
async def guests(lab: Lab, driver: LinuxNetwork) -> dict[str, Guest]:
    return await lab.up(driver, spec())


async def test_guests_go_out_as_the_gateway(guests: dict[str, Guest]) -> None:
    for name in ("eni-7", "eni-8"):
        assert (guests[name].connect(SERVER, 80) or "").startswith(f"{GATEWAY}:")
        assert guests[name].pings(SERVER)


async def test_connections_from_equal_ports_share_the_address(guests: dict[str, Guest]) -> None:
    connections = []
    for name in ("eni-7", "eni-8"):
        connection = inside(guests[name].namespace, lambda: _connect_from(5000))
        seen = connection.recv(100).decode()
        assert seen.startswith(f"{GATEWAY}:")
        connections.append((connection, seen))
    assert connections[0][1] != connections[1][1]
    for connection, _ in connections:
        connection.sendall(b"mine")
        assert connection.recv(100) == b"mine"
        connection.close()


async def test_nobody_begins_a_connection_to_what_is_behind_the_gateway(guests: dict[str, Guest], lab: Lab) -> None:
    for _ in range(2):
        assert lab.connect(GATEWAY, 80, timeout=0.3) is None
        assert guests["eni-40"].connect(GATEWAY, 80, timeout=0.3) is None
        assert not guests["eni-40"].pings(GATEWAY)
        assert guests["eni-7"].connect(NAT.private_address, 80, timeout=0.3) is None


async def test_fragments_and_errors_find_their_way(guests: dict[str, Guest]) -> None:
    server = guests["eni-40"].start("python3", "-c", ECHO)
    assert server.stdout is not None
    with server:
        assert server.stdout.readline() == "ready\n"
        assert inside(guests["eni-7"].namespace, lambda: _exchange(b"x" * 4000, 7)) == b"x" * 4000
        server.kill()
    with pytest.raises(ConnectionRefusedError):
        inside(guests["eni-7"].namespace, lambda: _exchange(b"anybody?", 9))


async def test_several_addresses_share_the_load(lab: Lab, driver: LinuxNetwork) -> None:
    rich = replace(NAT, addresses=(*NAT.addresses, AddressSpec(address="10.0.0.21", public=SECOND)))
    guests = await lab.up(driver, spec(rich))
    seen = {(guests["eni-7"].connect(SERVER, 80) or "").split(":")[0] for _ in range(8)}
    assert seen == {GATEWAY, SECOND}
    assert (await driver.observe()).public_addresses == {GATEWAY, SECOND, SERVER}


async def test_connections_outlive_changes_of_the_gateway(lab: Lab, driver: LinuxNetwork) -> None:
    guests = await lab.up(driver, spec())
    with guests["eni-7"].open(SERVER, 80) as connection:
        rich = replace(NAT, addresses=(*NAT.addresses, AddressSpec(address="10.0.0.21", public=SECOND)))
        for change in (spec(rich), spec()):
            await lab.up(driver, change)
            connection.sendall(b"on and on")
            assert connection.recv(100) == b"on and on"


async def test_without_a_gateway_its_route_is_a_black_hole(lab: Lab, driver: LinuxNetwork) -> None:
    guests = await lab.up(driver, spec(gateway=False))
    assert guests["eni-7"].connect(SERVER, 80) is None
    assert not any("eni-20" in name for name in lab.namespaces())
    guests = await lab.up(driver, spec(internet=False))
    assert guests["eni-7"].connect(SERVER, 80) is None
    guests = await lab.up(driver, spec())
    assert guests["eni-7"].connect(SERVER, 80)


@pytest.mark.parametrize(
    "damage",
    [
        "ip netns delete {0}-eni-20",
        "ip -n {0}-eni-20 link delete eth0",
        "ip -n {0}-eni-20 route delete default",
        "ip netns exec {0}-eni-20 nft delete table inet appliance",
    ],
)
async def test_a_gateway_that_others_damage_is_seen_and_repaired(lab: Lab, driver: LinuxNetwork, damage: str) -> None:
    guests = await lab.up(driver, spec())
    subprocess.run(damage.format(lab.name).split(), check=True)
    assert "eni-20" not in (await driver.observe()).interfaces
    await driver.apply(spec())
    assert "eni-20" in (await driver.observe()).interfaces
    assert (guests["eni-7"].connect(SERVER, 80) or "").startswith(f"{GATEWAY}:")


async def test_a_new_process_takes_the_gateway_up_and_removes_it(lab: Lab, driver: LinuxNetwork) -> None:
    guests = await lab.up(driver, spec())
    fresh = lab.driver()
    with guests["eni-7"].open(SERVER, 80) as connection:
        await fresh.open()
        await fresh.apply(spec())
        connection.sendall(b"on and on")
        assert connection.recv(100) == b"on and on"
    assert "eni-20" in (await fresh.observe()).interfaces
    another = lab.driver()
    await another.open()
    await another.apply(spec(gateway=False))
    assert not any("eni-20" in name for name in lab.namespaces())
    await driver.observe()


def _connect_from(port: int) -> socket.socket:
    return socket.create_connection((SERVER, 80), timeout=3, source_address=("", port))


def _exchange(data: bytes, port: int) -> bytes:
    """What comes back after a datagram."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(3)
        asking.connect((SERVER, port))
        asking.send(data)
        return asking.recv(65536)
