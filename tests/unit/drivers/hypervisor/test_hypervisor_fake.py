"""What the fake hypervisor lets a test arrange."""

import pytest

from pileus.drivers.errors import RetryableError
from pileus.drivers.hypervisor.fake import FakeHost, FakeHypervisor
from pileus.drivers.hypervisor.interface import BootFiles
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
