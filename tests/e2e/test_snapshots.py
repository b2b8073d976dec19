"""Snapshots of disks that real guests write to: one instant, every flushed byte, nothing later, however hosts are killed."""

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from e2e_guests import Guest, Launcher
from e2e_host import Host
from e2e_machine import Machine, eventually
from e2e_snapshots import (
    BLOCK,
    attach,
    check_file_system,
    check_files,
    completed,
    detach_and_delete,
    files_in,
    flushed,
    read_snapshot,
    root_volume,
    start_writer,
    stop_writer,
)

from pileus.records import Snapshot

pytestmark = [pytest.mark.vm, pytest.mark.root, pytest.mark.slow]

MIB = 1 << 20


@pytest.fixture(scope="module")
def host(machine: Machine) -> Host:
    return Host(machine, range(*Host.default_uids()))


@pytest.fixture(scope="module")
def ebs(machine: Machine) -> Any:
    return machine.client("ebs")


@pytest.fixture(scope="module")
def writing(shared_launch: Launcher) -> Guest:
    """A guest that writes all the time."""
    (guest,) = shared_launch("tiny")
    start_writer(guest.login())
    return guest


@pytest.fixture(scope="module")
def reader(shared_launch: Launcher) -> Guest:
    """A guest to look at disks with."""
    (guest,) = shared_launch("tiny")
    guest.login()
    return guest


@pytest.fixture
def kept(ec2: Any) -> Iterator[list[str]]:
    """Snapshots that are deleted after the test."""
    made: list[str] = []
    yield made
    for snapshot_id in made:
        ec2.delete_snapshot(SnapshotId=snapshot_id)


def uploaded(host: Host, snapshot_id: str) -> int:
    """How many bytes the host had to send for it."""
    with host.store() as store:
        snapshot = store.view().get(Snapshot, snapshot_id)
    assert snapshot is not None
    return snapshot.uploaded_bytes


def test_a_snapshot_under_load(
    ec2: Any, ebs: Any, host: Host, writing: Guest, reader: Guest, kept: list[str], tmp_path: Path
) -> None:
    login, volume = writing.login(), root_volume(writing)
    before = flushed(login)
    snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    after = flushed(login)
    kept.append(snapshot)
    eventually(lambda: flushed(login) > after + 5, 60)
    completed(ec2, snapshot)

    # As anybody reads it who has the API.
    image = tmp_path / "first.raw"
    assert read_snapshot(ebs, snapshot, image) > 10
    check_file_system(image)
    check_files(files_in(image, tmp_path / "first"), before, after)

    # As another guest has it, at once: its kernel replays the journal.
    zone = writing.describe()["Placement"]["AvailabilityZone"]
    restored = ec2.create_volume(SnapshotId=snapshot, AvailabilityZone=zone, VolumeType="gp3")["VolumeId"]
    other = reader.login()
    device = attach(ec2, restored, reader, other)
    other.run(f"sudo mkdir -p /mnt/r && sudo mount {device} /mnt/r")
    bad = other.run(
        "cd /mnt/r/data && for n in $(ls | grep -v sum); do "
        'want=$(cut -d" " -f1 $n.sum); [ "$(sha256sum <$n | cut -d" " -f1)" = "$want" ] || echo $n; done',
        timeout=300,
    )
    assert all(int(number) > before for number in bad.split())
    names = [int(name) for name in other.run("ls /mnt/r/data | grep -v sum").split()]
    assert set(range(1, before + 1)) <= set(names)
    assert max(names) <= after + 1
    # What is written to the restored volume is its own.
    other.run("sudo sh -c 'echo mine >/mnt/r/mine' && sync && sudo umount /mnt/r")
    detach_and_delete(ec2, restored)

    # The next one has what was written meanwhile, and sends only what changed.
    second = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    kept.append(second)
    told = completed(ec2, second)
    assert uploaded(host, second) < told["FullSnapshotSizeInBytes"] / 2
    # The first can go; the second stays whole.
    ec2.delete_snapshot(SnapshotId=kept.pop(0))
    image = tmp_path / "second.raw"
    read_snapshot(ebs, second, image)
    check_file_system(image)
    check_files(files_in(image, tmp_path / "second"), after, 1 << 30)


