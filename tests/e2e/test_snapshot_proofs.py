"""Restores that are killed in the middle, and fio's own checks of what a snapshot under its load has."""

import os
import random
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from e2e_guests import Guest, Launcher
from e2e_host import Host, names_in
from e2e_machine import Login, Machine, eventually
from e2e_snapshots import attach, available, completed, detach_and_delete, device_of
from guest_fio import GuestFio  # pyright: ignore[reportMissingImports] - of tests/conformance

pytestmark = [pytest.mark.vm, pytest.mark.root, pytest.mark.slow]


@pytest.fixture(scope="module")
def host(machine: Machine) -> Host:
    return Host(machine, range(*Host.default_uids()))


@pytest.fixture(scope="module")
def pair(shared_launch: Launcher) -> list[Guest]:
    """Two guests in one zone, with memory for fio."""
    return shared_launch("tiny", 2, InstanceType="t3.micro")


@pytest.fixture
def scratch(ec2: Any, pair: list[Guest]) -> Iterator[tuple[str, str]]:
    """A fresh volume in the first guest: its id and its device."""
    zone = pair[0].describe()["Placement"]["AvailabilityZone"]
    volume = ec2.create_volume(Size=1, AvailabilityZone=zone, VolumeType="gp3", Throughput=500)["VolumeId"]
    available(ec2, volume)
    yield volume, attach(ec2, volume, pair[0], pair[0].login())
    detach_and_delete(ec2, volume)


def restore(ec2: Any, snapshot: str, guest: Guest) -> str:
    zone = guest.describe()["Placement"]["AvailabilityZone"]
    return ec2.create_volume(SnapshotId=snapshot, AvailabilityZone=zone, VolumeType="gp3", Throughput=500)["VolumeId"]


def writes(login: Login, device: str) -> int:
    """How many writes the guest's kernel has completed on a device."""
    return int(login.run(f"cat /sys/block/{device.removeprefix('/dev/')}/stat").split()[4])


def test_kills_while_a_volume_fills(
    machine: Machine, ec2: Any, host: Host, pair: list[Guest], scratch: tuple[str, str]
) -> None:
    """The agent and the storage process die by SIGKILL while a guest reads what is not here yet."""
    volume, device = scratch
    login = pair[0].login()
    login.run(f"sudo dd if=/dev/urandom of={device} bs=1M count=320 && sync", 300)
    login.run(f"sudo dd if=/dev/urandom of={device} bs=1M count=64 seek=900 conv=notrunc && sync", 300)
    wanted = login.run(f"sudo sha256sum {device}", 600).split()[0]
    snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    login.run(f"sudo dd if=/dev/zero of={device} bs=1M count=64 conv=notrunc && sync", 300)
    completed(ec2, snapshot)

    bases = machine.root / "bases"
    before = names_in(bases)
    restored = restore(ec2, snapshot, pair[1])
    dice = random.Random(20261123)

    def fresh() -> set[str]:
        return {name for name in names_in(bases) - before if not name.startswith(".") and not name.endswith(".server")}

    def kill_while_it_fills(*names: str) -> bool:
        """Whether it was not complete yet when they were dead."""
        eventually(lambda: list(bases.glob(".*.part")) or fresh(), 120, 0.02)
        time.sleep(dice.random() / 2)
        for name in names:
            process = eventually(lambda name=name: host.control_plane().get(name), 60, 0.02)
            assert process is not None
            os.kill(process.pid, signal.SIGKILL)
        return not fresh()

    ec2.attach_volume(VolumeId=restored, InstanceId=pair[1].id, Device="/dev/sdf")
    assert kill_while_it_fills("agent", "storage")
    reader = pair[1].login()
    there = eventually(lambda: device_of(reader, restored), 120, 0.05)
    reader.run(
        f"sudo setsid sh -c 'sha256sum {there} >/run/sum.new && mv /run/sum.new /run/sum' </dev/null >/dev/null 2>&1 &"
    )
    in_the_middle = [kill_while_it_fills(*names) for names in (["storage"], ["agent"], ["agent", "storage"])]
    assert any(in_the_middle), "the base was complete before anything was killed under the reading guest"
    assert eventually(lambda: reader.try_run("cat /run/sum").stdout, 600, 1.0).split()[0] == wanted

    # Once it is complete, nothing of the attempts is left, and the guest reads the same from the file.
    eventually(fresh, 300)
    eventually(lambda: not list(bases.glob(".*")), 60)
    eventually(lambda: not list(bases.glob("*.server/nbd")), 60)
    reader.run("sudo sh -c 'echo 3 >/proc/sys/vm/drop_caches'")
    assert reader.run(f"sudo sha256sum {there}", 600).split()[0] == wanted
    detach_and_delete(ec2, restored)
    eventually(lambda: names_in(bases) == before, 60)
    ec2.delete_snapshot(SnapshotId=snapshot)


def test_fio_finds_every_block_that_was_flushed(ec2: Any, pair: list[Guest], scratch: tuple[str, str]) -> None:
    """What fio flushed before the call is there to the last byte; what it wrote meanwhile is old or new, never in between."""
    volume, device = scratch
    login = pair[0].login()
    fio = GuestFio(login.argv)
    fio.install()
    job = ("--ioengine=psync", "--verify=crc32c", "--do_verify=0", "--verify_state_save=0", "--direct=1")
    quiet, busy = ("--bs=64k", "--size=64m"), ("--bs=4k", "--offset=128m", "--size=32m")
    fio.run(*job, *quiet, f"--filename={device}", "--rw=randwrite", "--fsync=16", "--end_fsync=1")
    fio.run(*job, *busy, f"--filename={device}", "--rw=write", "--fsync=64", "--end_fsync=1")
    digest = "sudo dd bs=1M count=64 2>/dev/null if={} | sha256sum"
    flushed = login.run(digest.format(device), 300)

    load = fio.command(
        *job, *busy, f"--filename={device}", "--rw=randwrite", "--norandommap", "--randrepeat=0", "--fsync=8",
        "--time_based", "--runtime=600",
    )  # fmt: skip
    login.run(f"sudo setsid sh -c 'echo $$ >/run/load; exec {' '.join(load[1:])}' </dev/null >/dev/null 2>&1 &")
    start = writes(login, device)
    eventually(lambda: writes(login, device) > start + 200, 60)
    before = writes(login, device)
    snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    eventually(lambda: writes(login, device) > before + 200, 60)
    completed(ec2, snapshot)
    at_the_end = writes(login, device)
    assert eventually(lambda: writes(login, device) > at_the_end, 60), "it wrote all the time"
    login.run("sudo kill $(cat /run/load)")

    restored = restore(ec2, snapshot, pair[1])
    reader = pair[1].login()
    there = attach(ec2, restored, pair[1], reader)
    other = GuestFio(reader.argv)
    other.install()
    check = ("--ioengine=psync", "--verify=crc32c", "--verify_state_save=0", "--rw=read", f"--filename={there}")
    for region in (quiet, busy):
        seen = other.run(*check, *region)
        assert seen["error"] == 0
        assert seen["read"]["io_bytes"] >= 32 << 20
    assert reader.run(digest.format(there), 300) == flushed
    detach_and_delete(ec2, restored)
    ec2.delete_snapshot(SnapshotId=snapshot)
