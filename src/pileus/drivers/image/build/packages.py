"""Debian packages through the machine's own apt: which versions there are, and their files. Called by the recipes.

Nothing here names a mirror. apt's indexes are what this machine's administrator configured and apt verified; every
package file is checked against the SHA-256 in them, so a build needs no trust beyond the machine's own.
"""

import hashlib
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from pileus.base import process

ARCHITECTURE = "amd64"


class PackageError(Exception):
    """The machine's apt can't give what a recipe needs; the message says what to do."""


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """One version of one package. ``stanza`` is its whole entry in apt's index."""

    name: str
    version: str
    sha256: str
    depends: str
    stanza: str

    @property
    def file_name(self) -> str:
        """The name that apt gives to the file."""
        architecture = _field(self.stanza, "Architecture")
        return f"{self.name}_{self.version.replace(':', '%3a')}_{architecture}.deb"


class Archive:
    """The packages of one Debian release, as this machine's apt sees them, kept in a cache directory.

    Only sources whose origin is Debian take part: what else the machine has configured has no place in an image.
    """

    def __init__(self, codename: str, cache: Path) -> None:
        self._codename = codename
        self._cache = cache
        self._options: tuple[str, ...] | None = None

    def candidates(self, names: Sequence[str]) -> tuple[Package, ...]:
        """The newest version of each package, without what they depend on."""
        text = process.run_sync("apt-cache", *self._apt(), "show", "--no-all-versions", *names).decode()
        found = {package.name: package for package in _parse(text)}
        if missing := [name for name in names if name not in found]:
            raise PackageError(f"apt knows no package {', '.join(missing)}: run apt-get update")
        return tuple(found[name] for name in names)

    def closure(self, names: Sequence[str]) -> tuple[Package, ...]:
        """The packages (apt patterns are welcome) with all that they depend on, as installed into an empty system."""
        plan = process.run_sync("apt-get", *self._apt(), "--simulate", "install", *names).decode()
        chosen = re.findall(r"^Inst (\S+) \((\S+) ", plan, re.MULTILINE)
        wanted = [f"{name}={version}" for name, version in chosen]
        text = process.run_sync("apt-cache", *self._apt(), "show", *wanted).decode()
        return tuple(sorted(_parse(text), key=lambda package: package.name))

    def update(self) -> None:
        """Reads the indexes anew from wherever the machine's apt gets them."""
        process.run_sync("apt-get", "--quiet", "update", timeout=600)
        self._options = None

    def fetch(self, packages: Iterable[Package]) -> list[Path]:
        """The package files, downloaded where the cache lacks them.

        Raises:
            PackageError: a file differs from apt's index.
            ProcessError: apt could not download (perhaps the indexes are old: see ``update``).
        """
        packages = list(packages)
        self._cache.mkdir(parents=True, exist_ok=True)
        missing = [package for package in packages if not (self._cache / package.file_name).exists()]
        if missing:
            self._download(missing)
        return [self._checked(package, self._cache / package.file_name) for package in packages]

    def _download(self, packages: Sequence[Package]) -> None:
        with tempfile.TemporaryDirectory(dir=self._cache) as scratch:
            exact = [f"{package.name}={package.version}" for package in packages]
            # apt drops to a user of its own for downloads, who can't write here.
            unboxed = ("-o", "APT::Sandbox::User=root")
            process.run_sync("apt-get", *self._apt(), *unboxed, "download", *exact, cwd=scratch, timeout=1800)
            for package in packages:
                self._checked(package, Path(scratch, package.file_name)).rename(self._cache / package.file_name)

    def _checked(self, package: Package, path: Path) -> Path:
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == package.sha256:
                return path
        path.unlink()
        raise PackageError(f"{package.file_name} is not what apt's index says; it was removed, try again")

    def _apt(self) -> tuple[str, ...]:
        """Options that make apt see an empty system and only Debian's own sources, while it uses the machine's indexes."""
        if self._options is None:
            state = self._cache / "apt"  # what apt makes of the indexes, kept: making it takes seconds
            state.mkdir(parents=True, exist_ok=True)
            sources = state / f"{self._codename}.list"
            _replace(sources, "".join(_debian_sources(self._codename)))
            settings = {
                "Dir::Etc::SourceList": sources,
                "Dir::Etc::SourceParts": "/dev/null",
                "Dir::State::status": "/dev/null",
                # Explicitly: container images turn these two off.
                "Dir::Cache::pkgcache": state / "pkgcache.bin",
                "Dir::Cache::srcpkgcache": state / "srcpkgcache.bin",
                # The machine's pins must not decide what goes into an image.
                "Dir::Etc::Preferences": "/dev/null",
                "Dir::Etc::PreferencesParts": "/dev/null",
                "APT::Install-Recommends": "false",
            }
            self._options = tuple(word for key, value in settings.items() for word in ("-o", f"{key}={value}"))
        return self._options


def _debian_sources(codename: str) -> list[str]:
    """Lines for a sources.list, from what apt itself reports (it reads every format that sources come in)."""
    text = process.run_sync(
        "apt-get",
        "indextargets",
        "--format",
        "$(REPO_URI) $(RELEASE) $(COMPONENT)",
        "Created-By: Packages",
        "Origin: Debian",
        f"Architecture: {ARCHITECTURE}",
    ).decode()
    targets = [line.split() for line in text.splitlines()]
    lines = [
        f"deb [arch={ARCHITECTURE}] {uri} {release} {component}\n"
        for uri, release, component in targets
        if release == codename or release.startswith(f"{codename}-")
    ]
    if not lines:
        raise PackageError(f"apt has no indexes of Debian {codename}: add it to apt's sources, run apt-get update")
    return lines


def _replace(path: Path, text: str) -> None:
    """Writes a file that others may be reading, unless it says that already."""
    if not path.exists() or path.read_text() != text:
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            file.write(text)
        Path(file.name).chmod(0o644)
        Path(file.name).rename(path)


def _parse(text: str) -> list[Package]:
    stanzas = [stanza for stanza in text.split("\n\n") if stanza.strip()]
    return [
        Package(
            name=_field(stanza, "Package"),
            version=_field(stanza, "Version"),
            sha256=_field(stanza, "SHA256"),
            depends=_field(stanza, "Depends"),
            stanza=stanza.strip() + "\n",
        )
        for stanza in stanzas
    ]


def _field(stanza: str, name: str) -> str:
    found = re.search(rf"^{name}: (.*)$", stanza, re.MULTILINE)
    return found.group(1) if found else ""
