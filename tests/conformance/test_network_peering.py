"""Peerings of the network driver ``linux``, tried with real packets."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from msgspec.structs import replace
from network_lab import ANY, Guest, Lab, group, interface, network, route_table, subnet, tcp, vpc

from pileus.drivers.errors import PermanentError
from pileus.drivers.network.linux.names import peering_link
from pileus.drivers.network.linux.network import LinuxNetwork
from pileus.hostapi.network_spec import InterfaceSpec, NatGatewaySpec, NetworkSpec, PeeringSpec, RuleSpec, VpcSpec

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

A, B, C = "10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24"
SERVER = "203.0.113.40"
GROUP = group("sg-open", RuleSpec(protocol="-1", cidr=ANY))
PEERINGS = (
    PeeringSpec(peering_id="pcx-ab", requester="vpc-a", accepter="vpc-b"),
    PeeringSpec(peering_id="pcx-bc", requester="vpc-b", accepter="vpc-c"),
)
NICS = {
    "a": interface(5, "sg-open", interface_id="eni-a", subnet=A),
    "b": interface(5, "sg-open", interface_id="eni-b", subnet=B, public="203.0.113.5"),
    "c": interface(5, "sg-open", interface_id="eni-c", subnet=C),
}
# All know all, as far as their tables can say so.
ROUTES: dict[str, tuple[tuple[str, ...], ...]] = {
    "a": ((B, "peering", "pcx-ab"), (C, "peering", "pcx-ab"), (ANY, "peering", "pcx-ab")),
    "b": ((A, "peering", "pcx-ab"), (C, "peering", "pcx-bc"), (ANY, "internet", "igw-1")),
    "c": ((B, "peering", "pcx-bc"), (A, "peering", "pcx-bc")),
}
SERVER_VPC = vpc("vpc-s", (GROUP,), interface(40, "sg-open", public=SERVER))


def part(
    name: str, *more: InterfaceSpec, routes: tuple[tuple[str, ...], ...] | None = None, **other: object
) -> VpcSpec:
    """VPC a, b or c."""
    nic = NICS[name]
    cidr = {"a": A, "b": B, "c": C}[name]
    values: dict[str, object] = {
        "cidrs": (cidr,),
        "route_tables": (route_table(*(ROUTES[name] if routes is None else routes), local=(cidr,)),),
        "internet": name == "b",
    }
    return vpc(f"vpc-{name}", (GROUP,), nic, *more, **(values | other))


def spec(*parts: VpcSpec, peerings: tuple[PeeringSpec, ...] = PEERINGS) -> NetworkSpec:
    """a, b and c with these in their places."""
    changed = {one.vpc_id: one for one in parts}
    return network(*(changed.get(f"vpc-{name}", part(name)) for name in NICS), SERVER_VPC, peerings=peerings)


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


async def test_peers_reach_each_other_with_their_own_addresses(guests: dict[str, Guest]) -> None:
    for one, other, port in (("a", "b", 4000), ("b", "a", 4001), ("b", "c", 4002), ("c", "b", 4003)):
        seen = guests[f"eni-{one}"].connect(NICS[other].private_address, 80, source_port=port)
        assert seen == f"{NICS[one].private_address}:{port}", (one, other)


async def test_a_peering_does_not_lead_beyond_the_peer(guests: dict[str, Guest]) -> None:
    for _ in range(2):
        assert guests["eni-a"].connect(NICS["c"].private_address, 80) is None, "the peer's peer"
        assert guests["eni-c"].connect(NICS["a"].private_address, 80) is None
        assert guests["eni-b"].connect(SERVER, 80)
        assert guests["eni-a"].connect(SERVER, 80) is None, "the peer's internet gateway"


async def test_a_peers_nat_gateway_is_not_for_others(lab: Lab, driver: LinuxNetwork) -> None:
    nat = interface(20, subnet=B, interface_id="eni-natb", public="203.0.113.20", kind="nat", source_dest_check=False)
    gateways = (NatGatewaySpec(nat_gateway_id="nat-1", interface_id="eni-natb"),)
    private = interface(6, "sg-open", interface_id="eni-b6", subnet="10.2.1.0/24")
    tables = (
        route_table(*ROUTES["b"], local=("10.2.0.0/16",)),
        route_table((ANY, "nat", "nat-1"), name="rtb-private", local=("10.2.0.0/16",)),
    )
    changed = part(
        "b",
        nat,
        private,
        cidrs=("10.2.0.0/16",),
        subnets=(subnet(B), subnet("10.2.1.0/24", "rtb-private")),
        route_tables=tables,
        nat_gateways=gateways,
    )
    guests = await lab.up(driver, spec(changed))
    assert (guests["eni-b6"].connect(SERVER, 80) or "").startswith("203.0.113.20:")
    assert guests["eni-a"].connect(SERVER, 80) is None
    guests["eni-a"].ip(
        "route replace 10.2.0.20/32 via 10.1.0.1", f"route replace {SERVER}/32 via 10.2.0.20 onlink dev eth0"
    )
    assert guests["eni-a"].connect(SERVER, 80) is None
    guests["eni-a"].ip("route delete 10.2.0.20/32", f"route delete {SERVER}/32")


async def test_both_sides_need_a_route(lab: Lab, driver: LinuxNetwork) -> None:
    guests = await lab.up(driver, spec(part("b", routes=((C, "peering", "pcx-bc"),))))
    assert guests["eni-a"].connect(NICS["b"].private_address, 80) is None
    assert guests["eni-b"].connect(NICS["c"].private_address, 80)
    await lab.up(driver, spec())
    assert guests["eni-a"].connect(NICS["b"].private_address, 80)


async def test_a_rule_may_name_a_group_of_the_peer(lab: Lab, driver: LinuxNetwork) -> None:
    def changed(*members: str) -> NetworkSpec:
        groups = (group("sg-db", tcp(80, source="sg-peer")), group("sg-peer", members=members))
        nic = replace(NICS["b"], groups=("sg-db",))
        return spec(replace(part("b"), groups=groups, interfaces=(nic,)))

    guests = await lab.up(driver, changed(NICS["a"].private_address))
    assert guests["eni-a"].connect(NICS["b"].private_address, 80)
    assert guests["eni-c"].connect(NICS["b"].private_address, 80) is None
    await lab.up(driver, changed(NICS["c"].private_address))
    assert guests["eni-a"].connect(NICS["b"].private_address, 80) is None
    assert guests["eni-c"].connect(NICS["b"].private_address, 80)


async def test_what_is_left_of_a_peering_that_ends(lab: Lab, driver: LinuxNetwork) -> None:
    guests = await lab.up(driver, spec())
    for _ in range(2):
        await lab.up(driver, spec(peerings=PEERINGS[:1]))
        assert guests["eni-a"].connect(NICS["b"].private_address, 80)
        assert guests["eni-b"].connect(NICS["c"].private_address, 80) is None
        for name in ("vpc-b", "vpc-c"):
            assert peering_link("pcx-bc") not in lab.links_of(f"{lab.name}-{name}")
        await lab.up(driver, spec())
        assert guests["eni-b"].connect(NICS["c"].private_address, 80)


async def test_a_vpc_may_go_with_its_peerings_and_come_again(lab: Lab, driver: LinuxNetwork) -> None:
    guests = await lab.up(driver, spec())
    await driver.apply(network(part("a"), part("b"), SERVER_VPC, peerings=PEERINGS[:1]))
    assert guests["eni-a"].connect(NICS["b"].private_address, 80)
    guests.pop("eni-c")
    guests = await lab.up(driver, spec())
    assert guests["eni-b"].connect(NICS["c"].private_address, 80)


async def test_an_end_that_others_remove_is_seen_and_repaired(lab: Lab, driver: LinuxNetwork) -> None:
    guests = await lab.up(driver, spec())
    lab.remove_link(f"{lab.name}-vpc-b", peering_link("pcx-ab"))
    assert guests["eni-a"].connect(NICS["b"].private_address, 80) is None
    await driver.observe()
    await driver.apply(spec())
    assert guests["eni-a"].connect(NICS["b"].private_address, 80)
    assert guests["eni-b"].connect(NICS["a"].private_address, 80)


async def test_a_peering_needs_two_vpcs_of_the_spec(driver: LinuxNetwork) -> None:
    with pytest.raises(PermanentError, match="pcx-ab"):
        await driver.apply(network(part("a"), peerings=PEERINGS[:1]))
