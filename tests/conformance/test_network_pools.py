"""Public addresses on a real network: a pool that the host answers for by ARP, one that it announces with BGP."""

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from network_lab import EVERYTHING, Lab, World, interface, network, vpc

from pileus.base.config import BgpConfig
from pileus.drivers.errors import PermanentError
from pileus.drivers.network.linux.network import LinuxNetwork
from pileus.hostapi.network_spec import NetworkSpec, PoolSpec

pytestmark = [pytest.mark.root, pytest.mark.slow]

LOCAL = PoolSpec(cidr="198.51.100.64/26", announce="arp")
"""A part of the network of the uplink, where the host is 198.51.100.1 and the world 198.51.100.2."""
ROUTED = PoolSpec(cidr="203.0.113.0/24", announce="bgp")
HIDDEN = PoolSpec(cidr="192.0.2.0/24")
BGPD = Path("/usr/lib/frr/bgpd")
BGP = BgpConfig(asn=65001, neighbours={"198.51.100.2": 65002}, router_id="198.51.100.1")
ROUTER = """
router bgp 65002
 bgp router-id 198.51.100.2
 no bgp ebgp-requires-policy
 neighbor 198.51.100.1 remote-as 65001
 neighbor 198.51.100.1 timers connect 1
"""


def spec(*public: str, pools: tuple[PoolSpec, ...] = (LOCAL,)) -> NetworkSpec:
    """Guests with these public addresses, and one without."""
    nics = [interface(5 + number, "sg-open", public=address) for number, address in enumerate(public)]
    return network(vpc("vpc-1", (EVERYTHING,), *nics, interface(90, "sg-open")), pools=pools)


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    made = Lab()
    try:
        yield made
    finally:
        await made.close()


async def start(lab: Lab, wanted: NetworkSpec, bgp: BgpConfig | None = None) -> LinuxNetwork:
    driver = lab.driver(uplink="up0", pools=wanted.pools, bgp=bgp)
    await driver.open()
    await lab.up(driver, wanted)
    return driver


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Waits for what comes soon."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        await asyncio.sleep(0.1)


async def test_a_pool_of_the_lan_is_answered_for_by_arp(lab: Lab) -> None:
    world = lab.world()
    driver = await start(lab, spec("198.51.100.70"))
    guest = lab.guests["eni-5"]
    assert (world.connect("198.51.100.70", 80) or "").startswith("198.51.100.2:")
    assert (guest.connect("198.51.100.2", 80) or "").startswith("198.51.100.70:")
    assert world.connect("198.51.100.71", 80) is None
    assert not answered(world, "198.51.100.71"), "nobody has it"
    assert lab.guests["eni-90"].connect("198.51.100.2", 80) is None
    await driver.destroy()
    assert not proxies(lab)
    assert lab.rules() == ""


async def test_an_address_is_answered_for_while_it_is_in_use(lab: Lab) -> None:
    world = lab.world()
    driver = await start(lab, spec("198.51.100.70"))
    await lab.up(driver, spec("198.51.100.70", "198.51.100.71"))
    assert world.connect("198.51.100.71", 80)
    await driver.apply(spec("198.51.100.71"))
    assert proxies(lab) == {"198.51.100.71"}
    assert not answered(world, "198.51.100.70")
    assert world.connect("198.51.100.71", 80), "it is another guest's now"


async def test_the_lan_hears_where_an_address_has_gone(lab: Lab) -> None:
    world = lab.world()
    world.run(
        "ip", "neighbour", "replace", "198.51.100.70", "lladdr", "02:00:00:00:00:99", "dev", "eth0", "nud", "stale"
    )
    await start(lab, spec("198.51.100.70"))
    assert world.connect("198.51.100.70", 80)


async def test_what_others_take_away_is_announced_again(lab: Lab) -> None:
    world = lab.world()
    driver = await start(lab, spec("198.51.100.70"))
    subprocess.run(["ip", "neighbour", "delete", "proxy", "198.51.100.70", "dev", "up0"], check=True)
    await driver.observe()
    await driver.apply(spec("198.51.100.70"))
    assert proxies(lab) == {"198.51.100.70"}
    assert world.connect("198.51.100.70", 80)


async def test_several_pools_each_in_its_way(lab: Lab) -> None:
    """Two regions: one with addresses of the LAN, one whose addresses nobody else knows."""
    world = lab.world()
    wanted = spec("198.51.100.70", "192.0.2.10", pools=(LOCAL, HIDDEN))
    await start(lab, wanted)
    known, hidden = lab.guests["eni-5"], lab.guests["eni-6"]
    assert world.connect("198.51.100.70", 80)
    world.run("ip", "route", "add", HIDDEN.cidr, "via", "198.51.100.1")
    assert world.connect("192.0.2.10", 80) is None
    assert (known.connect("198.51.100.2", 80) or "").startswith("198.51.100.70:")
    assert (hidden.connect("198.51.100.2", 80) or "").startswith("198.51.100.1:")
    assert (known.connect("192.0.2.10", 80) or "").startswith("198.51.100.70:")
    assert (hidden.connect("198.51.100.70", 80) or "").startswith("192.0.2.10:")


