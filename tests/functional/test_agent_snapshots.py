"""An agent takes snapshots, has them uploaded and tidies up, over fakes; it may be killed in between."""

from collections.abc import Callable
from pathlib import Path

import pytest
from agent_host import World, guest_spec, host_spec, until
from msgspec.structs import replace

from pileus.drivers.errors import RetryableError
from pileus.hostapi.observation import SnapshotObservation
from pileus.hostapi.spec import DiskSpec, GuestSpec, HostSpec, SnapshotSpec, VolumeSpec

GIB = 1 << 30


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def snapshot(number: int, volume_id: str = "vol-1", group: str = "group-1", **changes: object) -> SnapshotSpec:
    spec = SnapshotSpec(snapshot_id=f"snap-{number}", volume_id=volume_id, group=group)
    return replace(spec, **changes)


def with_snapshots(spec: HostSpec, *snapshots: SnapshotSpec) -> HostSpec:
    return replace(spec, revision=spec.revision + 1, snapshots=snapshots)


def two_disks() -> GuestSpec:
    first = guest_spec(1)
    second = DiskSpec(volume_id="vol-2", index=1, device_name="/dev/sdf", serial="vol2")
    return replace(first, disks=(*first.disks, second))


def seen(world: World, snapshot_id: str) -> SnapshotObservation | None:
    found = [
        each for report in world.controller.reports for each in report.snapshots if each.snapshot_id == snapshot_id
    ]
    return found[-1] if found else None


def phase(world: World, snapshot_id: str, wanted: str) -> Callable[[], bool]:
    def reached() -> bool:
        last = seen(world, snapshot_id)
        return last is not None and last.phase == wanted

    return reached


async def test_a_group_in_a_guest_is_frozen_at_once_and_uploaded_and_merged_away(world: World) -> None:
    async with world.control_plane(), world.agent():
        spec = host_spec(1, two_disks())
        await world.push(spec)
        await until(lambda: world.controller.phase("i-1") == "running")
        spec = with_snapshots(spec, snapshot(1, "vol-1"), snapshot(2, "vol-2"))
        await world.push(spec)
        await until(phase(world, "snap-1", "uploaded"))
        await until(phase(world, "snap-2", "uploaded"))
        assert [sorted(freeze) for freeze in world.host.freezes] == [["vol-1", "vol-2"]]
        assert len(world.host.disks["i-1"]["vol-1"].layers) == 2
        spec = with_snapshots(spec, snapshot(3, group="group-2"))
        await world.push(spec)
        await until(phase(world, "snap-3", "uploaded"))
        await world.push(with_snapshots(spec))
        await until(lambda: len(world.host.disks["i-1"]["vol-1"].layers) == 2)


async def test_taken_is_said_before_the_upload_and_a_failed_upload_is_repeated(world: World) -> None:
    world.volumes.fail_uploads = [RetryableError("the store is away"), RetryableError("still")]
    async with world.control_plane(), world.agent():
        spec = replace(host_spec(1), volumes=(VolumeSpec(volume_id="vol-1", size=GIB),))
        await world.push(with_snapshots(spec, snapshot(1)))
        await until(phase(world, "snap-1", "uploaded"))
        phases = [
            each.phase
            for report in world.controller.reports
            for each in report.snapshots
            if each.snapshot_id == "snap-1"
        ]
        assert phases[0] == "taken"
        assert world.volumes.uploads == ["snap-1"] * 3


async def test_a_kill_between_cover_and_freeze_ends_in_one_instant_for_the_group(world: World) -> None:
    async with world.control_plane():
        spec = host_spec(1, two_disks())
        taken = with_snapshots(spec, snapshot(1, "vol-1"), snapshot(2, "vol-2"))
        async with world.agent():
            await world.push(spec)
            await until(lambda: world.controller.phase("i-1") == "running")
            world.host.fail_on["freeze"] = RetryableError("killed here")
            await world.volumes.cover("vol-1", "snap-1")
        async with world.agent():
            await world.push(taken)
            await until(phase(world, "snap-1", "uploaded"))
            await until(phase(world, "snap-2", "uploaded"))
        assert [sorted(freeze) for freeze in world.host.freezes] == [["vol-1", "vol-2"]]


