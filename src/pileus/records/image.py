"""Machine images."""

from datetime import datetime
from typing import ClassVar

from pileus.records.tagged import Tagged


class Image(Tagged, frozen=True, kw_only=True):
    """An AMI.

    ``content`` is the id under which hosts keep its data. ``snapshot_id`` backs its root device, ``size`` in GiB.
    ``ssm_path`` is the public parameter that names it while it is the newest of its family.
    """

    kind: ClassVar[str] = "image"
    indexes: ClassVar[tuple[str, ...]] = ("visibility", "name", "family")

    name: str
    description: str
    created: datetime
    content: str
    family: str
    snapshot_id: str
    size: int
    user: str
    architecture: str = "x86_64"
    root_device_name: str = "/dev/xvda"
    virtualization_type: str = "hvm"
    boot_mode: str = "legacy-bios"
    state: str = "available"
    public: bool = False
    owner_alias: str | None = None
    ssm_path: str | None = None
    launch_accounts: tuple[str, ...] = ()
    min_memory: int = 128

    @property
    def visibility(self) -> str:
        """``public`` or ``private``."""
        return "public" if self.public else "private"
