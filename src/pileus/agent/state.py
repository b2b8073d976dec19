"""What the agent keeps on disk, so that it goes on after a restart even when the control plane can't be reached."""

import logging
import os
from pathlib import Path

import msgspec

from pileus.hostapi.spec import HostSpec

log = logging.getLogger(__name__)


class StateDirectory:
    """The agent's own directory, closed to others: a spec holds user data, which may be secret. All calls block.

    ``spec.msgpack`` is the last spec that was accepted; it is on disk before it takes effect.
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
        """Returns once the spec would survive a power cut. Raises OSError."""
        replace_file(self._spec, msgspec.msgpack.encode(spec))


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
