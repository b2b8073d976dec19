"""The agent over fake drivers and a real link: from a spec to what is so, and back."""

import asyncio
from pathlib import Path

import pytest
from agent_host import LoopbackNetwork, World, guest_spec, host_spec, until
from msgspec.structs import replace

from pileus.drivers.errors import PermanentError, RetryableError, UnknownOutcomeError
from pileus.drivers.hypervisor.interface import GuestState
from pileus.drivers.image.fake import DEBIAN, TINY, FakeImages
from pileus.hostapi.link import ConsoleError
from pileus.hostapi.spec import DiskSpec, HostSpec, VolumeSpec


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_guest_lives_and_goes(world: World) -> None:
    async with world.control_plane() as control, world.agent():
        guest = guest_spec(1)
        await world.push(host_spec(1, guest))
        await until(lambda: control.phase("i-1") == "running")
        assert control.volumes["vol-1"].phase == "present"
        assert control.guests["i-1"].accelerator == "fake"
        assert world.network.taps == ["eni-1"]

        await world.push(host_spec(2, replace(guest, reset=1)))
        await until(lambda: control.guests["i-1"].reset == 1)

        await world.push(host_spec(3, replace(guest, reset=1, power="off")))
        await until(lambda: control.phase("i-1") == "off")
        assert control.guests["i-1"].cause == "asked"

        await world.push(host_spec(4, replace(guest, boot=2)))
        await until(lambda: control.phase("i-1") == "running")
        assert (control.guests["i-1"].boot, control.guests["i-1"].reset) == (2, 0)

        gone = replace(guest, boot=2, power="gone")
        spec = host_spec(5, gone)
        await world.push(replace(spec, volumes=(replace(spec.volumes[0], state="gone"),)))
        await until(lambda: control.phase("i-1") == "gone" and control.volumes["vol-1"].phase == "gone")
        assert not world.host.guests
        assert not world.volumes.sizes

        await world.push(host_spec(6))
        await until(lambda: not world.network.interfaces)
        await until(lambda: control.reports[-1].full and not control.guests and not control.volumes)


async def test_a_slow_guest_holds_up_no_other(world: World) -> None:
    started = asyncio.Event()

    async def hold(*_: object) -> None:
        started.set()
        await asyncio.Event().wait()

    async with world.control_plane() as control, world.agent():
        await world.push(host_spec(1, guest_spec(1)))
        await until(lambda: control.phase("i-1") == "running")
        world.hypervisor.reset = hold  # type: ignore[method-assign]
        await world.push(host_spec(2, guest_spec(1, reset=1), guest_spec(2)))
        await until(lambda: control.phase("i-2") == "running" and started.is_set())
        await world.push(host_spec(3, guest_spec(1, reset=1, power="cut"), guest_spec(2)))
        await until(lambda: control.phase("i-1") == "off")  # what was held up is broken off


async def test_a_guest_that_ends_by_itself_is_reported_and_not_restarted(world: World) -> None:
    async with world.control_plane() as control, world.agent():
        await world.push(host_spec(1, guest_spec(1), guest_spec(2), guest_spec(3)))
        await until(lambda: all(control.phase(f"i-{n}") == "running" for n in (1, 2, 3)))
        world.host.guest_shutdown("i-1")
        world.host.crash("i-2")
        world.host.panic("i-3")
        await until(lambda: control.guests["i-1"].cause == "guest-shutdown")
        await until(lambda: control.guests["i-2"].cause == "crash")
        await until(lambda: control.guests["i-3"].impaired)
        assert control.phase("i-3") == "running"
        await until(lambda: len([report for report in control.reports if report.full]) > 3)  # surveys later
        assert world.host.starts == ["i-1", "i-2", "i-3"]


async def test_a_guest_that_ignores_the_button_is_unplugged_when_its_time_is_over(world: World) -> None:
    world.host.ignores_power_button.add("i-1")
    async with world.control_plane() as control, world.agent():
        await world.push(host_spec(1, guest_spec(1)))
        await until(lambda: control.phase("i-1") == "running")
        await world.push(host_spec(2, guest_spec(1, power="off", stop_timeout=0.3)))
        await until(lambda: control.phase("i-1") == "stopping")
        await until(lambda: control.phase("i-1") == "off")


@pytest.mark.parametrize("error", [RetryableError("not now"), UnknownOutcomeError("perhaps")])
@pytest.mark.parametrize("driver", ["hypervisor", "network", "volumes"])
async def test_what_fails_for_now_is_tried_again(world: World, driver: str, error: Exception) -> None:
    failing = {"hypervisor": world.host, "network": world.network, "volumes": world.volumes}[driver]
    async with world.control_plane() as control, world.agent():
        await until(lambda: control.reports)
        failing.fail_next = error  # type: ignore[assignment]
        await world.push(host_spec(1, guest_spec(1)))
        await until(lambda: control.phase("i-1") == "running")
    assert any(guest.phase == "preparing" for report in control.reports for guest in report.guests)


