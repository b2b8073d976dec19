"""The smallest real guest: Debian's cloud kernel and an initramfs of busybox that says what machine it finds.

What it does then is told by ``do=`` on the kernel command line: ``poweroff``, ``panic``, ``reboot`` (once: it leaves a
mark on its disk), ``serve`` (TCP on port 7 of 10.9.0.2) or nothing, until the power button; ``deaf`` ignores that.

With ``disks`` it tells of every disk that comes (``SEES <serial> <size>``), grows or goes (``LOST <serial> <size>``), and
runs what it finds at the disk's beginning if that is a shell script (``program``), with ``$disk`` and ``$serial`` set.
Interfaces are told of likewise (``SEES eth1 <mac>``, ``LOST eth1``); eth<n> gets the address 10.9.<n>.2, whose port 7
echoes.
"""

import fcntl
import shutil
import tempfile
from pathlib import Path

import msgspec
import pytest

from pileus.base import process
from pileus.drivers.hypervisor.interface import BootFiles
from pileus.drivers.image.build.kernel import META_PACKAGE, Kernel, image_package
from pileus.drivers.image.build.packages import Archive
from pileus.hostapi.spec import DiskSpec, GuestSpec, MetadataSpec, NicSpec

CACHE = Path.home() / ".cache" / "pileus-tests"
MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "button", "evdev", "pvpanic_mmio")

INIT = r"""#!/bin/sh
/bin/busybox --install -s /bin
mount -t proc none /proc; mount -t sysfs none /sys; mount -t devtmpfs none /dev
for module in /modules/*; do insmod $module; done
printf '\r\n'
dmi=/sys/class/dmi/id
echo "FOUND processors $(nproc)"
echo "FOUND memory $(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo)"
echo "FOUND uuid $(cat $dmi/product_uuid)"
echo "FOUND serial $(cat $dmi/product_serial)"
echo "FOUND vendor $(cat $dmi/sys_vendor)"
echo "FOUND asset $(cat $dmi/board_asset_tag)"
for disk in /sys/block/vd*; do
    echo "FOUND disk $(basename $disk) $(($(cat $disk/size) * 512)) $(cat $disk/serial)"
done
for nic in /sys/class/net/eth*; do echo "FOUND nic $(basename $nic) $(cat $nic/address)"; done
do=$(sed -n 's/.*do=\([a-z]*\).*/\1/p' /proc/cmdline)
if [ "$do" != deaf ]; then
    for input in /dev/input/event*; do
        (head -c 24 $input > /dev/null; [ "$do" = twice ] && head -c 96 $input > /dev/null; echo "PRESSED"; poweroff -f) &
    done
fi
case $do in
poweroff) poweroff -f ;;
panic) echo "PANIC SOON"; echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger ;;
reboot)
    if [ "$(head -c 4 /dev/vda)" = mark ]; then echo "FOUND mark"; else
        printf mark | dd of=/dev/vda conv=fsync,notrunc 2> /dev/null; echo "REBOOTING"; reboot -f; fi ;;
serve)
    ip link set eth0 up; ip address add 10.9.0.2/24 dev eth0
    echo "SERVING"; nc -ll -p 7 -e cat ;;
disks)
    mkdir /seen /links; nc -ll -p 7 -e cat & echo "READY"
    while :; do
        for path in /sys/block/vd*; do
            disk=$(basename $path)  # which may go at any moment
            serial=$(cat $path/serial 2> /dev/null) && sectors=$(cat $path/size 2> /dev/null) || continue
            now="$serial $((sectors * 512))"; before=$(cat /seen/$disk 2> /dev/null)
            [ "$now" = "$before" ] && continue
            echo "SEES $now"; echo "$now" > /seen/$disk
            [ "${before% *}" = "$serial" ] && continue
            head -c 4096 /dev/$disk | tr -d '\0' > /program-$serial
            if [ "$(head -c 2 /program-$serial)" = "#!" ]; then disk=$disk serial=$serial sh /program-$serial & fi
        done
        for path in /sys/class/net/eth*; do
            nic=$(basename $path); number=$(cat $path/ifindex 2> /dev/null) || continue
            [ "$number" = "$(cat /links/$nic 2> /dev/null)" ] && continue
            ip link set $nic up; ip address add 10.9.${nic#eth}.2/24 dev $nic
            echo "SEES $nic $(cat $path/address)"; echo $number > /links/$nic
        done
        for link in /links/*; do
            [ -e $link ] && ! [ -e /sys/class/net/${link#/links/} ] && { echo "LOST ${link#/links/}"; rm $link; }
        done
        for seen in /seen/*; do
            [ -e $seen ] && ! [ -e /sys/block/$(basename $seen) ] && { echo "LOST $(cat $seen)"; rm $seen; }
        done
        sleep 0.05
    done ;;
esac
echo "READY"
while :; do sleep 3600; done
"""

