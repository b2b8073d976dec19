"""The QEMU command line, word by word where it matters."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from pileus.drivers.errors import PermanentError
from pileus.drivers.hypervisor.interface import Disk, DiskLayer
from pileus.drivers.hypervisor.qemu.command import Descriptors, command_line
from pileus.drivers.hypervisor.qemu.layers import OpenLayer
from pileus.drivers.hypervisor.qemu.nodes import (
    check,
    dead_end,
    file_node,
    is_of,
    limits,
    merge_filter,
    node_of,
    server,
    stem,
)
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
LAYERS = tuple(
    OpenLayer(
        layer=layer,
        node=node_of("vol-1", layer),
        reader=10 + 2 * place,
        writer=11 + 2 * place if layer.writable else None,
    )
    for place, layer in enumerate(DISKS[0].layers)
)
TOP, MIDDLE, BOTTOM = (layer.node for layer in LAYERS)
FDS = Descriptors(monitor=5, kernel=6, initrd=7, disks=(LAYERS,), taps=(17,))


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
        f"{BOTTOM}f", BOTTOM, f"{MIDDLE}f", MIDDLE, f"{TOP}f", TOP, "vol-1",
    ]  # fmt: skip
    assert [node.get("read-only") for node in nodes] == [True, True, True, True, False, False, None]
    by_name = {node["node-name"]: node for node in nodes}
    assert by_name["vol-1"]["file"] == TOP
    assert by_name[TOP]["backing"] == MIDDLE
    assert by_name[MIDDLE]["backing"] == BOTTOM
    assert "backing" not in by_name[BOTTOM]  # raw has none
    assert by_name[f"{TOP}f"]["filename"] == "/dev/fdset/10"
    assert after("-add-fd", words())[-2:] == [
        f"fd=10,set=10,opaque={TOP} /v/top", f"fd=11,set=10,opaque={TOP} /v/top",
    ]  # fmt: skip


def test_names_fit_into_qemu_s_limit_whatever_the_volume_s_id() -> None:
    for volume_id in ("vol-0123456789abcdef0", "vol-" + 60 * "a"):
        node = node_of(volume_id, DISKS[0].layers[0])
        names = [node, file_node(node), merge_filter(volume_id), *dead_end(volume_id), stem(volume_id)]
        assert max(len(name) for name in names) <= 31
        assert all(is_of(name, volume_id) for name in names)
        assert not any(is_of(name, "vol-0123456789abcdef") for name in names)
        assert len(set(names)) == len(names)


def test_limits_are_those_of_the_disk_and_none_is_without_limit() -> None:
    (group,) = [made for made in decoded("-object", words()) if made["qom-type"] == "throttle-group"]
    assert group == {"qom-type": "throttle-group", "id": "vol-1", "limits": {"iops-total": 0, "bps-total": 0}}
    limited = msgspec.structs.replace(DISKS[0], iops=100, throughput=1 << 20)
    assert limits(limited) == {"iops-total": 100, "bps-total": 1 << 20}


def test_a_key_is_in_no_word_of_the_command_line() -> None:
    key = bytes(range(32))
    layer = msgspec.structs.replace(DISKS[0].layers[0], key=key)
    disk = msgspec.structs.replace(DISKS[0], layers=(layer,))
    opened = OpenLayer(layer=layer, node=TOP, reader=10, writer=11, key=12)
    argv = command_line(
        accelerator="tcg",
        guest=msgspec.structs.replace(GUEST, nics=()),
        cmdline="",
        disks=[disk],
        descriptors=Descriptors(monitor=5, disks=((opened,),)),
    )
    assert not any(key.hex() in word for word in argv)
    assert key.hex() not in repr(layer)
    assert "\\x01" not in repr(layer)
    assert {"qom-type": "secret", "id": f"{TOP}k", "file": "/dev/fd/12"} in decoded("-object", argv)
    assert 12 in Descriptors(monitor=5, disks=((opened,),)).all()
    (data,) = [node for node in decoded("-blockdev", argv) if node["node-name"] == TOP]
    assert data["encrypt"] == {"format": "luks", "key-secret": f"{TOP}k"}


def test_a_server_is_reached_through_its_directory() -> None:
    layer = DiskLayer(path=Path("/s/vol/socket"), format="nbd", writable=False, export="e")
    properties = server("vol-1.x", layer, 9)
    assert properties["server"] == {"type": "unix", "path": "/proc/self/fd/9/socket"}
    assert (properties["export"], properties["read-only"]) == ("e", True)


@pytest.mark.parametrize("volume_id", ["", "1vol", "vol.1", "vol 1", "vol-é"])
def test_what_is_no_volume_id_is_refused(volume_id: str) -> None:
    with pytest.raises(PermanentError):
        check(msgspec.structs.replace(DISKS[0], volume_id=volume_id))


def test_a_disk_without_an_image_has_no_backing_and_looks_for_none() -> None:
    top = msgspec.structs.replace(DISKS[0], layers=DISKS[0].layers[:1])
    argv = command_line(
        accelerator="tcg",
        guest=msgspec.structs.replace(GUEST, nics=()),
        cmdline="",
        disks=[top],
        descriptors=Descriptors(monitor=5, disks=(LAYERS[:1],)),
    )
    assert decoded("-blockdev", argv)[-2]["backing"] is None


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


def test_no_file_of_ours_is_opened_by_name() -> None:
    named = [word for word in words() if "/v/" in word or "/i/" in word]
    assert named == after("-add-fd", words())  # where the name is but a label
    assert FDS.all() == (5, 6, 7, 10, 11, 12, 14, 17)


def test_a_missing_descriptor_is_noticed() -> None:
    with pytest.raises(ValueError, match="shorter"):
        words(descriptors=msgspec.structs.replace(FDS, taps=()))
