"""What is captured for flow logs, from real packets."""

import time
from collections.abc import AsyncIterator

import pytest
from network_lab import ANY, EVERYTHING, Guest, Lab, group, interface, network, tcp, vpc

from pileus.drivers.network.linux.network import LinuxNetwork
from pileus.hostapi.network_spec import AclEntrySpec, AclSpec, CaptureSpec, VpcSpec
from pileus.hostapi.observation import FlowObservation

pytestmark = [pytest.mark.root, pytest.mark.slow]

ONE, TWO = "10.0.0.5", "10.0.16.6"


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    made = Lab()
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
def minutes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A clock that is a minute further whenever it is asked."""
    told = [int(time.time())]

    def now() -> float:
        told.append(told[-1] + 60)
        return told[-1]

    monkeypatch.setattr("pileus.drivers.network.linux.network.time.time", now)
    return told


def capture(number: int, *, accepted: bool = True, rejected: bool = True) -> CaptureSpec:
    return CaptureSpec(interface_id=f"eni-{number}", accepted=accepted, rejected=rejected)


def spec(*captures: CaptureSpec, **other: object) -> VpcSpec:
    nics = interface(5, "sg-open"), interface(6, "sg-web", subnet="10.0.16.0/20")
    groups = EVERYTHING, group("sg-web", tcp(80, cidr=ANY))
    return vpc("vpc-1", groups, *nics, captures=captures, **other)


async def start(lab: Lab, part: VpcSpec) -> tuple[LinuxNetwork, Guest, Guest]:
    driver = lab.driver()
    await driver.open()
    await driver.apply(network(part))
    one, two = [(await lab.guest(driver, nic)).configure().serve(80).serve(81) for nic in part.interfaces]
    return driver, one, two


def about(flows: list[FlowObservation], interface_id: str, port: int = 80) -> dict[tuple[bool, bool], FlowObservation]:
    """(ingress, accepted) → the flow whose server's port it is."""
    return {
        (one.ingress, one.accepted): one
        for one in flows
        if one.interface_id == interface_id and port in (one.source_port, one.destination_port)
    }


async def test_accepted_packets_are_counted_at_both_ends_and_told_once(lab: Lab, minutes: list[int]) -> None:
    driver, one, two = await start(lab, spec(capture(5), capture(6)))
    assert one.connect(TWO, 80, source_port=4000)
    two.wait_closed()
    told = list(await driver.flows())
    sent, answered = about(told, "eni-5")[False, True], about(told, "eni-5")[True, True]
    assert (sent.source, sent.destination, sent.source_port, sent.destination_port) == (ONE, TWO, 4000, 80)
    assert (answered.source, answered.destination) == (TWO, ONE)
    assert sent.protocol == 6
    assert sent.packets >= 4
    assert sent.bytes >= sent.packets * 40
    assert sent.end - sent.start == 60
    assert sent.flags & 3 == 3, "SYN and FIN were seen"
    assert answered.flags & 18 == 18, "so was the answer to SYN"
    received = about(told, "eni-6")[True, True]
    assert (received.packets, received.bytes) == (sent.packets, sent.bytes)
    assert not list(await driver.flows())


async def test_what_a_group_refuses_is_sent_and_rejected(lab: Lab, minutes: list[int]) -> None:
    driver, one, _ = await start(lab, spec(capture(5), capture(6)))
    assert one.connect(TWO, 81) is None
    told = list(await driver.flows())
    assert set(about(told, "eni-5", 81)) == {(False, True)}
    assert set(about(told, "eni-6", 81)) == {(True, False)}


async def test_what_an_acl_refuses_is_rejected_where_it_stands(lab: Lab, minutes: list[int]) -> None:
    entries = (
        AclEntrySpec(allow=False, protocol="6", cidr=ANY, from_port=80, to_port=80),
        AclEntrySpec(allow=True, protocol="-1", cidr=ANY),
    )
    closed = AclSpec(acl_id="acl-1", ingress=entries[1:], egress=entries)
    driver, one, _ = await start(lab, spec(capture(5), capture(6), acls=(closed,)))
    assert one.connect(TWO, 80) is None
    assert one.pings(TWO) is False
    told = list(await driver.flows())
    assert set(about(told, "eni-5")) == {(False, False)}
    assert not about(told, "eni-6")
    pings = [one for one in told if one.protocol == 1]
    assert {(one.interface_id, one.ingress, one.accepted) for one in pings} == {
        ("eni-5", False, True),
        ("eni-6", True, False),
    }
    assert {(one.source_port, one.destination_port) for one in pings} == {(0, 0)}


async def test_only_what_is_asked_for_is_captured(lab: Lab, minutes: list[int]) -> None:
    driver, one, _ = await start(lab, spec(capture(6, accepted=False)))
    assert one.connect(TWO, 80)
    assert one.connect(TWO, 81) is None
    told = list(await driver.flows())
    assert {(one.interface_id, one.accepted) for one in told} == {("eni-6", False)}
    await driver.apply(network(spec()))
    assert one.connect(TWO, 81) is None
    assert not list(await driver.flows())
    await driver.apply(network(spec(capture(5))))
    assert one.connect(TWO, 80)
    assert {one.interface_id for one in await driver.flows()} == {"eni-5"}
