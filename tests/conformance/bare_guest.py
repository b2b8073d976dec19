"""An image booted by a plain QEMU command, with no Pileus around it: for the tests of images, and as the bench's measure.

Everything is in a network namespace of its own: the tap, DHCP and DNS (dnsmasq), the metadata service, QEMU, and the
SSH clients. Closing it removes all of that. A second guest may stand beside the first, on the same bridge.
"""

import json
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

import msgspec

from pileus.drivers.image.interface import ImageManifest

GATEWAY = "10.99.0.1"
ADDRESS, MAC = "10.99.0.10", "02:00:0a:63:00:0a"
SECOND_ADDRESS, SECOND_MAC = "10.99.0.11", "02:00:0a:63:00:0b"
METADATA_SERVICE = Path(__file__).with_name("bare_metadata.py")

# Prints nothing, ends with 0 as soon as an SSH server says who it is. One process: its start must not blur the time.
WAIT_FOR_BANNER = """
import socket, sys, time
deadline = time.monotonic() + float(sys.argv[2])
while time.monotonic() < deadline:
    try:
        with socket.create_connection((sys.argv[1], 22), timeout=0.2) as connection:
            connection.settimeout(5)
            if connection.recv(4) == b"SSH-":
                sys.exit(0)
    except OSError:
        time.sleep(0.02)
sys.exit("no SSH server answered")
"""


