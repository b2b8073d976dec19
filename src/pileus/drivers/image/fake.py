"""Images that are only said to be there: for ``--simulate`` and tests of what lies above."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from pileus.drivers.errors import PermanentError
from pileus.drivers.image.interface import ImageManifest

GIB = 1024**3

TINY = ImageManifest(
    content="7" * 64,
    name="pileus-tiny-amd64-20260101-77777777",
    family="tiny",
    description="Pileus tiny, simulated",
    virtual_size=GIB,
    created="2026-01-01T00:00:00.000Z",
    user="ec2-user",
    kernel="kernel",
    initrd="initrd",
    ssm_path="/aws/service/pileus/tiny/latest/amd64",
    min_memory=96,
)
DEBIAN = ImageManifest(
    content="d" * 64,
    name="debian-12-amd64-20260101-dddddddd",
    family="debian-12",
    description="Debian 12, simulated",
    virtual_size=4 * GIB,
    created="2026-01-01T00:00:00.000Z",
    user="admin",
    kernel="kernel",
    initrd="initrd",
    ssm_path="/aws/service/debian/release/12/latest/amd64",
)


class FakeImages:
    """Keeps the contract of ``Images`` over manifests in memory; the directories that it names need not exist."""

    def __init__(self, manifests: Iterable[ImageManifest] = (TINY, DEBIAN), root: Path = Path("/nonexistent")) -> None:
        self._manifests = {manifest.content: manifest for manifest in manifests}
        self._root = root

    async def observe(self) -> Sequence[ImageManifest]:
        """The manifests that were given, oldest first."""
        return sorted(self._manifests.values(), key=lambda manifest: (manifest.created, manifest.content))

    async def locate(self, content: str) -> tuple[ImageManifest, Path]:
        """Raises PermanentError for any other content id."""
        try:
            return self._manifests[content], self._root / content
        except KeyError as error:
            raise PermanentError(f"image {content} is not on this host") from error
