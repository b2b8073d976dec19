"""The QEMU command line, word by word where it matters."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from pileus.drivers.hypervisor.interface import Disk, DiskLayer
from pileus.drivers.hypervisor.qemu.command import Descriptors, command_line
from pileus.hostapi.spec import DiskSpec, GuestSpec, MetadataSpec, NicSpec

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
    vcpus=3,
    memory=768,
    image="c0ffee",
    disks=(DiskSpec(volume_id="vol-1", index=0, device_name="/dev/xvda", serial="vol1"),),
    nics=(NicSpec(interface_id="eni-1", mac="02:00:00:00:00:01", index=0),),
    metadata=METADATA,
)
DISKS = (
    Disk(
        volume_id="vol-1",
        index=0,
        serial="vol1",
        layers=(
            DiskLayer(path=Path("/v/top"), format="qcow2", writable=True),
            DiskLayer(path=Path("/i/middle"), format="qcow2", writable=False),
            DiskLayer(path=Path("/i/bottom"), format="raw", writable=False),
        ),
    ),
)
FDS = Descriptors(monitor=5, kernel=6, initrd=7, disks=((10, 11, 12),), taps=(13,))


def words(accelerator: str = "tcg", descriptors: Descriptors = FDS) -> list[str]:
    return command_line(
        accelerator=accelerator, guest=GUEST, cmdline="console=ttyS0", disks=DISKS, descriptors=descriptors
    )


def after(option: str, argv: list[str]) -> list[str]:
    return [argv[place + 1] for place, word in enumerate(argv) if word == option]


def decoded(option: str, argv: list[str]) -> list[dict[str, Any]]:
    return [msgspec.json.decode(word) for word in after(option, argv) if word.startswith("{")]


def test_processors_and_memory_are_as_asked() -> None:
    assert after("-smp", words()) == ["3,sockets=1,cores=3,threads=1"]
    assert after("-m", words()) == ["size=768M"]


def test_each_accelerator_has_its_processor_model() -> None:
    assert after("-cpu", words("kvm")) == ["host"]
    assert after("-accel", words("kvm")) == ["kvm"]
    assert after("-cpu", words("tcg")) == ["max"]
    with pytest.raises(KeyError):
        words("xen")


def test_a_chain_is_built_from_the_bottom_and_only_its_top_is_writable() -> None:
    nodes = decoded("-blockdev", words())
    assert [node["node-name"] for node in nodes] == [
        "disk0-2-file", "disk0-2", "disk0-1-file", "disk0-1", "disk0-0-file", "disk0-0",
    ]  # fmt: skip
    assert [node["read-only"] for node in nodes] == [True, True, True, True, False, False]
    by_name = {node["node-name"]: node for node in nodes}
    assert by_name["disk0-0"]["backing"] == "disk0-1"
    assert by_name["disk0-1"]["backing"] == "disk0-2"
    assert "backing" not in by_name["disk0-2"]  # raw has none
    assert by_name["disk0-0-file"]["filename"] == "/dev/fdset/10"


def test_a_disk_without_an_image_has_no_backing_and_looks_for_none() -> None:
    top = msgspec.structs.replace(DISKS[0], layers=DISKS[0].layers[:1])
    argv = command_line(
        accelerator="tcg",
        guest=msgspec.structs.replace(GUEST, nics=()),
        cmdline="",
        disks=[top],
        descriptors=Descriptors(monitor=5, disks=((10,),)),
    )
    assert decoded("-blockdev", argv)[-1]["backing"] is None


def test_the_first_disk_boots_and_every_disk_has_its_serial() -> None:
    (disk,) = [device for device in decoded("-device", words()) if device["driver"] == "virtio-blk-pci"]
    assert (disk["serial"], disk["bootindex"]) == ("vol1", 1)


def test_the_platform_is_recognised_as_ec2() -> None:
    tables = after("-smbios", words())
    assert f"type=1,manufacturer=Amazon EC2,product=t3.nano,serial={GUEST.uuid},uuid={GUEST.uuid}" in tables


def test_a_kernel_is_given_by_descriptor_and_firmware_needs_none() -> None:
    assert after("-kernel", words()) == ["/dev/fd/6"]
    assert after("-initrd", words()) == ["/dev/fd/7"]
    firmware = msgspec.structs.replace(FDS, kernel=None, initrd=None)
    assert "-kernel" not in words(descriptors=firmware)
    assert "-append" not in words(descriptors=firmware)


def test_no_file_of_ours_is_named() -> None:
    assert not [word for word in words() if "/v/" in word or "/i/" in word]
    assert FDS.all() == (5, 6, 7, 10, 11, 12, 13)


def test_a_missing_descriptor_is_noticed() -> None:
    with pytest.raises(ValueError, match="shorter"):
        words(descriptors=msgspec.structs.replace(FDS, taps=()))
