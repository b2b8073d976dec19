"""What the agent keeps on disk, so that it goes on after a restart even when the control plane can't be reached."""

import logging
import os
from pathlib import Path
from typing import BinaryIO

import msgspec

from pileus.hostapi.spec import HostSpec

log = logging.getLogger(__name__)


class StateDirectory:
    """The agent's own directory, closed to others: a spec holds user data, which may be secret. All calls block.

    ``spec.msgpack`` is the last spec that was accepted. It is in place before it takes effect, so that an agent that is
    killed never goes back to an earlier one. Forcing it to the disk can take 100 ms while guests write, which a launch
    should not wait for: that happens right afterwards, and a host that loses power in between comes back with the spec
    before, until its control plane tells it the new one.
    """

    def __init__(self, path: Path) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
        self._spec = path / "spec.msgpack"

    def load_spec(self) -> HostSpec | None:
        """The last spec kept; None when there never was one."""
        try:
            return msgspec.msgpack.decode(self._spec.read_bytes(), type=HostSpec)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError:
            # Guests run on and the control plane will say again what it wants: better than an agent that can't start.
            log.exception("the kept spec is damaged and will be ignored")
            return None

    def keep_spec(self, spec: HostSpec) -> None:
        """Returns once the spec would survive the agent. Raises OSError."""
        fresh = self._spec.with_name(self._spec.name + ".new")
        with _open_private(fresh) as file:
            file.write(msgspec.msgpack.encode(spec))
        fresh.replace(self._spec)

    def sync(self) -> None:
        """Returns once the spec kept last would survive a power cut. Raises OSError."""
        with self._spec.open("rb") as file:
            os.fsync(file.fileno())
        _sync_directory(self._spec.parent)


def replace_file(path: Path, content: bytes) -> None:
    """Puts a whole file (mode 0600) in place of another, durably: after a crash there is the old or the new one."""
    fresh = path.with_name(path.name + ".new")
    with _open_private(fresh) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    _sync_directory(path.parent)


def _open_private(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