def test_kills_while_it_is_uploaded(
    machine: Machine, ec2: Any, ebs: Any, host: Host, writing: Guest, kept: list[str], tmp_path: Path
) -> None:
    """The agent, the controllers and the storage process die by SIGKILL in the middle, again and again."""
    login, volume = writing.login(), root_volume(writing)
    dice = random.Random(20261123)
    for turn in range(3):
        login.run(f"sudo dd if=/dev/urandom of=/ballast bs=1M count=40 conv=notrunc seek={turn * 40} && sync", 120)
        before = flushed(login)
        snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
        after = flushed(login)
        kept.append(snapshot)
        for name in dice.sample(["agent", "controller", "storage"], 3):
            time.sleep(dice.random())
            process = eventually(lambda name=name: host.control_plane().get(name), 60)
            _kill(process.pid)
        completed(ec2, snapshot)
        image = tmp_path / f"{turn}.raw"
        read_snapshot(ebs, snapshot, image)
        check_file_system(image)
        check_files(files_in(image, tmp_path / f"{turn}"), before, after)
        image.unlink()


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def test_the_guest_s_process_dies_in_the_middle(
    ec2: Any, ebs: Any, host: Host, shared_launch: Launcher, kept: list[str], tmp_path: Path
) -> None:
    """QEMU dies while a snapshot is uploaded: the snapshot is whole, and the guest comes back with what it had flushed."""
    (guest,) = shared_launch("tiny")
    login = guest.login()
    start_writer(login)
    before = flushed(login)
    snapshot = ec2.create_snapshot(VolumeId=root_volume(guest))["SnapshotId"]
    kept.append(snapshot)
    after = flushed(login)
    late = eventually(lambda: flushed(login) if flushed(login) > after + 3 else 0, 60)
    for process in host.guests()[guest.id]:
        _kill(process.pid)
    completed(ec2, snapshot)
    image = tmp_path / "image.raw"
    read_snapshot(ebs, snapshot, image)
    check_file_system(image)
    check_files(files_in(image, tmp_path / "files"), before, after)
    login = guest.login()
    there = [int(name) for name in login.run("ls /data | grep -v sum").split()]
    assert set(range(1, late + 1)) <= set(there)


def test_deleted_in_the_middle(ec2: Any, host: Host, writing: Guest, kept: list[str]) -> None:
    login, volume = writing.login(), root_volume(writing)
    login.run("sudo dd if=/dev/urandom of=/ballast bs=1M count=60 conv=notrunc && sync", 120)
    ec2.delete_snapshot(SnapshotId=ec2.create_snapshot(VolumeId=volume)["SnapshotId"])
    snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    kept.append(snapshot)
    completed(ec2, snapshot)
    before = flushed(login)
    eventually(lambda: flushed(login) > before + 2, 60)


def test_damage_is_noticed_and_named(
    machine: Machine, ec2: Any, ebs: Any, host: Host, writing: Guest, reader: Guest, kept: list[str], tmp_path: Path
) -> None:
    login, volume = writing.login(), root_volume(writing)
    stop_writer(login)
    login.run("sudo dd if=/dev/urandom of=/unique bs=1M count=4 && sync", 60)
    known = set(_blocks(host))
    snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    kept.append(snapshot)
    completed(ec2, snapshot)
    victim = max((path for path in _blocks(host) if path not in known), key=_size)
    assert _size(victim) > BLOCK // 2, "blocks of random bytes can't be compressed"
    with victim.open("r+b") as file:
        file.seek(_size(victim) // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 0xFF]))
    with pytest.raises(ClientError, match=victim.name):
        read_snapshot(ebs, snapshot, tmp_path / "damaged.raw")
    assert victim.name in machine.logs()

    # A guest's read fails: what it gets is never something else.
    zone = writing.describe()["Placement"]["AvailabilityZone"]
    restored = ec2.create_volume(SnapshotId=snapshot, AvailabilityZone=zone, VolumeType="gp3")["VolumeId"]
    other = reader.login()
    device = attach(ec2, restored, reader, other)
    done = other.try_run(f"sudo dd if={device} of=/dev/null bs=512k", 120)
    assert done.returncode != 0, done.stderr
    detach_and_delete(ec2, restored)


def _blocks(host: Host) -> list[Path]:
    """The files of the block store."""
    return [path for path in (host.layout.blocks / "blocks").rglob("*") if path.is_file()]


def _size(path: Path) -> int:
    return path.stat().st_size
