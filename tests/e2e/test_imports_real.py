"""A disk image of a foreign format, with a boot sector of its own: imported, launched by the firmware, exported again."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from e2e_machine import Machine, eventually

pytestmark = [pytest.mark.root, pytest.mark.vm, pytest.mark.slow]

SAID = b"imported and booted\r\n"
# A boot sector that writes its message to the serial port: cli; xor ax,ax; mov ds,ax; mov si,message; then lodsb; test al,al;
# jz stop; mov dx,0x3f8; out dx,al; jmp lodsb; stop: hlt; jmp stop.
CODE = bytes.fromhex("fa31c08ed8be167cac84c07406baf803eeebf5f4ebfd")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk of 3 MiB, as a compressed VMDK."""
    directory = tmp_path_factory.mktemp("image")
    disk = bytearray(3 << 20)
    disk[: len(CODE) + len(SAID)] = CODE + SAID
    disk[510:512] = b"\x55\xaa"
    disk[2 << 20 :] = bytes(range(256)) * 4096
    (directory / "disk.raw").write_bytes(disk)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized",
                    directory / "disk.raw", directory / "boots.vmdk"], check=True)  # fmt: skip
    return directory / "boots.vmdk"


@pytest.fixture(scope="module")
def imported(machine: Machine, image: Path) -> str:
    """The AMI's id."""
    return machine.pileus("ami", "import", str(image)).splitlines()[-1]


def test_it_boots_by_the_firmware(ec2: Any, imported: str) -> None:
    (described,) = ec2.describe_images(ImageIds=[imported])["Images"]
    assert (described["Name"], described["State"]) == ("boots", "available")
    launched = ec2.run_instances(ImageId=imported, InstanceType="t3.nano", MinCount=1, MaxCount=1)
    instance_id = launched["Instances"][0]["InstanceId"]
    try:

        def said() -> bool:
            return SAID.decode().strip() in ec2.get_console_output(InstanceId=instance_id, Latest=True).get(
                "Output", ""
            )

        eventually(said, 120)
    finally:
        ec2.terminate_instances(InstanceIds=[instance_id])
        ec2.get_waiter("instance_terminated").wait(InstanceIds=[instance_id])


def test_it_is_exported_as_it_came(machine: Machine, ec2: Any, imported: str, image: Path, tmp_path: Path) -> None:
    s3 = machine.client("s3")
    s3.create_bucket(Bucket="exported")
    task_id = ec2.export_image(ImageId=imported, DiskImageFormat="VHD", S3ExportLocation={"S3Bucket": "exported"})[
        "ExportImageTaskId"
    ]

    def status() -> Any:
        (task,) = ec2.describe_export_image_tasks(ExportImageTaskIds=[task_id])["ExportImageTasks"]
        assert task["Status"] != "deleted", task
        return task["Status"] == "completed"

    eventually(status, 120)
    s3.download_file("exported", f"{task_id}.vhd", str(tmp_path / "back.vhd"))
    subprocess.run(["qemu-img", "convert", "-f", "vpc", "-O", "raw", tmp_path / "back.vhd", tmp_path / "back.raw"],
                   check=True)  # fmt: skip
    with (tmp_path / "back.raw").open("rb") as back:
        assert back.read(3 << 20) == (image.parent / "disk.raw").read_bytes()


def test_a_hostile_image_is_refused(machine: Machine, tmp_path: Path) -> None:
    subprocess.run(["qemu-img", "create", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", tmp_path / "evil.qcow2", "1M"],
                   check=True, capture_output=True)  # fmt: skip
    argv = ["ami", "import", str(tmp_path / "evil.qcow2")]
    with pytest.raises(AssertionError, match="It can't be imported: ClientError: Disk validation failed"):
        machine.pileus(*argv)
