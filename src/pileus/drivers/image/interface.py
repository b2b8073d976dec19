"""The image family: the machine images that a host can start volumes from. Called by ``pileus.agent`` and ``pileus ami``.

An image is a directory ``<root>/<content id>/`` with ``image.json`` (``ImageManifest``), ``disk.qcow2`` and, for direct
kernel boot, the kernel and initrd that the manifest names. It is complete when the directory has its final name.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec


class ImageManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What an image is.

    Attributes:
        content: hexadecimal content id: a hash over everything that went into the build (recipe, package versions).
        name: the AMI name, e.g. ``debian-12-amd64-20261123-1a2b3c4d``. family: e.g. ``debian-12``.
        virtual_size: bytes. created: ISO 8601 in UTC with milliseconds.
        user: the login of its default user. kernel, initrd: file names, None for firmware boot.
        ssm_path: the public parameter that names the newest image of the family.
    """

    content: str
    name: str
    family: str
    description: str
    virtual_size: int
    created: str
    user: str
    architecture: str = "x86_64"
    root_device: str = "/dev/xvda"
    boot_mode: str = "legacy-bios"
    kernel: str | None = None
    initrd: str | None = None
    cmdline: str = ""
    ssm_path: str | None = None
    min_memory: int = 128


class Images(Protocol):
    """Read access to the images on this host."""

    async def observe(self) -> Sequence[ImageManifest]:
        """All complete images here."""
        ...

    async def locate(self, content: str) -> tuple[ImageManifest, Path]:
        """An image's manifest and directory. Raises PermanentError when it is not here."""
        ...
