"""What every image driver promises, and what every image that we build does in a real guest.

The guests are booted by a plain QEMU command (``bare_guest``): what is tested is the image, not Pileus.
"""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from bare_guest import ADDRESS, BareGuest

from pileus.drivers.errors import PermanentError
from pileus.drivers.image.build import build, default_cache
from pileus.drivers.image.fake import DEBIAN, TINY, FakeImages
from pileus.drivers.image.interface import Images
from pileus.drivers.image.local import LocalImages

GIB = 1024**3
# What the console says when a boot is over.
READY = {"tiny": "tiny: ready", "debian-12": " finished at "}
USER_DATA = "#!/bin/sh\nid -un >/ran-as\necho again >>/runs\necho from user data\n"

guests = [pytest.mark.root, pytest.mark.vm, pytest.mark.slow]


@pytest.fixture(params=["fake", "local"])
def images(request: pytest.FixtureRequest, tmp_path: Path) -> Images:
    """A host that has two images."""
    if request.param == "fake":
        return FakeImages([DEBIAN, TINY])
    for manifest in (DEBIAN, TINY):
        (tmp_path / manifest.content).mkdir()
        (tmp_path / manifest.content / "image.json").write_bytes(msgspec.json.encode(manifest))
    return LocalImages(tmp_path)


async def test_all_images_are_observed(images: Images) -> None:
    assert {manifest.name for manifest in await images.observe()} == {TINY.name, DEBIAN.name}


async def test_an_image_is_located_by_its_content(images: Images) -> None:
    manifest, directory = await images.locate(TINY.content)
    assert manifest == TINY
    assert directory.name == TINY.content


@pytest.mark.parametrize("content", ["0" * 64, "", ".", "..", "../etc", ".partial-abc"])
async def test_what_is_not_here_is_refused_for_good(images: Images, content: str) -> None:
    with pytest.raises(PermanentError):
        await images.locate(content)


async def test_a_host_without_images_has_none(tmp_path: Path) -> None:
    assert await LocalImages(tmp_path / "missing").observe() == []


async def test_an_image_that_is_being_built_is_not_here_yet(tmp_path: Path) -> None:
    partial = tmp_path / ".partial-abc"
    partial.mkdir()
    (partial / "image.json").write_bytes(msgspec.json.encode(TINY))
    (tmp_path / "lost+found").mkdir()
    assert await LocalImages(tmp_path).observe() == []


async def test_a_damaged_manifest_is_an_error_not_an_absence(tmp_path: Path) -> None:
    (tmp_path / TINY.content).mkdir()
    (tmp_path / TINY.content / "image.json").write_text("{")
    with pytest.raises(PermanentError, match="damaged"):
        await LocalImages(tmp_path).observe()


@pytest.fixture(scope="module")
def images_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module", params=["tiny", "debian-12"])
def guest(request: pytest.FixtureRequest, images_root: Path) -> Iterator[BareGuest]:
    """A guest of each family, on a volume larger than its image; tests leave it running."""
    manifest = build(request.param, images_root, default_cache(), print)
    with BareGuest(images_root / manifest.content, disk_size=6 * GIB, user_data=USER_DATA) as guest:
        guest.start()
        guest.wait_for_console(READY[manifest.family])
        yield guest


def host_key(guest: BareGuest) -> str:
    return guest.run("ssh-keyscan", "-t", "ed25519", ADDRESS)


def wait_for_another_boot(guest: BareGuest, boot_id: str) -> None:
    deadline = time.monotonic() + 240
    while True:
        try:
            if guest.ssh("cat /proc/sys/kernel/random/boot_id", options=["-o", "ConnectTimeout=2"]) != boot_id:
                return
        except subprocess.CalledProcessError:
            pass
        assert time.monotonic() < deadline, guest.console()[-4000:]
        time.sleep(0.5)


