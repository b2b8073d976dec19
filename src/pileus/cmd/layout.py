"""The data directory: where everything of one cloud on one machine is.

``control/`` belongs to the unprivileged control plane; the rest to root, who runs the agent.
"""

import os
import secrets
from pathlib import Path

import msgspec

from pileus.base import config
from pileus.base.config import Config
from pileus.cmd.errors import CloudError


class Identity(msgspec.Struct, frozen=True):
    """Which cloud this is, which of its hosts, and whether that is only pretended."""

    cloud_id: str
    host_id: str
    simulated: bool = False


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """The first account's root access key, as it is kept for ``pileus env``."""

    account: str
    access_key: str
    secret_key: str


class Layout:
    """The paths below a data directory."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.config_file = self.root / "config.toml"
        self.identity_file = self.root / "identity.json"
        self.control = self.root / "control"
        self.database = self.control / "store" / "pileus.sqlite"
        self.sealing_key = self.control / "sealing.key"
        self.credentials = self.control / "credentials.json"
        self.link_socket = self.control / "link.sock"
        self.console_socket = self.control / "console.sock"
        self.guest_door = self.control / "guests.sock"
        self.blocks = self.control / "blocks"
        self.blocks_socket = self.control / "blocks.sock"
        self.objects = self.control / "objects"
        self.agent = self.root / "agent"
        self.images = self.root / "images"
        self.logs = self.root / "logs"
        self.accelerator_file = self.root / "accelerator.json"
        self.lock_file = self.root / "supervisor.lock"

    def load_config(self) -> Config:
        """The cloud's configuration. Raises CloudError naming a bad setting."""
        try:
            return config.load(self.config_file)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise CloudError(f"{self.config_file}: {error}") from error

    def store_url(self, settings: Config) -> str:
        """Where the records are."""
        return settings.store or f"sqlite:///{self.database}"

    def identity(self) -> Identity:
        """The cloud's identity. Raises FileNotFoundError before ``prepare``."""
        return msgspec.json.decode(self.identity_file.read_bytes(), type=Identity)

    def prepare(self, control_uid: int, *, simulate: bool) -> None:
        """Makes the directories, with their owners and modes. Harmless when they are there.

        Raises:
            CloudError: real instances are kept here and simulated ones are asked for, or the other way round: either
                would take the other's for lost.
        """
        if self.identity_file.exists() and self.identity().simulated != simulate:
            kept = "real instances: start it without" if simulate else "simulated instances: start it with"
            raise CloudError(f"The cloud in {self.root} has {kept} --simulate, or give another --data-dir.")
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o755)
        for directory, mode in (
            (self.control, 0o700),
            (self.control / "store", 0o700),
            (self.agent, 0o700),
            (self.images, 0o755),
            (self.logs, 0o755),
        ):
            directory.mkdir(exist_ok=True)
            directory.chmod(mode)
        if os.geteuid() == 0:
            unprivileged = [self.control, self.control / "store", *([self.agent] if simulate else [])]
            for directory in unprivileged:
                os.chown(directory, control_uid, control_uid)
        if not self.identity_file.exists():
            cloud_id = secrets.token_hex(8)
            identity = Identity(cloud_id=cloud_id, host_id=f"host-{secrets.token_hex(4)}", simulated=simulate)
            fresh = self.identity_file.with_suffix(".new")
            fresh.write_bytes(msgspec.json.encode(identity))
            fresh.replace(self.identity_file)


def default_data_dir() -> Path:
    """``/var/lib/pileus`` for root, the XDG data directory for others."""
    if os.geteuid() == 0:
        return Path("/var/lib/pileus")
    return Path(os.environ.get("XDG_DATA_HOME", str(Path.home() / ".local/share"))) / "pileus"
