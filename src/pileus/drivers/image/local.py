"""Images as directories on this host, made by ``pileus.drivers.image.build``. Called by ``pileus.agent`` and ``pileus ami``."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec

from pileus.drivers.errors import PermanentError
from pileus.drivers.image.interface import ImageManifest


class LocalImages:
    """The images below ``root``; a directory whose name begins with a dot is one that is still being built."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def observe(self) -> Sequence[ImageManifest]:
        """All complete images here, oldest first. None when the root does not exist yet."""
        return await asyncio.to_thread(self._read_all)

    async def locate(self, content: str) -> tuple[ImageManifest, Path]:
        """An image's manifest and directory. Raises PermanentError when it is not here."""
        # The id comes from outside: it names a directory below the root or nothing.
        directory = self._root / content
        if directory.parent != self._root or content.startswith("."):
            raise PermanentError(f"{content!r} is no content id")
        manifest = await asyncio.to_thread(self._read, directory)
        if manifest is None:
            raise PermanentError(f"image {content} is not on this host")
        return manifest, directory

    def _read_all(self) -> list[ImageManifest]:
        if not self._root.is_dir():
            return []
        directories = [path for path in self._root.iterdir() if path.is_dir() and not path.name.startswith(".")]
        manifests = [manifest for path in directories if (manifest := self._read(path))]
        return sorted(manifests, key=lambda manifest: (manifest.created, manifest.content))

    def _read(self, directory: Path) -> ImageManifest | None:
        try:
            raw = (directory / "image.json").read_bytes()
        except FileNotFoundError:
            return None
        try:
            return msgspec.json.decode(raw, type=ImageManifest)
        except msgspec.DecodeError as error:
            raise PermanentError(f"the manifest of image {directory.name} is damaged: {error}") from error
