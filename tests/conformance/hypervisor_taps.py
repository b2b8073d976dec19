"""Taps for guests under test, in a network namespace of their own: nothing that they send leaves it."""

import ctypes
import fcntl
import os
import secrets
import struct
import threading
from pathlib import Path

from pileus.base import process

_SET_OWN_NAMESPACE = 0x40000000  # CLONE_NEWNET, for the thread that calls
_TAP = 0x0002 | 0x1000 | 0x4000  # IFF_TAP, IFF_NO_PI, IFF_VNET_HDR
_ATTACH = 0x400454CA  # TUNSETIFF


class Taps:
    """A namespace with taps that outlive whoever opens them, as those of the network drivers do."""

    def __init__(self) -> None:
        self.namespace = f"hv-{os.getpid()}-{secrets.token_hex(2)}"
        process.run_sync("ip", "netns", "add", self.namespace)

    def open(self, name: str, address: str | None = None) -> int:
        """A descriptor of a tap, which is made at first and has ``address`` then. The caller closes it.

        Raises OSError (EBUSY) while somebody has it.
        """
        if not self._exists(name):
            self._ip("tuntap", "add", "dev", name, "mode", "tap", "vnet_hdr")
            if address is not None:
                self._ip("address", "add", address, "dev", name)
            self._ip("link", "set", name, "up")
        found: list[int | OSError] = []

        def work() -> None:
            with Path(f"/run/netns/{self.namespace}").open() as handle:
                assert ctypes.CDLL(None).setns(handle.fileno(), _SET_OWN_NAMESPACE) == 0
            tap = os.open("/dev/net/tun", os.O_RDWR)
            try:
                fcntl.ioctl(tap, _ATTACH, struct.pack("16sH22x", name.encode(), _TAP))
            except OSError as error:
                os.close(tap)
                found.append(error)
            else:
                found.append(tap)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        (result,) = found
        if isinstance(result, OSError):
            raise result
        return result

    async def run(self, *words: str) -> bytes:
        """Runs a command in the namespace."""
        return await process.run("ip", "netns", "exec", self.namespace, *words)

    def destroy(self) -> None:
        process.run_sync("ip", "netns", "del", self.namespace)

    def _exists(self, name: str) -> bool:
        return f" {name}:" in process.run_sync("ip", "-n", self.namespace, "-o", "link").decode()

    def _ip(self, *words: str) -> None:
        process.run_sync("ip", "-n", self.namespace, *words)


def taps_of(pid: int) -> set[str]:
    """The taps that a process has open."""
    found: set[str] = set()
    for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
        lines = entry.read_text().splitlines()
        found |= {line.split()[1] for line in lines if line.startswith("iff:")}
    return found
