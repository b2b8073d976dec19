"""What a recipe is, and where it works. Recipes are ``tiny`` and ``debian``; ``pileus.drivers.image.build`` runs them."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from pileus.drivers.image.build.packages import Archive, Package

HERE = Path(__file__).parent
SHARED_SOURCES = ("disk.py", "kernel.py", "packages.py", "recipe.py", "files/initrd")


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is fixed about a family's images. See ``ImageManifest`` for the members of the same name.

    Attributes:
        prefix: of the AMI name. codename: of the Debian release. size: of the disk, in bytes.
        sources: files and directories of this package that decide what comes out, beside the shared ones.
    """

    family: str
    prefix: str
    description: str
    user: str
    ssm_path: str
    codename: str
    size: int
    cmdline: str
    min_memory: int
    sources: tuple[str, ...]


class Workspace(msgspec.Struct, frozen=True, kw_only=True):
    """Where one build works: ``scratch`` is thrown away, ``target`` becomes the image, ``cache`` stays."""

    scratch: Path
    target: Path
    cache: Path
    progress: Callable[[str], None]


class Recipe(Protocol):
    """How a family's images are made."""

    facts: Facts

    def packages(self, archive: Archive) -> tuple[Package, ...]:
        """All packages that go in, at the versions of now."""
        ...

    def make(self, packages: Sequence[Package], archive: Archive, work: Workspace) -> None:
        """Writes ``disk.qcow2``, ``kernel`` and ``initrd`` into the target."""
        ...


def content_id(facts: Facts, packages: Sequence[Package]) -> str:
    """A hash over all that decides what an image holds: the recipe's sources and the packages."""
    digest = hashlib.sha256()
    for path in _files([*SHARED_SOURCES, *facts.sources]):
        digest.update(f"{path.relative_to(HERE)} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    digest.update(package_list_id(packages).encode())
    return digest.hexdigest()


def package_list_id(packages: Sequence[Package]) -> str:
    """A hash over the packages alone."""
    lines = sorted(f"{package.name} {package.version} {package.sha256}\n" for package in packages)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def install_files(source: Path, root: Path) -> None:
    """Copies a tree of recipe files over ``root``. What begins with ``#!`` becomes executable, the rest readable.

    A link that is in the way is replaced, never followed: it may lead out of the image into the host.

    Raises:
        ValueError: a directory of the image leads out of it.
    """
    inside = root.resolve()
    for path in sorted(source.rglob("*")):
        target = root / path.relative_to(source)
        if path.is_dir():
            target.mkdir(exist_ok=True)
            continue
        if not target.parent.resolve().is_relative_to(inside):
            raise ValueError(f"{target.parent} leads out of the image")
        data = path.read_bytes()
        target.unlink(missing_ok=True)
        target.write_bytes(data)
        target.chmod(0o755 if data.startswith(b"#!") else 0o644)


def _files(names: Sequence[str]) -> list[Path]:
    roots = [HERE / name for name in names]
    found = [path for root in roots for path in ([root] if root.is_file() else root.rglob("*")) if path.is_file()]
    return sorted(found)