async def test_what_fails_for_good_is_said_and_can_be_removed(world: World) -> None:
    async with world.control_plane() as control, world.agent():
        world.host.fail_next = PermanentError("the disk is damaged")
        await world.push(host_spec(1, guest_spec(1), guest_spec(2, image="nothing")))
        await until(lambda: control.phase("i-2") == "failed" and "not on this host" in control.guests["i-2"].detail)
        await until(lambda: control.phase("i-1") == "failed" and "damaged" in control.guests["i-1"].detail)
        await world.push(host_spec(2, guest_spec(1, boot=2), guest_spec(2, power="gone")))
        await until(lambda: control.phase("i-1") == "running" and control.phase("i-2") == "gone")


async def test_a_volume_that_can_not_be_made_fails_its_guest(world: World) -> None:
    world.volumes.fail_next = PermanentError("no space that large")
    async with world.control_plane() as control, world.agent():
        await world.push(host_spec(1, guest_spec(1)))
        await until(lambda: control.phase("i-1") == "failed")
        assert control.volumes["vol-1"].phase == "failed"
        assert "no space" in control.guests["i-1"].detail


REFUSED = "Client.InvalidKMSKey.InvalidState: The KMS key provided is in an incorrect state"


async def test_a_volume_that_could_not_be_made_is_made_when_its_guest_is_started_again(world: World) -> None:
    """The key was disabled; nothing in the volume's own spec says that it is enabled now."""
    world.volumes.fail_next = PermanentError(REFUSED)
    async with world.control_plane() as control, world.agent():
        await world.push(host_spec(1, guest_spec(1)))
        await until(lambda: control.phase("i-1") == "failed")
        await world.push(host_spec(2, guest_spec(1, power="cut")))
        await until(lambda: control.phase("i-1") not in {"", "failed"})
        await world.push(host_spec(3, guest_spec(1, boot=2)))
        await until(lambda: control.phase("i-1") == "running")
        await until(lambda: control.volumes["vol-1"].phase == "present")


@pytest.mark.parametrize("made", [False, True], ids=["not made yet", "made long ago"])
async def test_a_disk_that_was_refused_is_tried_again_when_it_is_attached_again(world: World, made: bool) -> None:
    first = guest_spec(1)
    second = DiskSpec(volume_id="vol-2", index=1, device_name="/dev/sdf", serial="vol2")
    base = host_spec(1, first)
    volumes = (*base.volumes, VolumeSpec(volume_id="vol-2", size=1 << 30))

    def failures() -> int:
        told = [one for report in control.reports if not report.full for one in report.volumes]
        return sum(one.volume_id == "vol-2" and one.phase == "failed" and REFUSED in one.detail for one in told)

    def refuse() -> None:
        if made:
            world.volumes.damaged["vol-2"] = REFUSED
        else:
            world.volumes.fail_next = PermanentError(REFUSED)

    def spec(revision: int, *disks: DiskSpec, wiring: int) -> HostSpec:
        guest = replace(first, disks=(*first.disks, *disks), wiring=wiring)
        return replace(base, revision=revision, guests=(guest,), volumes=volumes)

    async with world.control_plane() as control, world.agent():
        await world.push(base)
        await until(lambda: control.phase("i-1") == "running")
        if made:
            await world.push(spec(2, wiring=0))
            await until(lambda: "vol-2" in control.volumes)
        refuse()
        await world.push(spec(3, second, wiring=1))
        await until(lambda: failures() == 1)
        await world.push(spec(4, wiring=2))
        await until(lambda: control.guests["i-1"].wiring == 2)
        refuse()
        await world.push(spec(5, second, wiring=3))
        await until(lambda: failures() == 2)  # each attempt has its answer
        await world.push(spec(6, wiring=4))
        await until(lambda: control.guests["i-1"].wiring == 4)
        world.volumes.damaged.clear()
        await world.push(spec(7, second, wiring=5))
        await until(lambda: "vol-2" in control.guests["i-1"].volumes)
        await until(lambda: control.volumes["vol-2"].phase == "present")


async def test_an_old_spec_is_refused_also_after_a_restart(world: World) -> None:
    async with world.control_plane() as control:
        async with world.agent():
            await world.push(host_spec(5, guest_spec(1)))
            await until(lambda: control.phase("i-1") == "running")
        async with world.agent():
            await world.push(host_spec(4, guest_spec(1, power="cut"), guest_spec(2)))
            await world.push(host_spec(4, guest_spec(1, power="gone"), guest_spec(2)))
            await until(lambda: control.reports[-1].revision == 5 and control.phase("i-1") == "running")
            await world.push(host_spec(6, guest_spec(1), guest_spec(3)))
            await until(lambda: control.phase("i-3") == "running")
    assert world.host.starts == ["i-1", "i-3"]


