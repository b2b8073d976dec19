"""Modules are loaded in the order in which they need each other."""

from pathlib import Path

from pileus.drivers.image.build.kernel import Kernel

RELEASE = "6.1.0-37-cloud-amd64"
INDEX = """\
kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/virtio/virtio_ring.ko:
kernel/drivers/virtio/virtio-rng.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
"""


def test_modules_come_after_what_they_need_and_once(tmp_path: Path) -> None:
    modules = tmp_path / "lib/modules" / RELEASE
    modules.mkdir(parents=True)
    (modules / "modules.dep").write_text(INDEX)
    kernel = Kernel(tmp_path, tmp_path / "bin/busybox")
    assert kernel.release == RELEASE
    assert [path.name for path in kernel.modules(["virtio_rng", "virtio"])] == [
        "virtio_ring.ko",
        "virtio.ko",
        "virtio-rng.ko",
    ]
