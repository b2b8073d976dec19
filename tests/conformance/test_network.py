"""What every network driver promises, the fake one too; and how the real one starts again, crashes and leaves."""

import asyncio
import os
import random
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from network_lab import Lab, group, interface, network, tcp, vpc

from pileus.base import process
from pileus.drivers.errors import PermanentError, RetryableError
from pileus.drivers.network.fake import FakeNetwork
from pileus.drivers.network.interface import Network, NetworkState
from pileus.hostapi.network_spec import GroupSpec, NetworkSpec, PoolSpec, RuleSpec

GROUPS = (
    group("sg-a", tcp(80, cidr="0.0.0.0/0"), RuleSpec(protocol="-1", group="sg-b")),
    group("sg-b", members=("10.0.0.6",)),
)
ONE = network(vpc("vpc-1", GROUPS, interface(5, "sg-a", public="203.0.113.10")))
BOTH = network(
    vpc("vpc-1", GROUPS, interface(5, "sg-a"), interface(6, "sg-a", "sg-b", public="203.0.113.10")),
    vpc("vpc-2", GROUPS, interface(5, "sg-b", interface_id="eni-25", public="203.0.113.11")),
)
NOTHING = NetworkState(vpcs=frozenset(), interfaces=frozenset(), public_addresses=frozenset())

# What a test kills: an agent that never stops to change its mind.
RESTLESS = """
import asyncio, sys
from pathlib import Path
import msgspec
from pileus.drivers.network.linux.network import LinuxNetwork
from pileus.hostapi.network_spec import NetworkSpec

async def main():
    driver = LinuxNetwork(Path(sys.argv[1]), sys.argv[2])
    await driver.open()
    print("open", flush=True)
    while True:
        for spec in msgspec.json.decode(sys.argv[3], type=list[NetworkSpec]):
            await driver.apply(spec)

asyncio.run(main())
"""


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    made = Lab()
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture(params=["fake", pytest.param("linux", marks=pytest.mark.root)])
async def driver(request: pytest.FixtureRequest) -> AsyncIterator[Network]:
    if request.param == "fake":
        yield FakeNetwork()
        return
    lab = Lab()
    try:
        yield lab.driver()
    finally:
        await lab.close()


async def test_what_was_applied_is_observed(driver: Network) -> None:
    await driver.open()
    assert await driver.observe() == NOTHING
    for spec in (ONE, BOTH, BOTH, ONE, NetworkSpec()):
        await driver.apply(spec)
        assert await driver.observe() == state(spec)


async def test_a_vpc_off_the_internet_has_no_public_address(driver: Network) -> None:
    await driver.open()
    await driver.apply(network(vpc("vpc-1", GROUPS, interface(5, "sg-a", public="203.0.113.10"), internet=False)))
    assert not (await driver.observe()).public_addresses


async def test_a_tap_is_handed_out_while_its_interface_exists(driver: Network) -> None:
    await driver.open()
    with pytest.raises(RetryableError):
        await driver.open_tap("eni-5")
    await driver.apply(ONE)
    os.close(await driver.open_tap("eni-5"))
    os.close(await driver.open_tap("eni-5"))
    await driver.apply(network(vpc("vpc-1", GROUPS)))
    with pytest.raises(RetryableError):
        await driver.open_tap("eni-5")


async def test_the_metadata_service_listens_in_a_vpc_that_exists(driver: Network) -> None:
    await driver.open()
    with pytest.raises(RetryableError):
        await driver.listen("vpc-1", "169.254.169.254", 80)
    await driver.apply(ONE)
    with await driver.listen("vpc-1", "169.254.169.254", 80) as listener:
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)


async def test_destroy_leaves_nothing_and_can_be_repeated(driver: Network) -> None:
    await driver.open()
    await driver.apply(BOTH)
    await driver.destroy()
    assert await driver.observe() == NOTHING
    await driver.destroy()


@pytest.mark.root
async def test_everything_is_gone_after_destroy(lab: Lab) -> None:
    before = lab.links(), lab.rules(), lab.routes()
    driver = lab.driver()
    await driver.open()
    await driver.apply(BOTH)
    assert len(lab.processes()) == 2
    with await driver.listen("vpc-1", "169.254.169.254", 80):
        tap = await driver.open_tap("eni-5")
        await driver.destroy()
        os.close(tap)
    assert (lab.links(), lab.rules(), lab.routes()) == before
    assert (lab.namespaces(), lab.processes(), list(lab.root.iterdir())) == (set(), [], [])