PROGRAM_SIZE = 4096


def program(*lines: str) -> bytes:
    """What makes a guest with ``do=disks`` run these lines, to be put at a disk's beginning."""
    text = "\n".join(("#!/bin/sh", *lines, "")).encode()
    assert len(text) <= PROGRAM_SIZE
    return text.ljust(PROGRAM_SIZE, b"\0")


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


def guest_spec(
    instance_id: str = "i-1", boot: int = 1, do: str = "", *, nic: bool = False, memory: int = 128
) -> GuestSpec:
    """A guest with one vCPU, and one disk whose volume is named after it."""
    return GuestSpec(
        instance_id=instance_id,
        boot=boot,
        power="on",
        uuid="ec2a1b2c-0000-4000-8000-000000000001",
        vcpus=1,
        memory=memory,
        image="c0ffee",
        disks=(
            DiskSpec(volume_id=f"vol-{instance_id}", index=0, device_name="/dev/xvda", serial=f"vol{instance_id[2:]}"),
        ),
        nics=(NicSpec(interface_id="eni-1", mac="02:00:00:00:00:07", index=0),) if nic else (),
        metadata=msgspec.structs.replace(METADATA, instance_id=instance_id),
        cmdline=f"do={do}" if do else "",
    )


def boot_files() -> BootFiles:
    """The guest's kernel and initramfs, made at first use and kept in the developer's cache."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        tree = CACHE / "packages"
        if not tree.exists():
            _unpack(tree)
        kernel = Kernel(tree, tree / "bin/busybox")
        initrd = CACHE / "initrd"
        _write_initrd(kernel, tree, initrd)
    # Printing the kernel's own messages takes an emulated guest longer than everything else.
    return BootFiles(
        kernel=kernel.image, initrd=initrd, cmdline="console=ttyS0 quiet panic=0 tsc=reliable no_timer_check"
    )


def _unpack(target: Path) -> None:
    try:
        archive = Archive("bookworm", CACHE / "debs")
        (meta,) = archive.candidates([META_PACKAGE])
        files = archive.fetch(archive.candidates([image_package(meta.depends), "busybox-static"]))
    except process.ProcessError as error:
        pytest.fail(f"the test's guest needs Debian's kernel: {error}")
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        for file in files:
            process.run_sync("dpkg-deb", "--extract", str(file), f"{scratch}/tree")
        Path(scratch, "tree").rename(target)


def _write_initrd(kernel: Kernel, tree: Path, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        root = Path(directory)
        for name in ("bin", "dev", "modules", "proc", "sys"):
            (root / name).mkdir()
        shutil.copy(tree / "bin/busybox", root / "bin/busybox")
        (root / "bin/sh").symlink_to("busybox")
        (root / "init").write_text(INIT)
        (root / "init").chmod(0o755)
        for number, module in enumerate(kernel.modules(MODULES)):
            shutil.copy(tree / module, root / f"modules/{number:02}-{module.name}")
        names = "".join(f"{path.relative_to(root)}\n" for path in sorted(root.rglob("*")))
        archive = process.run_sync(
            str(root / "bin/busybox"), "cpio", "-o", "-H", "newc", stdin=names.encode(), cwd=root
        )
    fresh = target.with_suffix(".new")
    fresh.write_bytes(archive)
    fresh.chmod(0o644)
    fresh.replace(target)
