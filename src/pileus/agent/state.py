"""What the agent keeps on disk, so that it goes on after a restart even when the control plane can't be reached.

``spec.msgpack``: the last spec accepted. ``host.msgpack``: the kernel's boot id when the agent last ran, and the guests
that were down because the host had restarted. Both are replaced whole, and are on disk before they take effect.
"""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from pileus.hostapi.spec import HostSpec

log = logging.getLogger(__name__)

Kept = TypeVar("Kept")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class HostBoot(msgspec.Struct, frozen=True, kw_only=True):
    """Which boot of the host this is. ``interrupted``: instance id → guest boot that an earlier boot took down."""

    boot_id: str
    interrupted: Mapping[str, int] = {}


def read_boot_id() -> str:
    """An id that the kernel makes anew at every boot of the host (random(4))."""
    return _BOOT_ID.read_text().strip()


class StateDirectory:
    """The agent's own directory, closed to others: a spec holds user data, which may be secret. All calls block."""

    def __init__(self, path: Path) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
        self.path = path

    def load_spec(self) -> HostSpec | None:
        """The last spec kept; None when there never was one."""
        return self._load("spec.msgpack", HostSpec)

    def keep_spec(self, spec: HostSpec) -> None:
        """Returns once the spec would survive a power cut. Raises OSError."""
        replace_file(self.path / "spec.msgpack", msgspec.msgpack.encode(spec))

    def load_host_boot(self) -> HostBoot | None:
        """What ``keep_host_boot`` kept; None on the very first start."""
        return self._load("host.msgpack", HostBoot)

    def keep_host_boot(self, boot: HostBoot) -> None:
        """Returns once it would survive a power cut. Raises OSError."""
        replace_file(self.path / "host.msgpack", msgspec.msgpack.encode(boot))

    def _load(self, name: str, kind: type[Kept]) -> Kept | None:
        try:
            return msgspec.msgpack.decode((self.path / name).read_bytes(), type=kind)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError:
            # Guests run on and the control plane will say again what it wants: better than an agent that can't start.
            log.exception("a state file is damaged and will be ignored", extra={"file": name})
            return None


def replace_file(path: Path, content: bytes) -> None:
    """Puts a whole file (mode 0600) in place of another, durably: after a crash there is the old or the new one."""
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