async def test_an_agent_goes_on_without_its_control_plane(world: World) -> None:
    async with world.control_plane() as control, world.agent():
        await world.push(host_spec(1, guest_spec(1)))
        await until(lambda: control.phase("i-1") == "running")
    world.network = LoopbackNetwork()  # the host's network is to be applied anew
    async with world.agent() as agent:
        await until(lambda: world.network.interfaces == {"eni-1"})
        await until(lambda: "vpc-1" in world.network.ports)
        _, writer = await asyncio.open_connection("127.0.0.1", world.network.ports["vpc-1"])
        writer.close()
        assert world.host.guests["i-1"].running
        assert not agent.done()
        async with world.control_plane() as control:  # and is found again when that returns
            await until(lambda: control.reports[-1].full and control.phase("i-1") == "running")
    assert world.host.starts == ["i-1"]


async def test_guests_that_nobody_lists_are_left_alone_and_reported(world: World) -> None:
    async with world.control_plane() as control, world.agent():
        await world.push(host_spec(1, guest_spec(1)))
        await until(lambda: control.phase("i-1") == "running")
        await world.push(host_spec(2))
        await until(lambda: control.reports[-1].revision == 2)
        control.guests.clear()
        await until(lambda: control.phase("i-1") == "running")
        assert "vol-1" in world.volumes.sizes
        world.host.guests["i-9"] = GuestState(instance_id="i-9", boot=1, reset=0, running=True)
        await until(lambda: control.phase("i-9") == "running")


async def test_after_a_restart_of_the_host_its_guests_say_why_they_are_off(world: World) -> None:
    async with world.control_plane() as control:
        async with world.agent():
            await world.push(host_spec(1, guest_spec(1), guest_spec(2)))
            await until(lambda: control.phase("i-1") == control.phase("i-2") == "running")
            world.host.guest_shutdown("i-2")
            await until(lambda: control.phase("i-2") == "off")
        world.host.restart()
        async with world.agent():
            control.guests.clear()
            await until(lambda: control.phase("i-1") == "off")
            assert control.guests["i-1"].cause == "host-restart"
            assert control.guests["i-2"].cause == "guest-shutdown"
            await world.push(host_spec(2, guest_spec(1, boot=2), guest_spec(2)))
            await until(lambda: control.phase("i-1") == "running")
    assert world.host.starts == ["i-1", "i-2", "i-1"]


async def test_a_start_that_was_called_off_counts_as_stopped(world: World) -> None:
    async with world.control_plane() as control, world.agent():
        await world.push(host_spec(1, guest_spec(1)))
        await until(lambda: control.phase("i-1") == "running")
        await world.push(host_spec(2, guest_spec(1, power="off")))
        await until(lambda: control.phase("i-1") == "off")
        await world.push(host_spec(3, guest_spec(1, power="off", boot=2)))
        await until(lambda: control.guests["i-1"].boot == 2)
        assert control.phase("i-1") == "off"
        await world.push(host_spec(4, guest_spec(2, power="off")))
        await until(lambda: control.phase("i-2") == "absent")


async def test_a_reboot_that_takes_its_time_is_waited_for(world: World) -> None:
    """The driver only notes the reset, and says later that it happened."""
    resets: list[int] = []

    async def note(instance_id: str, reset: int) -> None:
        resets.append(reset)

    async with world.control_plane() as control, world.agent():
        await world.push(host_spec(1, guest_spec(1)))
        await until(lambda: control.phase("i-1") == "running")
        world.hypervisor.reset = note  # type: ignore[method-assign]
        await world.push(host_spec(2, guest_spec(1, reset=1)))
        await until(lambda: len(resets) == 3)  # told again now and then
        before = len(resets)
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(resets) <= before + 1
        world.host.change("i-1", reset=1)
        await until(lambda: control.guests["i-1"].reset == 1)


async def test_an_interface_outlasts_the_guest_that_uses_it(world: World) -> None:
    world.host.ignores_power_button.add("i-1")
    async with world.control_plane() as control, world.agent():
        await world.push(host_spec(1, guest_spec(1), guest_spec(2)))
        await until(lambda: control.phase("i-1") == control.phase("i-2") == "running")
        await world.push(host_spec(2, guest_spec(1, power="off", stop_timeout=0.4), guest_spec(2), interfaces=(2,)))
        await until(lambda: control.reports[-1].revision == 2)
        assert world.network.interfaces == {"eni-1", "eni-2"}
        assert world.host.guests["i-1"].running
        await until(lambda: control.phase("i-1") == "off")
        await until(lambda: world.network.interfaces == {"eni-2"})


