"""Volumes of real guests: fio beside a bare QEMU, the instant of a snapshot, what a second one uploads, a restore."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bare_guest import BareGuest  # pyright: ignore[reportMissingImports] - of tests/conformance
from guest_fio import GuestFio  # pyright: ignore[reportMissingImports] - of tests/conformance

from bench.measure import OURS, Aim, Row, in_turns
from bench.real import RealCloud, ssh
from bench.servers import RealPileus, running
from bench.wire import REGION

_BARE = "bare QEMU"
_MEMORY, _VCPUS, _TYPE = 2048, 2, "t3.small"
_GIB = 1 << 30
_DISK = 100
"""GiB of the measured volume, of which the jobs use one."""

_JOBS: dict[str, Sequence[str]] = {
    "4k random read": ("--rw=randread", "--bs=4k", "--iodepth=16"),
    "4k random write": ("--rw=randwrite", "--bs=4k", "--iodepth=16"),
    "1 MiB sequential read": ("--rw=read", "--bs=1m", "--iodepth=4"),
    "1 MiB sequential write": ("--rw=write", "--bs=1m", "--iodepth=4"),
}


class _Cloud(RealCloud):
    """A cloud with one guest, and its volumes."""

    def __init__(self, cloud: RealPileus, directory: Path) -> None:
        super().__init__(cloud, directory)
        self.instance = self.launch(_TYPE)
        self.guest = self.login(self.instance)
        self.fio = GuestFio(self.guest)

    def volume(self, size: int, **parameters: Any) -> str:
        """A volume in the guest, fast enough not to be what is measured. Returns its device in the guest."""
        wanted = {"AvailabilityZone": f"{REGION}a", "Size": size, "VolumeType": "io2", "Iops": min(64000, 500 * size)}
        volume = self.ask("CreateVolume", {**wanted, **parameters})["volumeId"]
        self.until("DescribeVolumes", {"VolumeId.1": volume}, "status", "available")
        self.attach(volume)
        return volume

    def attach(self, volume: str) -> None:
        """Attaches a volume under the next free name."""
        taken = self.launcher.call("DescribeVolumes", {}).decode()
        name = next(f"/dev/sd{letter}" for letter in "fghijklmnop" if f"/dev/sd{letter}<" not in taken)
        self.ask("AttachVolume", {"VolumeId": volume, "InstanceId": self.instance, "Device": name})

    def device(self, volume: str) -> str:
        """The volume's device in the guest, once it is there."""
        serial = volume.replace("-", "")
        find = f"until d=$(grep -l {serial} /sys/block/*/serial 2>/dev/null); do sleep 0.05; done"
        return ssh(self.guest, f"{find}; echo /dev/$(basename $(dirname $d))")

    def snapshot(self, volume: str) -> tuple[str, float]:
        """A snapshot's id, and the seconds until the call was answered: its instant is over then."""
        begin = time.perf_counter()
        snapshot = self.ask("CreateSnapshot", {"VolumeId": volume})["snapshotId"]
        seconds = time.perf_counter() - begin
        self.until("DescribeSnapshots", {"SnapshotId.1": snapshot}, "status", "completed")
        return snapshot, seconds

    def stored(self) -> int:
        """Bytes in the block store."""
        return sum(file.stat().st_size for file in self.cloud.blocks.rglob("*") if file.is_file())


def measure() -> Iterator[Row]:
    """All rows of real guests' disks."""
    cloud = RealPileus("tiny")
    with tempfile.TemporaryDirectory(prefix="bench-disks-") as directory, running(cloud):
        ours = _Cloud(cloud, Path(directory))
        ours.fio.install()
        yield from _throughput(ours, cloud)
        yield from _snapshots(ours)


def _throughput(ours: _Cloud, cloud: RealPileus) -> Iterator[Row]:
    options = "kvm" if cloud.accelerator == "kvm" else "tcg,thread=multi,tb-size=128"
    device = ours.device(ours.volume(_DISK))
    extra = _DISK * _GIB
    with BareGuest(cloud.image, memory=_MEMORY, vcpus=_VCPUS, accelerator=options, second_disk=extra) as bare:
        bare.start()
        bare.wait_for_ssh(240)
        fio = GuestFio(bare.login())
        fio.install()
        subjects = {OURS: (ours.fio, device), _BARE: (fio, "/dev/vdb")}
        for machine, disk in subjects.values():
            machine.run(f"--filename={disk}", "--rw=write", "--bs=1m", "--size=1g", "--direct=1", "--ioengine=libaio")
        for what, job in _JOBS.items():

            def subject(machine: GuestFio, disk: str, job: Sequence[str] = job) -> Callable[[], float]:
                return lambda: _rate(machine, disk, job)

            medians = in_turns({name: subject(*pair) for name, pair in subjects.items()}, rounds=5, budget=120)
            aim = Aim("at least", 0.95, _BARE)
            yield Row(what=f"fio, {what} ({cloud.accelerator})", unit="MB/s", medians=medians, aim=aim)


def _rate(machine: GuestFio, disk: str, job: Sequence[str]) -> float:
    """Megabytes a second that fio read or wrote."""
    result = machine.run(
        f"--filename={disk}", *job, "--size=1g", "--direct=1", "--ioengine=libaio", "--time_based", "--runtime=5",
        "--randrepeat=0",
    )  # fmt: skip
    return (result["read"]["bw_bytes"] + result["write"]["bw_bytes"]) / 1e6


def _snapshots(ours: _Cloud) -> Iterator[Row]:
    for size in (1, 8):
        volume = ours.volume(size)
        device = ours.device(volume)
        _fill(ours, device, size)
        first, _ = ours.snapshot(volume)
        before = ours.stored()
        _change(ours, device, size)
        _, seconds = ours.snapshot(volume)
        aim = Aim("at most", 0.05)
        yield Row(what=f"CreateSnapshot to its instant, {size} GiB", unit="s", medians={OURS: seconds}, aim=aim)
        megabytes = (ours.stored() - before) / 1e6
        yield Row(what=f"uploaded after a change of 1 %, {size} GiB", unit="MB", medians={OURS: megabytes})
        yield Row(
            what=f"CreateVolume to the first read, {size} GiB", unit="s", medians={OURS: _restore(ours, first, size)}
        )


def _fill(ours: _Cloud, device: str, size: int) -> None:
    """Random bytes from end to end, on the disk when this returns."""
    ours.fio.run(
        f"--filename={device}", "--rw=write", "--bs=1m", f"--size={size}g", "--direct=1", "--ioengine=libaio",
        "--refill_buffers", "--end_fsync=1",
    )  # fmt: skip


def _change(ours: _Cloud, device: str, size: int) -> None:
    """A hundredth of it, in one piece."""
    ours.fio.run(
        f"--filename={device}", "--rw=write", "--bs=64k", f"--size={size * _GIB // 100 // 65536 * 65536}", "--direct=1",
        "--ioengine=libaio", "--refill_buffers", "--end_fsync=1", "--randseed=7",
    )  # fmt: skip


def _restore(ours: _Cloud, snapshot: str, size: int) -> float:
    """Seconds from CreateVolume until the guest has read a block of the new volume."""
    begin = time.perf_counter()
    device = ours.device(ours.volume(size, SnapshotId=snapshot))
    ssh(ours.guest, f"sudo dd if={device} of=/dev/null bs=4096 count=1 skip=1000 iflag=direct 2>/dev/null")
    return time.perf_counter() - begin
