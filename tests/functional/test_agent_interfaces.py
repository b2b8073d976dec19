"""Interfaces of running guests come and go as the spec says, and their network waits for the guest."""

from pathlib import Path

import pytest
from agent_host import World, guest_spec, host_spec, interface_spec, until, vpc_spec
from msgspec.structs import replace

from pileus.drivers.errors import RetryableError
from pileus.hostapi.observation import FlowObservation
from pileus.hostapi.spec import GuestSpec, HostSpec, NicSpec


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def nic(number: int, index: int = 1) -> NicSpec:
    return NicSpec(interface_id=f"eni-{number}", mac=f"06:00:00:00:00:{number:02x}", index=index)


def with_nics(guest: GuestSpec, wiring: int, *more: NicSpec, torn_out: tuple[str, ...] = ()) -> GuestSpec:
    return replace(guest, nics=(*guest.nics[:1], *more), wiring=wiring, torn_out=torn_out)


async def test_an_interface_comes_and_goes_and_its_network_goes_after_it(world: World) -> None:
    guest = guest_spec(1)
    async with world.control_plane() as control, world.agent():
        await world.push(host_spec(1, guest))
        await until(lambda: control.phase("i-1") == "running")
        assert control.guests["i-1"].interfaces == ("eni-1",)

        await world.push(host_spec(2, with_nics(guest, 1, nic(7)), interfaces=(1, 7)))
        await until(lambda: control.guests["i-1"].interfaces == ("eni-1", "eni-7"))
        await until(lambda: control.guests["i-1"].wiring == 1)
        assert world.network.taps == ["eni-1", "eni-7"]

        world.host.keeps_disks.add("i-1")
        await world.push(host_spec(3, with_nics(guest, 2), interfaces=(1,)))
        await until(lambda: control.guests["i-1"].wiring == 2)
        assert control.guests["i-1"].interfaces == ("eni-1", "eni-7")
        assert world.network.interfaces == {"eni-1", "eni-7"}
        world.host.lets_go("i-1")
        await until(lambda: control.guests["i-1"].interfaces == ("eni-1",))
        await until(lambda: world.network.interfaces == {"eni-1"})
    assert world.host.starts == ["i-1"]


async def test_a_forced_detachment_does_not_wait_for_the_guest(world: World) -> None:
    guest = guest_spec(1)
    world.host.keeps_disks.add("i-1")
    async with world.control_plane() as control, world.agent():
        await world.push(host_spec(1, with_nics(guest, 1, nic(7)), interfaces=(1, 7)))
        await until(lambda: control.phase("i-1") == "running")
        await world.push(host_spec(2, with_nics(guest, 2, torn_out=("eni-7",)), interfaces=(1,)))
        await until(lambda: control.guests["i-1"].interfaces == ("eni-1",))
        await until(lambda: world.network.interfaces == {"eni-1"})


@pytest.mark.parametrize("operation", ["plug_nic", "unplug_nic"])
async def test_what_fails_for_now_is_tried_again(world: World, operation: str) -> None:
    guest = guest_spec(1)
    async with world.control_plane() as control, world.agent():
        await world.push(host_spec(1, guest))
        await until(lambda: control.phase("i-1") == "running")
        world.host.fail_on[operation] = RetryableError("not now")
        await world.push(host_spec(2, with_nics(guest, 1, nic(7)), interfaces=(1, 7)))
        await until(lambda: control.guests["i-1"].interfaces == ("eni-1", "eni-7"))
        await world.push(host_spec(3, with_nics(guest, 2), interfaces=(1,)))
        await until(lambda: control.guests["i-1"].interfaces == ("eni-1",))
        assert not world.host.fail_on


async def test_an_interface_moves_to_another_guest_while_another_agent_takes_over(world: World) -> None:
    one, two = guest_spec(1), guest_spec(2)
    async with world.control_plane() as control:
        async with world.agent():
            await world.push(host_spec(1, with_nics(one, 1, nic(7)), two, interfaces=(1, 2, 7)))
            await until(lambda: control.phase("i-1") == "running" and control.phase("i-2") == "running")
        await until(lambda: control.session is None)
        async with world.agent():
            await world.push(host_spec(2, with_nics(one, 2), with_nics(two, 1, nic(7, 3)), interfaces=(1, 2, 7)))
            await until(lambda: control.guests["i-2"].interfaces == ("eni-2", "eni-7"))
            await until(lambda: control.guests["i-1"].interfaces == ("eni-1",))
            assert world.network.interfaces == {"eni-1", "eni-2", "eni-7"}
    assert world.host.starts.count("i-1") == world.host.starts.count("i-2") == 1


async def test_an_interface_waits_for_its_network(world: World) -> None:
    guest = guest_spec(1)
    async with world.control_plane() as control, world.agent():
        await world.push(host_spec(1, guest))
        await until(lambda: control.phase("i-1") == "running")
        world.network.fail_next = RetryableError("not now")
        await world.push(host_spec(2, with_nics(guest, 1, nic(7)), interfaces=(1, 7)))
        await until(lambda: control.guests["i-1"].interfaces == ("eni-1", "eni-7"))


async def test_flows_are_told_once(world: World) -> None:
    flow = FlowObservation(
        interface_id="eni-1",
        ingress=True,
        accepted=True,
        source="10.0.0.5",
        destination="10.0.0.4",
        source_port=1,
        destination_port=22,
        protocol=6,
        packets=3,
        bytes=180,
        start=0,
        end=60,
    )
    async with world.control_plane() as control, world.agent():
        await world.push(
            HostSpec(revision=1, network=replace(host_spec(1).network, vpcs=(vpc_spec("vpc-1", interface_spec(1)),)))
        )
        world.network.captured.append(flow)
        await until(lambda: any(report.flows for report in control.reports))
        await until(lambda: len([report for report in control.reports if report.full]) > 3)
        assert [each for report in control.reports for each in report.flows] == [flow]
