"""What the fake hypervisor lets a test arrange."""

from pathlib import Path

import msgspec
import pytest

from pileus.drivers.errors import RetryableError
from pileus.drivers.hypervisor.fake import FakeHost, FakeHypervisor
from pileus.drivers.hypervisor.interface import BootFiles, Disk, DiskLayer
from pileus.hostapi.spec import GuestSpec, MetadataSpec

METADATA = MetadataSpec(
    instance_id="i-1",
    account="123456789012",
    region="us-east-1",
    zone="us-east-1a",
    zone_id="use1-az1",
    image_id="ami-1",
    instance_type="t3.nano",
    reservation_id="r-1",
    launch_index=0,
    architecture="x86_64",
    pending_time="2026-11-23T00:00:00.000Z",
    local_hostname="ip-10-0-0-4.ec2.internal",
    interfaces=(),
    security_groups=(),
)
GUEST = GuestSpec(
    instance_id="i-1",
    boot=1,
    power="on",
    uuid="ec2a0000-0000-0000-0000-000000000001",
    vcpus=1,
    memory=512,
    image="c0ffee",
    disks=(),
    nics=(),
    metadata=METADATA,
)


async def test_guests_live_on_the_host_and_another_driver_finds_them() -> None:
    host = FakeHost()
    await FakeHypervisor(host).ensure_running(GUEST, BootFiles(), (), {})
    (state,) = await FakeHypervisor(host).observe()
    assert (state.instance_id, state.running) == ("i-1", True)


async def test_the_next_start_can_be_made_to_fail_once() -> None:
    host = FakeHost()
    hypervisor = FakeHypervisor(host)
    host.fail_next = RetryableError("no")
    with pytest.raises(RetryableError):
        await hypervisor.ensure_running(GUEST, BootFiles(), (), {})
    assert not await hypervisor.observe()
    await hypervisor.ensure_running(GUEST, BootFiles(), (), {})
    assert host.starts == ["i-1"]


async def test_what_befalls_a_guest_is_seen_and_told() -> None:
    host = FakeHost()
    hypervisor = FakeHypervisor(host)
    told: list[str] = []
    await hypervisor.open(told.append)
    await hypervisor.ensure_running(GUEST, BootFiles(), (), {})
    told.clear()
    host.panic("i-1")
    assert host.guests["i-1"].impaired
    host.guest_reboot("i-1")
    assert not host.guests["i-1"].impaired
    host.crash("i-1")
    assert host.guests["i-1"].cause == "crash"
    assert told == ["i-1", "i-1", "i-1"]
    await hypervisor.ensure_running(GUEST, BootFiles(), (), {})
    host.restart()
    assert host.guests["i-1"].cause == "host-restart"


async def test_a_guest_may_ignore_its_power_button() -> None:
    host = FakeHost()
    hypervisor = FakeHypervisor(host)
    await hypervisor.ensure_running(GUEST, BootFiles(), (), {})
    host.ignores_power_button.add("i-1")
    await hypervisor.press_power_button("i-1")
    assert host.guests["i-1"].running
    await hypervisor.cut_power("i-1")
    assert not host.guests["i-1"].running


def a_disk(volume_id: str, name: str = "top") -> Disk:
    layer = DiskLayer(path=Path("/fake") / volume_id / name, format="qcow2", writable=True, mergeable=True)
    return Disk(volume_id=volume_id, index=1, serial=volume_id.replace("-", ""), layers=(layer,))


async def running(*disks: Disk) -> tuple[FakeHost, FakeHypervisor]:
    host = FakeHost()
    hypervisor = FakeHypervisor(host)
    await hypervisor.ensure_running(GUEST, BootFiles(), disks, {})
    return host, hypervisor


@pytest.mark.parametrize("operation", ["plug", "unplug", "freeze", "merge", "swap_base"])
async def test_any_work_on_disks_can_be_made_to_fail_once(operation: str) -> None:
    disk = a_disk("vol-1")
    host, hypervisor = await running(disk)
    top = a_disk("vol-1", "fresh").layers[0]
    base = DiskLayer(path=Path("/fake/base"), format="raw", writable=False)

    async def work() -> None:
        match operation:
            case "plug":
                await hypervisor.plug("i-1", a_disk("vol-2"))
            case "unplug":
                await hypervisor.unplug("i-1", "vol-1")
            case "freeze":
                await hypervisor.freeze("i-1", {"vol-1": top})
            case "merge":
                await hypervisor.merge("i-1", "vol-1", disk.layers[0].path)
            case _:
                await hypervisor.swap_base("i-1", "vol-1", base)

    if operation in {"merge", "swap_base"}:
        await hypervisor.freeze("i-1", {"vol-1": top})
    if operation == "merge":
        over = a_disk("vol-1", "over").layers[0]
        await hypervisor.freeze("i-1", {"vol-1": over})
        disk = msgspec.structs.replace(disk, layers=(top,))
    before = dict(host.disks["i-1"])
    host.fail_on[operation] = RetryableError("no")
    with pytest.raises(RetryableError):
        await work()
    assert host.disks["i-1"] == before
    await work()
    assert host.disks["i-1"] != before


async def test_a_guest_may_keep_a_disk_until_it_lets_go_or_is_forced() -> None:
    host, hypervisor = await running(a_disk("vol-1"), a_disk("vol-2"))
    host.keeps_disks.add("i-1")
    await hypervisor.unplug("i-1", "vol-1")
    await hypervisor.unplug("i-1", "vol-2")
    assert host.guests["i-1"].volumes == ("vol-1", "vol-2")
    with pytest.raises(RetryableError):
        await hypervisor.plug("i-1", a_disk("vol-1"))
    await hypervisor.unplug("i-1", "vol-2", force=True)
    assert host.guests["i-1"].volumes == ("vol-1",)
    host.lets_go("i-1")
    assert host.guests["i-1"].volumes == ()
    await hypervisor.plug("i-1", a_disk("vol-1"))
    assert host.guests["i-1"].volumes == ("vol-1",)


async def test_volumes_of_one_freeze_share_an_instant_and_a_repeated_one_is_none() -> None:
    host, hypervisor = await running(a_disk("vol-1"), a_disk("vol-2"))
    tops = {volume: a_disk(volume, "fresh").layers[0] for volume in ("vol-1", "vol-2")}
    await hypervisor.freeze("i-1", tops)
    await hypervisor.freeze("i-1", tops)
    assert host.freezes == [("vol-1", "vol-2")]
    assert [layer.path.name for layer in host.disks["i-1"]["vol-1"].layers] == ["fresh", "top"]
    assert not host.disks["i-1"]["vol-1"].layers[1].writable


async def test_the_layers_of_a_disk_that_is_there_need_not_be_named() -> None:
    host, hypervisor = await running(a_disk("vol-1"))
    bare = msgspec.structs.replace(a_disk("vol-1"), layers=(), iops=100)
    await hypervisor.plug("i-1", bare)
    assert (host.disks["i-1"]["vol-1"].iops, len(host.disks["i-1"]["vol-1"].layers)) == (100, 1)
    with pytest.raises(RetryableError):
        await hypervisor.plug("i-1", msgspec.structs.replace(bare, volume_id="vol-2"))
    assert host.guests["i-1"].volumes == ("vol-1",)