class BareGuest:
    """One guest of an image. Use it as a context manager; ``start`` it as often as you like.

    Attributes:
        manifest: of the image. metadata: the tree below ``/latest``; what is changed counts at the next ``start``.
        key: the private key of the user who may log in. disk: the guest's own disk, over the image's.
        address: its own, on the bridge.
    """

    def __init__(
        self,
        image: Path,
        *,
        memory: int = 512,
        vcpus: int = 1,
        disk_size: int | None = None,
        user_data: str | None = None,
        firmware: bool = False,
        accelerator: str = "tcg,thread=multi,tb-size=128",
        second_disk: int = 0,
        beside: "BareGuest | None" = None,
    ) -> None:
        """``second_disk`` is the size of another, empty disk in bytes. ``beside``: one whose network and identity it shares."""
        self.address, self._mac = (ADDRESS, MAC) if beside is None else (SECOND_ADDRESS, SECOND_MAC)
        self._tap = "tap" if beside is None else "tap2"
        self._beside = beside
        self.manifest = msgspec.json.decode((image / "image.json").read_bytes(), type=ImageManifest)
        self._image = image
        self._memory = memory
        self._vcpus = vcpus
        self._disk_size = disk_size or self.manifest.virtual_size
        self._user_data = user_data
        self._firmware = firmware
        self._accelerator = accelerator
        self._second_disk = second_disk
        self._cleanup = ExitStack()
        self._qemu: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            self._directory = Path(tempfile.mkdtemp(prefix="bare-guest-"))
            undo.callback(shutil.rmtree, self._directory)
            if self._beside is None:
                self._namespace = f"bare-{secrets.token_hex(4)}"
                _run("ip", "netns", "add", self._namespace)
                undo.callback(_run, "ip", "netns", "delete", self._namespace)
            else:
                self._namespace = self._beside._namespace
            undo.callback(self.cut_power)
            self._make_network()
            self._make_identity()
            if self._beside is None:
                self._serve(undo)
            self._cleanup = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def start(self) -> None:
        """Turns the guest on; returns as soon as QEMU runs."""
        (self._directory / "metadata.json").write_text(json.dumps(self.metadata))
        for leftover in ("qmp", "console"):
            (self._directory / leftover).unlink(missing_ok=True)
        self._qemu = subprocess.Popen(self._inside(*self.command()), stdin=subprocess.DEVNULL)

    def command(self) -> list[str]:
        """The QEMU command. Only what one would write by hand."""
        uuid = f"ec2{secrets.token_hex(16)[3:]}"
        uuid = "-".join((uuid[:8], uuid[8:12], uuid[12:16], uuid[16:20], uuid[20:]))
        words = [
            "qemu-system-x86_64", "-nodefaults", "-display", "none", "-vga", "std",
            "-machine", "pc", "-accel", self._accelerator, "-cpu", "max",
            "-m", str(self._memory), "-smp", str(self._vcpus),
            "-smbios", f"type=1,manufacturer=Amazon EC2,serial={uuid},uuid={uuid}",
            "-drive", f"file={self.disk},if=virtio,format=qcow2",
            "-netdev", f"tap,id=net,ifname={self._tap},script=no,downscript=no",
            "-device", f"virtio-net-pci,netdev=net,mac={self._mac},romfile=",
            "-device", "pvpanic",
            "-chardev", f"file,id=console,path={self._directory / 'console'}", "-serial", "chardev:console",
            "-qmp", f"unix:{self._directory / 'qmp'},server=on,wait=off",
        ]  # fmt: skip
        if self._second_disk:
            disk = self._directory / "second.qcow2"
            _run("qemu-img", "create", "-q", "-f", "qcow2", str(disk), str(self._second_disk))
            words += ["-drive", f"file={disk},if=virtio,format=qcow2"]
        if self.manifest.kernel and self.manifest.initrd and not self._firmware:
            words += [
                "-kernel", str(self._image / self.manifest.kernel),
                "-initrd", str(self._image / self.manifest.initrd),
                "-append", self.manifest.cmdline,
            ]  # fmt: skip
        return words

    def wait_for_ssh(self, seconds: float = 180) -> float:
        """Waits until an SSH server answers, and returns how many seconds that took from now."""
        begin = time.monotonic()
        _run(*self._inside(sys.executable, "-c", WAIT_FOR_BANNER, self.address, str(seconds)))
        return time.monotonic() - begin

    def ssh(self, command: str, *, user: str | None = None, options: Sequence[str] = (), check: bool = True) -> str:
        """Runs a command in the guest and returns what it prints. Raises CalledProcessError when it fails."""
        return _run(*self.login(user=user, options=options), command, check=check)

    def login(self, *, user: str | None = None, options: Sequence[str] = ()) -> list[str]:
        """The command that logs in, up to what is to be run there."""
        return self._inside(
            "ssh", "-q", "-i", str(self.key), "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes",
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=30",
            *options, f"{user or self.manifest.user}@{self.address}",
        )  # fmt: skip

    def run(self, *argv: str) -> str:
        """Runs a program beside the guest, in its namespace."""
        return _run(*self._inside(*argv))

    def wait_for_console(self, text: str, seconds: float = 180) -> str:
        """Waits until the serial console has shown ``text``, and returns all that it has shown."""
        deadline = time.monotonic() + seconds
        while text not in self.console():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the console never said {text!r}:\n{self.console()[-4000:]}")
            time.sleep(0.1)
        return self.console()

    def console(self) -> str:
        """All that the serial console has shown since the last ``start``."""
        path = self._directory / "console"
        return path.read_text(errors="replace") if path.exists() else ""

    def qmp(self, command: str, **arguments: Any) -> None:
        """One command to QEMU's monitor."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.connect(str(self._directory / "qmp"))
            with monitor.makefile("rw") as stream:
                stream.readline()  # the greeting
                for request in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                    stream.write(json.dumps(request))
                    stream.flush()
                    while "return" not in (answer := json.loads(stream.readline())):
                        assert "error" not in answer, answer

    def press_power_button(self, seconds: float = 120) -> None:
        """Presses it until the guest is off: what listens to it starts late in a boot, and earlier presses are lost."""
        assert self._qemu is not None
        deadline = time.monotonic() + seconds
        while self._qemu.poll() is None:
            assert time.monotonic() < deadline, self.console()[-4000:]
            with suppress(OSError, ValueError):  # it may end at any moment
                self.qmp("system_powerdown")
            with suppress(subprocess.TimeoutExpired):
                self._qemu.wait(3)

    def wait_until_off(self, seconds: float = 120) -> None:
        """Waits until QEMU has ended by itself."""
        assert self._qemu is not None
        self._qemu.wait(seconds)

    def cut_power(self) -> None:
        """Ends QEMU at once."""
        if self._qemu is not None and self._qemu.poll() is None:
            self._qemu.kill()
            self._qemu.wait()

    def _make_network(self) -> None:
        bridge = (
            ("link", "set", "lo", "up"),
            ("address", "add", "169.254.169.254/32", "dev", "lo"),
            ("link", "add", "lan", "type", "bridge"),
            ("address", "add", f"{GATEWAY}/24", "dev", "lan"),
            ("link", "set", "lan", "up"),
        )
        tap = (
            ("tuntap", "add", self._tap, "mode", "tap"),
            ("link", "set", self._tap, "master", "lan", "up"),
        )
        for words in (*(bridge if self._beside is None else ()), *tap):
            self.run("ip", *words)

    def _make_identity(self) -> None:
        if self._beside is None:
            self.key = self._directory / "key"
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bare", "-f", str(self.key))
        else:
            self.key = self._beside.key
        self.disk = self._directory / "disk.qcow2"
        base = self._image.resolve() / "disk.qcow2"
        _run(
            "qemu-img",
            "create",
            "-q",
            "-f",
            "qcow2",
            "-F",
            "qcow2",
            "-b",
            str(base),
            str(self.disk),
            str(self._disk_size),
        )
        public = self.key.with_suffix(".pub").read_text()
        self.metadata: dict[str, Any] = {
            "meta-data": {
                "ami-id": "ami-00000000000000001",
                "hostname": "ip-10-99-0-10.ec2.internal",
                "instance-id": "i-00000000000000001",
                "instance-type": "t3.micro",
                "local-hostname": "ip-10-99-0-10.ec2.internal",
                "local-ipv4": ADDRESS,
                "mac": MAC,
                "network": {"interfaces": {"macs": {MAC: {
                    "device-number": "0", "local-ipv4s": ADDRESS, "mac": MAC, "subnet-ipv4-cidr-block": "10.99.0.0/24",
                }}}},
                "placement": {"availability-zone": "us-east-1a", "region": "us-east-1"},
                "public-keys": {"0=bare": {"openssh-key": public}},
            },
            "dynamic": {"instance-identity": {"document": json.dumps({"region": "us-east-1"})}},
        }  # fmt: skip
        if self._user_data is not None:
            self.metadata["user-data"] = self._user_data

    def _serve(self, undo: ExitStack) -> None:
        self._start_server(undo, sys.executable, str(METADATA_SERVICE), str(self._directory / "metadata.json"))
        self._start_server(
            undo, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file=",
            "--no-resolv", "--no-hosts", "--local=/#/",  # every name is answered at once: there is none
            "--no-ping",  # before it offers an address
            "--interface=lan", "--bind-dynamic", f"--dhcp-range={ADDRESS},{SECOND_ADDRESS},1h",
            f"--dhcp-host={MAC},{ADDRESS}", f"--dhcp-host={SECOND_MAC},{SECOND_ADDRESS}",
            f"--dhcp-leasefile={self._directory / 'leases'}", "--log-facility=/dev/null",
        )  # fmt: skip

    def _start_server(self, undo: ExitStack, *argv: str) -> None:
        server = subprocess.Popen(self._inside(*argv), stdin=subprocess.DEVNULL)
        undo.callback(server.wait)
        undo.callback(server.kill)

    def _inside(self, *argv: str) -> list[str]:
        return ["ip", "netns", "exec", self._namespace, *argv]


def _run(*argv: str, check: bool = True) -> str:
    return subprocess.run(argv, check=check, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True).stdout
