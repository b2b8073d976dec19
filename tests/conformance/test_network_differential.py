"""The network driver ``linux`` against the model: random networks, and for each many connections with real packets.

``PILEUS_TOPOLOGIES`` says how many networks are tried, ``PILEUS_SEED`` repeats a run.
"""

import os
import secrets
from collections.abc import AsyncIterator
from random import Random

import pytest
from network_lab import HOST, Lab
from network_probes import Echo, Probe, reached
from network_topologies import PORTS, WORLD, changed, destinations, guests, topology

from pileus.drivers.network.linux.network import LinuxNetwork
from pileus.drivers.network.reachability import allows
from pileus.hostapi.network_spec import NetworkSpec

pytestmark = [pytest.mark.root, pytest.mark.slow]

TOPOLOGIES = int(os.environ.get("PILEUS_TOPOLOGIES", "25"))
SEED = int(os.environ.get("PILEUS_SEED", str(secrets.randbelow(1 << 32))))
PROBES = 150
ENOUGH, PATIENT = 0.45, 3.0


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    made = Lab()
    try:
        yield made
    finally:
        await made.close()


async def test_random_networks_pass_what_the_model_says(lab: Lab) -> None:
    random = Random(SEED)
    lab.world()
    driver = lab.driver(uplink="up0")
    await driver.open()
    spec = topology(random)
    await driver.apply(spec)
    echo = Echo()
    try:
        namespaces = await _populate(lab, driver, spec, echo)
        counts = {True: 0, False: 0}
        for step in range(TOPOLOGIES):
            if step:
                spec = changed(random, spec) if step % 2 else topology(random)
                await driver.apply(spec)
            for passes in _check(random, spec, namespaces, f"seed {SEED}, network {step}"):
                counts[passes] += 1
    finally:
        echo.close()
    print(f"seed {SEED}: {counts[True]} connections, {counts[False]} refusals")
    assert min(counts.values()) > 10 * TOPOLOGIES, "the networks are too open or too closed to say anything"


async def _populate(lab: Lab, driver: LinuxNetwork, spec: NetworkSpec, echo: Echo) -> dict[str, str]:
    """Guests behind all interfaces; their namespaces by interface id."""
    namespaces: dict[str, str] = {}
    for nic in guests(spec):
        guest = (await lab.guest(driver, nic)).configure()
        if nic.interface_id.endswith("31"):
            guest.forward()
        echo.add(guest.namespace, PORTS)
        namespaces[nic.interface_id] = guest.namespace
    return namespaces


def _check(random: Random, spec: NetworkSpec, namespaces: dict[str, str], label: str) -> list[bool]:
    """Tries a sample of all connections. What should work but did not at once gets a second chance: machines are slow."""
    sample = _sample(random, spec, namespaces)
    expected = [_expected(spec, source, probe) for source, probe in sample]
    got = reached([probe for _, probe in sample], ENOUGH)
    late = [number for number, passes in enumerate(got) if expected[number] and not passes]
    for number, passes in zip(late, reached([sample[number][1] for number in late], PATIENT), strict=True):
        got[number] = passes
    wrong = [
        f"{source} to {probe.destination} {probe.protocol} {probe.port}: {'open' if told else 'closed'}"
        for (source, probe), told, wanted in zip(sample, got, expected, strict=True)
        if told is not wanted
    ]
    assert not wrong, f"{label}: {len(wrong)} of {len(sample)} are not as the model says:\n" + "\n".join(wrong)
    return got


def _sample(random: Random, spec: NetworkSpec, namespaces: dict[str, str]) -> list[tuple[str, Probe]]:
    """Some of what should work and some of what should not; by chance alone there would be little of the former."""
    everything = _candidates(spec, namespaces)
    random.shuffle(everything)
    is_open = [one for one in everything[: PROBES * 6] if _expected(spec, *one)][: PROBES // 2]
    return is_open + [one for one in everything if one not in is_open][: PROBES - len(is_open)]


def _expected(spec: NetworkSpec, source: str, probe: Probe) -> bool:
    if probe.protocol == "icmp":
        kind, port = ("icmpv6", 128) if ":" in probe.destination else ("icmp", 8)
        return allows(spec, source, probe.destination, kind, port)
    return allows(spec, source, probe.destination, probe.protocol, probe.port)


def _candidates(spec: NetworkSpec, namespaces: dict[str, str]) -> list[tuple[str, Probe]]:
    """(interface or outside address, attempt). The world beyond serves TCP 80 only, and nobody comes in from there."""
    found: list[tuple[str, Probe]] = []
    everywhere = destinations(spec)
    for nic in guests(spec):
        own = {*(one.address for one in nic.addresses), *nic.ipv6}
        for destination in everywhere:
            if destination not in own:
                found += [(nic.interface_id, one) for one in _attempts(namespaces[nic.interface_id], destination)]
    public = [one for one in everywhere if one.startswith("203.0.113.")]
    return found + [(HOST, one) for destination in public for one in _attempts("", destination)]


def _attempts(namespace: str, destination: str) -> list[Probe]:
    if destination == WORLD:
        return [Probe(namespace, destination, "tcp", 80)]
    return [
        *(Probe(namespace, destination, protocol, port) for protocol in ("tcp", "udp") for port in PORTS),
        Probe(namespace, destination, "icmp"),
    ]