class TestGuest:
    pytestmark = guests

    def test_the_owner_logs_in_and_may_do_everything(self, guest: BareGuest) -> None:
        assert guest.ssh("id -un").strip() == guest.manifest.user
        assert guest.ssh("sudo -n id -un").strip() == "root"

    def test_user_data_ran_once_as_root(self, guest: BareGuest) -> None:
        assert guest.ssh("cat /ran-as /runs").split() == ["root", "again"]
        assert "from user data" in guest.console()

    def test_the_file_system_fills_the_volume(self, guest: BareGuest) -> None:
        blocks = int(guest.ssh("df -Pk / | tail -n 1").split()[1])
        assert blocks * 1024 > 5.6 * GIB

    def test_its_name_is_the_one_of_the_metadata_service(self, guest: BareGuest) -> None:
        assert guest.ssh("hostname").strip() == "ip-10-99-0-10"

    def test_nobody_logs_in_without_a_key(self, guest: BareGuest) -> None:
        for user in (guest.manifest.user, "root"):
            shown = guest.run(
                "sh", "-c",
                "ssh -v -o PubkeyAuthentication=no -o BatchMode=yes -o StrictHostKeyChecking=no"
                f" -o UserKnownHostsFile=/dev/null {user}@{ADDRESS} true 2>&1 || true",
            )  # fmt: skip
            assert "Authentications that can continue: publickey\n" in shown.replace("\r", "")
            assert "Permission denied (publickey)." in shown
        with pytest.raises(subprocess.CalledProcessError):
            guest.ssh("true", user="root")

    def test_no_account_has_a_password(self, guest: BareGuest) -> None:
        fields = [line.split(":")[1] for line in guest.ssh("sudo cat /etc/shadow").splitlines()]
        assert all(field.startswith(("*", "!")) for field in fields)

    def test_the_console_shows_the_host_key(self, guest: BareGuest) -> None:
        shown = guest.console().split("-----BEGIN SSH HOST KEY KEYS-----")[1].split("-----END")[0].split()
        assert " ".join(host_key(guest).split()[1:]) in " ".join(shown)
        assert "-----BEGIN SSH HOST KEY FINGERPRINTS-----" in guest.console()

    def test_a_reboot_keeps_files_and_the_host_key(self, guest: BareGuest) -> None:
        before = host_key(guest)
        boot_id = guest.ssh("echo kept >note; cat /proc/sys/kernel/random/boot_id")
        guest.ssh("sudo reboot", check=False)  # the connection may end first
        wait_for_another_boot(guest, boot_id)
        assert guest.ssh("cat note /runs").split() == ["kept", "again"]
        assert host_key(guest) == before

    def test_ctrl_alt_del_reboots(self, guest: BareGuest) -> None:
        boot_id = guest.ssh("cat /proc/sys/kernel/random/boot_id")
        keys = [{"type": "qcode", "data": name} for name in ("ctrl", "alt", "delete")]
        guest.qmp("send-key", keys=keys)
        wait_for_another_boot(guest, boot_id)

    def test_the_power_button_turns_it_off(self, guest: BareGuest) -> None:
        guest.ssh("echo unsynced >last-words")
        guest.press_power_button()
        guest.start()
        guest.wait_for_ssh()
        assert guest.ssh("cat last-words").strip() == "unsynced"

    def test_poweroff_turns_it_off(self, guest: BareGuest) -> None:
        guest.ssh("sudo poweroff", check=False)
        guest.wait_until_off()
        guest.start()
        guest.wait_for_ssh()

    def test_another_instance_on_the_same_disk_is_another_machine(self, guest: BareGuest) -> None:
        before = host_key(guest)
        guest.cut_power()
        guest.metadata["meta-data"]["instance-id"] = "i-00000000000000002"
        guest.metadata["meta-data"]["hostname"] = guest.metadata["meta-data"]["local-hostname"] = "ip-10-99-0-11"
        guest.start()
        guest.wait_for_console(READY[guest.manifest.family])
        assert host_key(guest) != before
        assert guest.ssh("hostname; cat /runs").split() == ["ip-10-99-0-11", "again", "again"]


CLOUD_CONFIG = """\
#cloud-config
write_files:
  - path: /etc/written
    content: by cloud-config
users:
  - default
  - name: alice
    ssh_authorized_keys: ["{key}"]
package_update: true
runcmd:
  - [sh, -c, "nice >/etc/nice"]
"""


@pytest.fixture(scope="module")
def firmware_guest(images_root: Path) -> Iterator[BareGuest]:
    """Debian booted by its own GRUB, with its own initrd, and configured by a cloud-config."""
    manifest = build("debian-12", images_root, default_cache(), print)
    with BareGuest(images_root / manifest.content, memory=1024, disk_size=6 * GIB, firmware=True) as guest:
        public = guest.key.with_suffix(".pub").read_text().strip()
        guest.metadata["user-data"] = CLOUD_CONFIG.format(key=public)
        guest.start()
        guest.wait_for_console(READY["debian-12"], 400)
        yield guest


class TestDebian:
    pytestmark = guests

    def test_firmware_boots_it(self, firmware_guest: BareGuest) -> None:
        assert "BOOT_IMAGE=/vmlinuz" in firmware_guest.ssh("cat /proc/cmdline")

    def test_cloud_init_is_done(self, firmware_guest: BareGuest) -> None:
        answer = firmware_guest.ssh("cloud-init status --wait --long")
        assert "status: done" in answer
        assert "DataSourceEc2" in answer

    def test_cloud_config_is_obeyed(self, firmware_guest: BareGuest) -> None:
        assert firmware_guest.ssh("cat /etc/written /etc/nice") == "by cloud-config0\n"
        assert firmware_guest.ssh("id -un", user="alice").strip() == "alice"

    def test_no_unit_failed(self, firmware_guest: BareGuest) -> None:
        assert firmware_guest.ssh("systemctl --failed --plain --no-legend") == ""

    def test_apt_has_sources(self, firmware_guest: BareGuest) -> None:
        sources = firmware_guest.ssh("grep ^deb /etc/apt/sources.list")
        assert " bookworm main" in sources
        assert "copy:" not in sources  # where the build had its packages from