async def test_what_was_taken_from_the_network_is_put_back(world: World) -> None:
    async with world.control_plane() as control, world.agent():
        await world.push(host_spec(1, guest_spec(1)))
        await until(lambda: control.phase("i-1") == "running")
        before = world.network.ports["vpc-1"]
        await world.network.destroy()
        await until(lambda: world.network.interfaces == {"eni-1"})
        await until(lambda: world.network.ports["vpc-1"] != before)  # nobody would come by the old one any more


async def test_a_guest_that_hangs_at_launch_is_restarted_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.launch_limit = 0.2
    world.host.print = lambda *_: None  # type: ignore[method-assign] # a guest that never says a word
    async with world.control_plane() as control, world.agent():
        await world.push(host_spec(1, guest_spec(1)))
        await until(lambda: len(world.host.starts) == 2)
        await until(lambda: len([report for report in control.reports if report.full]) > 3)
        assert control.phase("i-1") == "running"
    assert world.host.starts == ["i-1", "i-1"]
    assert [record.__dict__.get("cause") for record in caplog.records if "hangs" in record.message] == ["watchdog"]


async def test_a_guest_that_speaks_and_sends_is_not_restarted(world: World) -> None:
    world.launch_limit = 0.3
    async with world.control_plane() as control, world.agent():
        await world.push(host_spec(1, guest_spec(1), guest_spec(2, nics=())))
        await until(lambda: len(world.host.starts) == 2)
        world.network.packets["eni-1"] = 1
        await until(lambda: len([report for report in control.reports if report.full]) > 4)
    assert sorted(world.host.starts) == ["i-1", "i-2"]


async def test_a_guest_that_stops_after_its_first_lines_is_restarted_once(world: World) -> None:
    world.launch_limit = 0.3
    async with world.control_plane() as control, world.agent():
        await world.push(host_spec(1, guest_spec(1)))
        for _ in range(12):  # no packet yet, but something goes on
            await asyncio.sleep(0.05)
            if "i-1" in world.host.consoles:
                world.host.print("i-1", "checking disks")
        assert world.host.starts == ["i-1"]
        await until(lambda: len(world.host.starts) == 2)
        await until(lambda: len([report for report in control.reports if report.full]) > 5)
        assert control.phase("i-1") == "running"
    assert world.host.starts == ["i-1", "i-1"]


async def test_the_control_plane_sees_consoles_and_new_images(world: World) -> None:
    async with world.control_plane() as control, world.agent():
        await world.push(host_spec(1, guest_spec(1)))
        await until(lambda: control.phase("i-1") == "running")
        assert control.session is not None
        assert await control.session.console("i-1", "output") == b"i-1 boot 1\r\n"
        assert (await control.session.console("i-1", "screenshot")).startswith(b"\x89PNG")
        with pytest.raises(ConsoleError):
            await control.session.console("i-2", "screenshot")
        world.images._manifests = FakeImages([TINY, DEBIAN])._manifests
        await until(lambda: control.inventories[-1] == tuple(sorted([TINY.content, DEBIAN.content])))
        assert control.lost == 0


async def test_volumes_come_without_guests_and_grow(world: World) -> None:
    async with world.control_plane() as control, world.agent():
        volume = VolumeSpec(volume_id="vol-7", size=1 << 30)
        await world.push(replace(host_spec(1), volumes=(volume,)))
        await until(lambda: "vol-7" in control.volumes)
        await world.push(replace(host_spec(2), volumes=(replace(volume, size=2 << 30),)))
        await until(lambda: world.volumes.sizes["vol-7"] == 2 << 30)
        await world.push(host_spec(3))
        await until(lambda: control.reports[-1].full and control.reports[-1].revision == 3)
        assert control.volumes["vol-7"].phase == "present"


async def test_killed_at_any_moment_the_next_agent_finishes(world: World) -> None:
    """Agents are cancelled after ever more turns of the event loop while guests come and go."""
    world.host.boot_delay = 0.002
    wanted: dict[int, str] = {}
    async with world.control_plane() as control:
        for revision in range(1, 41):
            number = revision % 6 + 1
            wanted[number] = "gone" if wanted.get(number) == "on" else "on"
            guests = [guest_spec(n, power=power, boot=revision) for n, power in wanted.items()]
            async with world.agent():
                await world.push(host_spec(revision, *guests))
                await asyncio.sleep(revision * 0.0006)
        async with world.agent():
            alive = {f"i-{n}" for n, power in wanted.items() if power == "on"}
            await until(lambda: {i for i, guest in world.host.guests.items() if guest.running} == alive)
            await until(lambda: {i for i in control.guests if control.phase(i) == "running"} == alive)
            assert set(world.host.guests) == alive