async def test_a_pool_that_is_the_whole_lan_is_refused(lab: Lab) -> None:
    lab.world()
    whole = PoolSpec(cidr="198.51.100.0/24", announce="arp")
    with pytest.raises(PermanentError, match="overlaps"):
        await start(lab, spec(pools=(whole,)))
    with pytest.raises(PermanentError, match="overlaps"):
        await start(lab, spec(pools=(replace(LOCAL, announce=""),)))


async def test_bgp_without_neighbours_is_refused(lab: Lab) -> None:
    lab.world()
    with pytest.raises(PermanentError, match="bgp"):
        await start(lab, spec("203.0.113.10", pools=(ROUTED,)))


@pytest.mark.skipif(not BGPD.exists(), reason="needs FRR")
async def test_a_router_learns_of_addresses_by_bgp(lab: Lab) -> None:
    world = lab.world()
    world.run("ip", "route", "delete", "203.0.113.0/24")
    router = Router(lab, world)
    try:
        driver = await start(lab, spec("203.0.113.10", pools=(ROUTED,)), BGP)
        await until(lambda: router.routes() == {"203.0.113.10/32": "198.51.100.1"})
        router.follow()
        assert (world.connect("203.0.113.10", 80) or "").startswith("198.51.100.2:")
        assert (lab.guests["eni-5"].connect("198.51.100.2", 80) or "").startswith("203.0.113.10:")
        session = router.uptime()

        await lab.up(driver, spec("203.0.113.10", "203.0.113.11", pools=(ROUTED,)))
        await until(lambda: router.routes().keys() == {"203.0.113.10/32", "203.0.113.11/32"})
        fresh = lab.driver(uplink="up0", pools=(ROUTED,), bgp=BGP)
        await fresh.open()
        await fresh.apply(spec("203.0.113.11", pools=(ROUTED,)))
        await until(lambda: router.routes().keys() == {"203.0.113.11/32"})
        assert router.uptime() == session, "the session has outlived the agent"

        (process,) = [pid for pid in lab.processes() if "bgpd" in Path(f"/proc/{pid}/comm").read_text()]
        subprocess.run(["kill", "-9", str(process)], check=True)
        await until(lambda: process not in lab.processes())
        await fresh.observe()
        await fresh.apply(spec("203.0.113.11", pools=(ROUTED,)))
        await until(lambda: router.routes().keys() == {"203.0.113.11/32"} and router.uptime() != session)

        await fresh.apply(spec(pools=(ROUTED,)))
        await until(lambda: not router.routes())
        await fresh.destroy()
        assert not lab.processes()
    finally:
        router.close()


class Router:
    """A router in the world: bgpd, and the routes that it learns put into the kernel by hand."""

    def __init__(self, lab: Lab, world: World) -> None:
        self._world = world
        self._directory = Path("/run", f"{lab.name}r")
        self._directory.mkdir(mode=0o700)
        configuration = self._directory / "router.cfg"
        configuration.write_text(ROUTER)
        places = ["--vty_socket", str(self._directory), "--pid_file", str(self._directory / "pid")]
        world.run(str(BGPD), "-d", "--no_zebra", "--skip_runas", "--vty_port", "0", *places, "-f", str(configuration))

    def routes(self) -> dict[str, str]:
        """Prefix → next hop, as learned."""
        learned = self._ask("show bgp ipv4 unicast json").get("routes", {})
        return {prefix: paths[0]["nexthops"][0]["ip"] for prefix, paths in learned.items()}

    def uptime(self) -> int:
        """When the session began, in seconds."""
        peer = self._ask("show bgp ipv4 unicast summary json")["peers"]["198.51.100.1"]
        return peer["peerUptimeEstablishedEpoch"]

    def follow(self) -> None:
        """Routes as it has learned."""
        for prefix, hop in self.routes().items():
            self._world.run("ip", "route", "replace", prefix, "via", hop)

    def close(self) -> None:
        """Ends it."""
        subprocess.run(["kill", "-9", (self._directory / "pid").read_text().strip()], check=True)
        for path in self._directory.iterdir():
            path.unlink()
        self._directory.rmdir()

    def _ask(self, question: str) -> dict[str, Any]:
        return json.loads(self._world.run("vtysh", "--vty_socket", str(self._directory), "-c", question))


def proxies(lab: Lab) -> set[str]:
    """The addresses that the host answers for."""
    out = subprocess.run(
        ["ip", "-netns", lab.host, "-json", "neighbour", "show", "proxy"], check=True, capture_output=True
    ).stdout
    return {entry["dst"] for entry in json.loads(out)}


def answered(world: World, address: str) -> bool:
    """Whether somebody on the LAN says that the address is theirs."""
    world.run("ip", "neighbour", "flush", "dev", "eth0")
    world.connect(address, 80)
    found = json.loads(world.run("ip", "-json", "neighbour", "show", address) or "[]")
    return any("lladdr" in entry for entry in found)