@pytest.mark.root
async def test_a_vpc_that_is_no_more_takes_its_processes_along(lab: Lab) -> None:
    driver = lab.driver()
    await driver.open()
    await driver.apply(BOTH)
    await driver.apply(ONE)
    assert lab.namespaces() == {f"{lab.name}-edge", f"{lab.name}-vpc-1"}
    assert len(lab.processes()) == 1


@pytest.mark.root
async def test_a_new_process_finds_and_keeps_what_the_old_one_made(lab: Lab) -> None:
    first = lab.driver()
    await first.open()
    await first.apply(BOTH)
    (await lab.guest(first, BOTH.vpcs[0].interfaces[1])).configure().serve(80)
    processes = lab.processes()
    await first.close()
    with socket.create_connection(("203.0.113.10", 80), timeout=5) as connection:
        connection.recv(100)
        second = lab.driver()
        await second.open()
        assert await second.observe() == state(BOTH)
        await second.apply(BOTH)
        connection.sendall(b"on and on")
        assert connection.recv(100) == b"on and on"
    assert lab.processes() == processes


@pytest.mark.root
async def test_an_agent_that_forgot_all_removes_what_is_not_wanted(lab: Lab) -> None:
    first = lab.driver()
    await first.open()
    await first.apply(BOTH)
    second = lab.driver()
    await second.open()
    await second.apply(NetworkSpec())
    assert (lab.namespaces(), lab.processes()) == ({f"{lab.name}-edge"}, [])


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
async def test_a_crash_anywhere_is_repaired_by_the_next_process(lab: Lab, seed: int) -> None:
    chance = random.Random(seed)
    driver = lab.driver()
    await driver.open()
    await driver.apply(BOTH)
    undisturbed = kernel_state(lab)
    await driver.apply(ONE)
    for _ in range(3):
        specs = msgspec.json.encode([BOTH, ONE, NetworkSpec()]).decode()
        restless = process.spawn(
            sys.executable, "-c", RESTLESS, str(lab.root / "net"), lab.name, specs, stdout=subprocess.PIPE
        )
        assert restless.stdout is not None
        with restless:
            assert await asyncio.to_thread(restless.stdout.readline) == b"open\n"
            await asyncio.sleep(chance.uniform(0, 0.5))
            restless.kill()
    fresh = lab.driver()
    await repeat_until_done(fresh.open)
    await repeat_until_done(lambda: fresh.apply(BOTH))
    assert await fresh.observe() == state(BOTH)
    assert kernel_state(lab) == undisturbed


@pytest.mark.root
@pytest.mark.parametrize(
    "damage",
    [
        "ip -n {name}-vpc-1 link delete {tap}",
        "ip -n {name}-vpc-1 route delete 10.0.0.5",
        "ip -n {name}-edge route delete 203.0.113.10",
        "ip netns exec {name}-vpc-1 nft delete table inet vpc",
        "kill {dnsmasq}",
        "ip netns delete {name}-vpc-1",
    ],
)
async def test_what_others_damage_is_seen_and_repaired(lab: Lab, damage: str) -> None:
    driver = lab.driver()
    await driver.open()
    await driver.apply(ONE)
    undisturbed = kernel_state(lab)
    tap = next(name for name in lab.links_of(f"{lab.name}-vpc-1") if name.startswith("vt"))
    (dnsmasq,) = lab.processes()
    subprocess.run(damage.format(name=lab.name, tap=tap, dnsmasq=dnsmasq).split(), check=True)
    for _ in range(50):
        if (await driver.observe()) != state(ONE):
            break
        await asyncio.sleep(0.1)
    assert await driver.observe() != state(ONE)
    await driver.apply(ONE)
    assert await driver.observe() == state(ONE)
    assert kernel_state(lab) == undisturbed


@pytest.mark.root
async def test_a_namespace_that_was_half_made_is_made_anew_or_removed(lab: Lab) -> None:
    for name in (f"{lab.name}-edge", f"{lab.name}-vpc-1", f"{lab.name}-vpc-9"):
        Path("/run/netns", name).touch()  # all that a crash in the middle of "ip netns add" leaves
    driver = lab.driver()
    await driver.open()
    await driver.apply(ONE)
    assert await driver.observe() == state(ONE)
    assert lab.namespaces() == {f"{lab.name}-edge", f"{lab.name}-vpc-1"}