async def test_an_agent_that_is_started_anew_uploads_what_was_taken_without_another_instant(world: World) -> None:
    async with world.control_plane():
        spec = with_snapshots(host_spec(1, guest_spec(1)), snapshot(1))
        async with world.agent():
            await world.push(spec)
            await until(phase(world, "snap-1", "uploaded"))
        freezes = len(world.host.freezes)
        world.controller.reports.clear()
        async with world.agent():
            await until(phase(world, "snap-1", "uploaded"))
        assert len(world.host.freezes) == freezes


async def test_a_snapshot_of_a_volume_that_is_not_here_fails(world: World) -> None:
    async with world.control_plane(), world.agent():
        await world.push(with_snapshots(host_spec(1), snapshot(1, "vol-9")))
        await until(phase(world, "snap-1", "failed"))


async def test_a_volume_stays_until_its_snapshot_is_on_record(world: World) -> None:
    async with world.control_plane(), world.agent():
        present = VolumeSpec(volume_id="vol-1", size=GIB)
        spec = replace(host_spec(1), volumes=(present,))
        await world.push(with_snapshots(spec, snapshot(1)))
        await until(lambda: seen(world, "snap-1"))
        gone = replace(spec, revision=3, volumes=(replace(present, state="gone"),))
        await world.push(replace(gone, snapshots=(snapshot(1),)))
        await until(phase(world, "snap-1", "uploaded"))
        assert "vol-1" in world.volumes.sizes
        await world.push(replace(gone, revision=4))
        await until(lambda: "vol-1" not in world.volumes.sizes)


async def test_disks_of_a_running_guest_follow_its_spec(world: World) -> None:
    async with world.control_plane(), world.agent():
        spec = host_spec(1, guest_spec(1))
        await world.push(spec)
        await until(lambda: world.controller.phase("i-1") == "running")
        volumes = (*spec.volumes, VolumeSpec(volume_id="vol-2", size=GIB))
        both = replace(two_disks(), wiring=1)
        await world.push(replace(spec, revision=2, guests=(both,), volumes=volumes))
        await until(lambda: set(world.controller.guests["i-1"].volumes) == {"vol-1", "vol-2"})
        grown = (*spec.volumes, VolumeSpec(volume_id="vol-2", size=2 * GIB))
        await world.push(replace(spec, revision=3, guests=(both,), volumes=grown))
        await until(lambda: world.controller.volumes["vol-2"].size == 2 * GIB)
        assert world.host.disks["i-1"]["vol-2"].size == 2 * GIB
        world.host.keeps_disks.add("i-1")
        await world.push(replace(spec, revision=4, guests=(guest_spec(1, wiring=2),), volumes=grown))
        await until(lambda: world.controller.guests["i-1"].wiring == 2)
        assert "vol-2" in world.controller.guests["i-1"].volumes
        torn = guest_spec(1, wiring=3, torn_out=("vol-2",))
        await world.push(replace(spec, revision=5, guests=(torn,), volumes=grown))
        await until(lambda: world.controller.guests["i-1"].volumes == ("vol-1",))


async def test_a_base_that_is_complete_is_swapped_in_under_a_running_guest(world: World) -> None:
    async with world.control_plane(), world.agent():
        await world.push(host_spec(1, guest_spec(1)))
        await until(lambda: world.controller.phase("i-1") == "running")
        await world.volumes.cover("vol-1", "old")
        await world.volumes.covered("vol-1")
        base = replace(world.host.disks["i-1"]["vol-1"].layers[0], writable=False)
        disk = world.host.disks["i-1"]["vol-1"]
        world.host.disks["i-1"]["vol-1"] = replace(disk, layers=(*disk.layers, base))
        world.volumes.fill("vol-1")
        await until(lambda: "bases" in str(world.host.disks["i-1"]["vol-1"].layers[-1].path))
