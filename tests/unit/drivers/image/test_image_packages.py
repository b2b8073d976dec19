"""What is read out of apt, with apt's answers as they are on a Debian 12 machine."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from pileus.base import process
from pileus.drivers.image.build.kernel import image_package
from pileus.drivers.image.build.packages import Archive, PackageError

DATA = b"not really a package"
TARGETS = """\
http://mirror.invalid/debian/ bookworm main
http://mirror.invalid/debian-security/ bookworm-security main
http://mirror.invalid/debian/ trixie main
"""
STANZA = f"""\
Package: zlib1g
Version: 1:1.2.13.dfsg-1
Architecture: amd64
Depends: libc6 (>= 2.14)
Filename: pool/main/z/zlib/zlib1g_1.2.13.dfsg-1_amd64.deb
SHA256: {hashlib.sha256(DATA).hexdigest()}

"""
PLAN = """\
NOTE: This is only a simulation!
Inst zlib1g (1:1.2.13.dfsg-1 Debian:12.12/oldstable [amd64])
Conf zlib1g (1:1.2.13.dfsg-1 Debian:12.12/oldstable [amd64])
"""


class Apt:
    """Answers as apt would, and remembers what it was asked."""

    def __init__(self) -> None:
        self.targets = TARGETS
        self.data = DATA
        self.downloads = 0
        self.sources = ""

    def run(self, *argv: str, **options: Any) -> bytes:
        words = set(argv)
        if "indextargets" in words:
            assert "Origin: Debian" in words
            return self.targets.encode()
        (source_list,) = [word.split("=")[1] for word in argv if word.startswith("Dir::Etc::SourceList=")]
        self.sources = Path(source_list).read_text()
        assert "Dir::State::status=/dev/null" in words
        if "show" in words:
            return STANZA.encode()
        if "install" in words:
            return PLAN.encode()
        assert "download" in words
        assert argv[-1] == "zlib1g=1:1.2.13.dfsg-1"
        self.downloads += 1
        Path(options["cwd"], "zlib1g_1%3a1.2.13.dfsg-1_amd64.deb").write_bytes(self.data)
        return b""


@pytest.fixture
def apt(monkeypatch: pytest.MonkeyPatch) -> Apt:
    apt = Apt()
    monkeypatch.setattr(process, "run_sync", apt.run)
    return apt


@pytest.fixture
def archive(apt: Apt, tmp_path: Path) -> Archive:
    return Archive("bookworm", tmp_path)


def test_a_candidate_has_the_name_that_apt_gives_to_its_file(archive: Archive) -> None:
    (package,) = archive.candidates(["zlib1g"])
    assert (package.name, package.version) == ("zlib1g", "1:1.2.13.dfsg-1")
    assert package.file_name == "zlib1g_1%3a1.2.13.dfsg-1_amd64.deb"


def test_a_closure_is_what_apt_would_install_into_nothing(archive: Archive) -> None:
    assert [package.name for package in archive.closure(["?essential"])] == ["zlib1g"]


def test_only_sources_of_the_release_take_part(archive: Archive, apt: Apt) -> None:
    archive.candidates(["zlib1g"])
    assert apt.sources.splitlines() == [
        "deb [arch=amd64] http://mirror.invalid/debian/ bookworm main",
        "deb [arch=amd64] http://mirror.invalid/debian-security/ bookworm-security main",
    ]


def test_a_machine_without_the_release_says_so(archive: Archive, apt: Apt) -> None:
    apt.targets = "http://mirror.invalid/debian/ trixie main\n"
    with pytest.raises(PackageError, match="bookworm"):
        archive.candidates(["zlib1g"])


def test_a_package_that_apt_does_not_know_is_named(archive: Archive) -> None:
    with pytest.raises(PackageError, match="no-such-thing"):
        archive.candidates(["zlib1g", "no-such-thing"])


def test_files_are_downloaded_once(archive: Archive, apt: Apt, tmp_path: Path) -> None:
    packages = archive.candidates(["zlib1g"])
    first = archive.fetch(packages)
    assert archive.fetch(packages) == first == [tmp_path / packages[0].file_name]
    assert first[0].read_bytes() == DATA
    assert apt.downloads == 1


def test_a_download_that_is_not_what_the_index_says_is_refused(archive: Archive, apt: Apt, tmp_path: Path) -> None:
    apt.data = b"something else"
    with pytest.raises(PackageError, match="zlib1g"):
        archive.fetch(archive.candidates(["zlib1g"]))
    assert list(tmp_path.glob("*.deb")) == []


def test_a_file_damaged_in_the_cache_is_refused_and_removed(archive: Archive, tmp_path: Path) -> None:
    packages = archive.candidates(["zlib1g"])
    (path,) = archive.fetch(packages)
    path.write_bytes(b"rotten")
    with pytest.raises(PackageError, match="zlib1g"):
        archive.fetch(packages)
    assert not path.exists()


def test_the_kernel_package_is_found_through_the_meta_package() -> None:
    depends = "linux-image-6.1.0-37-cloud-amd64 (= 6.1.140-1)"
    assert image_package(depends) == "linux-image-6.1.0-37-cloud-amd64"
    with pytest.raises(ValueError, match="no kernel"):
        image_package("base-files")
