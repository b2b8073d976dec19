"""Builds machine images out of Debian packages. Called by ``pileus ami build`` and ``make up``. Needs root.

``build`` is idempotent: an image that exists with the same content id is left alone. It may be killed at any time;
what it left behind is removed by the next build.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from pileus.base.clock import Clock, SystemClock
from pileus.base.process import ProcessError
from pileus.drivers.image.build.debian import Debian
from pileus.drivers.image.build.packages import Archive, Package, PackageError
from pileus.drivers.image.build.recipe import Facts, Recipe, Workspace, content_id
from pileus.drivers.image.build.tiny import Tiny
from pileus.drivers.image.interface import ImageManifest

RECIPES: Mapping[str, Recipe] = {recipe.facts.family: recipe for recipe in (Tiny(), Debian())}
FAMILIES = tuple(RECIPES)

_PARTIAL = ".partial-"


def default_cache() -> Path:
    """``pileus`` in the user's cache directory, as the XDG base directory specification has it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pileus"


def build(
    family: str,
    images_root: Path,
    cache: Path,
    progress: Callable[[str], None],
    clock: Clock | None = None,
) -> ImageManifest:
    """Makes sure that ``images_root`` has the newest image of a family, and returns its manifest.

    ``cache`` keeps packages and finished images by content, so that a second build on the machine only links files.
    ``progress`` gets one line per step, with the seconds since the beginning.

    Raises:
        KeyError: there is no such family.
        PackageError: the machine's apt can't give the packages.
        ProcessError: a tool failed.
    """
    recipe = RECIPES[family]
    clock = clock or SystemClock()
    begin = clock.monotonic()

    def report(line: str) -> None:
        progress(f"{clock.monotonic() - begin:6.1f} s  {family}: {line}")

    archive = Archive(recipe.facts.codename, cache / "packages")
    report("asking apt for package versions")
    packages, content = _fetched(recipe, archive, report)
    with _sole_builder(images_root), _sole_builder(cache / "images"):
        kept = cache / "images" / content
        if not kept.exists():
            with _partial(kept) as target, _scratch(kept.parent) as scratch:
                work = Workspace(scratch=scratch, target=target, cache=cache, progress=report)
                recipe.make(packages, archive, work)
                _write_manifest(_manifest(recipe.facts, content, target, clock), target)
        if not (images_root / content).exists():
            with _partial(images_root / content) as target:
                for file in kept.iterdir():
                    _link(file, target / file.name)
        report(f"image {content[:8]} is there")
        return msgspec.json.decode((images_root / content / "image.json").read_bytes(), type=ImageManifest)


def _fetched(recipe: Recipe, archive: Archive, report: Callable[[str], None]) -> tuple[tuple[Package, ...], str]:
    """Resolves and downloads. Indexes may be missing, or name files that mirrors no longer have: read anew, once."""

    def attempt() -> tuple[Package, ...]:
        packages = recipe.packages(archive)
        report(f"{len(packages)} packages, downloading what is not cached")
        archive.fetch(packages)
        return packages

    try:
        packages = attempt()
    except (PackageError, ProcessError) as error:
        report(f"updating apt's indexes, because {error}")
        archive.update()
        packages = attempt()
    return packages, content_id(recipe.facts, packages)


def _manifest(facts: Facts, content: str, directory: Path, clock: Clock) -> ImageManifest:
    now = clock.now()
    return ImageManifest(
        content=content,
        name=f"{facts.prefix}-amd64-{now:%Y%m%d}-{content[:8]}",
        family=facts.family,
        description=facts.description,
        virtual_size=facts.size,
        created=f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03}Z",
        user=facts.user,
        kernel="kernel" if (directory / "kernel").exists() else None,
        initrd="initrd" if (directory / "initrd").exists() else None,
        cmdline=facts.cmdline,
        ssm_path=facts.ssm_path,
        min_memory=facts.min_memory,
    )


def _write_manifest(manifest: ImageManifest, directory: Path) -> None:
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    (directory / "image.json").write_bytes(text + b"\n")


@contextmanager
def _sole_builder(root: Path) -> Generator[None]:
    """Waits until no other build writes below ``root``; what a killed one left there is removed."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in root.glob(f"{_PARTIAL}*"):
            shutil.rmtree(leftover)
        yield


@contextmanager
def _partial(final: Path) -> Generator[Path]:
    """A directory that gets its final name when the block has succeeded, and is removed otherwise."""
    partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=final.parent))
    try:
        yield partial
        partial.chmod(0o755)
        for path in (*partial.iterdir(), partial):
            _flush(path)
        partial.rename(final)
    except BaseException:
        shutil.rmtree(partial)
        raise


@contextmanager
def _scratch(root: Path) -> Generator[Path]:
    """A directory for the time of the block. When that is killed, the next build finds it by its name."""
    with tempfile.TemporaryDirectory(prefix=_PARTIAL, dir=root) as directory:
        yield Path(directory)


def _flush(path: Path) -> None:
    """Waits until a file or directory is on the disk: after a power cut, what has its final name must be whole."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _link(source: Path, target: Path) -> None:
    """Images are never written to once they are there, so the cache can share its files with them."""
    try:
        target.hardlink_to(source)
    except OSError:  # another file system
        shutil.copy2(source, target)