@pytest.mark.root
async def test_two_clouds_share_a_host(lab: Lab) -> None:
    one, two = lab.driver("a"), lab.driver("b", pools=(PoolSpec(cidr="198.51.100.0/24"),))
    other = network(
        vpc("vpc-1", GROUPS, interface(5, "sg-a", public="198.51.100.10")), pools=(PoolSpec(cidr="198.51.100.0/24"),)
    )
    for driver, spec in ((one, ONE), (two, other)):
        await driver.open()
        await driver.apply(spec)
    guests = [
        (await lab.guest(driver, spec.vpcs[0].interfaces[0])).configure().serve(80)
        for driver, spec in ((one, ONE), (two, other))
    ]
    assert lab.connect("203.0.113.10", 80)
    assert lab.connect("198.51.100.10", 80)
    assert guests[0].connect("198.51.100.10", 80) is None
    await one.destroy()
    assert await two.observe() == state(other)
    assert lab.connect("198.51.100.10", 80)


@pytest.mark.root
async def test_a_pool_that_the_host_routes_already_is_refused(lab: Lab) -> None:
    one, two = lab.driver("a"), lab.driver("b", pools=(PoolSpec(cidr="203.0.113.128/25"),))
    await one.open()
    with pytest.raises(PermanentError, match="overlaps"):
        await two.open()


@pytest.mark.root
async def test_a_spec_that_contradicts_itself_changes_nothing(lab: Lab) -> None:
    driver = lab.driver()
    await driver.open()
    await driver.apply(ONE)
    twice = network(vpc("vpc-1", GROUPS, interface(5, "sg-a"), interface(5, "sg-a", interface_id="eni-6")))
    with pytest.raises(PermanentError, match=r"10\.0\.0\.5"):
        await driver.apply(twice)
    assert await driver.observe() == state(ONE)


@pytest.mark.root
@pytest.mark.slow
async def test_two_hundred_interfaces_and_sixteen_hundred_rules(lab: Lab) -> None:
    def spec(count: int) -> NetworkSpec:
        nics = [interface(number, f"sg-{number}") for number in range(5, 5 + count)]
        return network(vpc("vpc-1", tuple(crowd(nic.groups[0]) for nic in nics), *nics))

    driver = lab.driver()
    await driver.open()
    for count in (200, 201, 200):
        await driver.apply(spec(count))
        assert await driver.observe() == state(spec(count))


def crowd(name: str) -> GroupSpec:
    """A group of eight rules."""
    return group(name, *(tcp(port, cidr=f"10.{port}.0.0/16") for port in range(8)))


def state(spec: NetworkSpec) -> NetworkState:
    """What a driver must observe once the spec is applied."""
    nics = [nic for part in spec.vpcs for nic in part.interfaces]
    return NetworkState(
        vpcs=frozenset(part.vpc_id for part in spec.vpcs),
        interfaces=frozenset(nic.interface_id for nic in nics),
        public_addresses=frozenset(one.public for nic in nics for one in nic.addresses if one.public is not None),
    )


def kernel_state(lab: Lab) -> dict[str, list[str]]:
    """Links, addresses, routes, neighbours and rules of each of the cloud's namespaces, without counters and indexes."""
    found: dict[str, list[str]] = {"": [str(len(lab.processes()))]}
    for name in lab.namespaces():
        said = [process.run_sync("nsenter", f"--net=/run/netns/{name}", *argv.split()).decode() for argv in QUESTIONS]
        text = re.sub(UNSTABLE, "", "\n".join(said), flags=re.MULTILINE)
        found[name] = sorted(re.split(r"[\s,{}]+", text))
    return found


# Transit addresses are made of a link's index; what the kernel adds by itself comes with a link's carrier.
UNSTABLE = r"^.*proto kernel.*$|198\.18\.\d+\.\d+|@if\d+|link-netns\S* \S+|^\d+:|state \S+|<\S+>|linkdown"
QUESTIONS = (
    "nft --stateless list ruleset",
    "ip -oneline address show",
    "ip route show table all",
    "ip rule show",
    "ip -6 rule show",
    "ip neighbour show nud permanent",
)


async def repeat_until_done(work: Callable[[], Awaitable[None]]) -> None:
    """As the agent does: programs that a killed one had started may still be at it."""
    for _ in range(20):
        try:
            await work()
        except RetryableError:
            await asyncio.sleep(0.1)
        else:
            return
    raise AssertionError("it never succeeded")
