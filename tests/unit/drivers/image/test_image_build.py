"""Building: by content, once, and all or nothing. With a recipe that writes a few bytes."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from pileus.base.process import ProcessError
from pileus.drivers.image import build as building
from pileus.drivers.image.build import build
from pileus.drivers.image.build.packages import Archive, Package, PackageError
from pileus.drivers.image.build.recipe import Facts, Workspace, content_id, install_files
from pileus.drivers.image.interface import ImageManifest


class StoppedClock:
    def now(self) -> datetime:
        return datetime(2026, 11, 23, 12, 0, 0, 345678, UTC)

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("builds do not sleep")


def package(version: str = "1") -> Package:
    return Package(name="a", version=version, sha256="0" * 64, depends="", stanza="Architecture: all\n")


class Recipe:
    facts = Facts(
        family="toy",
        prefix="debian-toy",
        description="A toy",
        user="me",
        ssm_path="/aws/service/toy",
        codename="bookworm",
        size=1 << 20,
        cmdline="quiet",
        min_memory=64,
        sources=(),
    )

    def __init__(self) -> None:
        self.version = "1"
        self.made = 0
        self.fails = False

    def packages(self, archive: Archive) -> tuple[Package, ...]:
        return (package(self.version),)

    def make(self, packages: Sequence[Package], archive: Archive, work: Workspace) -> None:
        self.made += 1
        work.progress("making")
        for name in ("disk.qcow2", "kernel", "initrd"):
            (work.target / name).write_text(f"{name} {packages[0].version}")
        if self.fails:
            raise RuntimeError("no space left")


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Recipe:
    recipe = Recipe()
    monkeypatch.setattr(building, "RECIPES", {"toy": recipe})
    monkeypatch.setattr(Archive, "fetch", lambda *_: [])
    return recipe


def run(tmp_path: Path, root: str = "images", progress: list[str] | None = None) -> ImageManifest:
    lines: list[str] = [] if progress is None else progress
    return build("toy", tmp_path / root, tmp_path / "cache", lines.append, StoppedClock())


def images(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.name != ".lock")


def test_an_image_is_a_directory_named_by_its_content(recipe: Recipe, tmp_path: Path) -> None:
    manifest = run(tmp_path)
    directory = tmp_path / "images" / manifest.content
    assert sorted(path.name for path in directory.iterdir()) == ["disk.qcow2", "image.json", "initrd", "kernel"]
    assert msgspec.json.decode((directory / "image.json").read_bytes(), type=ImageManifest) == manifest
    assert manifest.name == f"debian-toy-amd64-20261123-{manifest.content[:8]}"
    assert manifest.created == "2026-11-23T12:00:00.345Z"
    assert (manifest.kernel, manifest.initrd, manifest.cmdline) == ("kernel", "initrd", "quiet")


def test_progress_lines_tell_the_elapsed_time(recipe: Recipe, tmp_path: Path) -> None:
    lines: list[str] = []
    run(tmp_path, progress=lines)
    assert any("making" in line for line in lines)
    assert all(re.match(r" *\d+\.\d s  toy: ", line) for line in lines)


def test_the_same_content_is_made_once(recipe: Recipe, tmp_path: Path) -> None:
    assert run(tmp_path) == run(tmp_path)
    assert recipe.made == 1


def test_another_clone_takes_the_image_from_the_cache(recipe: Recipe, tmp_path: Path) -> None:
    manifest = run(tmp_path)
    assert run(tmp_path, "elsewhere") == manifest
    assert (tmp_path / "elsewhere" / manifest.content / "disk.qcow2").read_text() == "disk.qcow2 1"
    assert recipe.made == 1


def test_a_new_package_version_makes_another_image_beside_the_old_one(recipe: Recipe, tmp_path: Path) -> None:
    first = run(tmp_path)
    recipe.version = "2"
    second = run(tmp_path)
    assert images(tmp_path / "images") == sorted([first.content, second.content])


def test_a_failed_build_leaves_nothing(recipe: Recipe, tmp_path: Path) -> None:
    recipe.fails = True
    with pytest.raises(RuntimeError, match="no space"):
        run(tmp_path)
    assert images(tmp_path / "images") == images(tmp_path / "cache/images") == []


def test_what_a_killed_build_left_is_removed(recipe: Recipe, tmp_path: Path) -> None:
    leftover = tmp_path / "images/.partial-abcdef"
    leftover.mkdir(parents=True)
    (leftover / "disk.qcow2").touch()
    manifest = run(tmp_path)
    assert images(tmp_path / "images") == [manifest.content]


@pytest.mark.parametrize("error", [ProcessError(["apt-get"], 100, "404 Not Found"), PackageError("no indexes")])
def test_missing_or_old_indexes_are_read_anew_once(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fetch(_archive: Archive, packages: Sequence[Package]) -> list[Path]:
        if packages[0].version == "1":
            raise error
        return []

    def update(_archive: Archive) -> None:
        recipe.version = "2"

    monkeypatch.setattr(Archive, "fetch", fetch)
    monkeypatch.setattr(Archive, "update", update)
    manifest = run(tmp_path)
    assert (tmp_path / "images" / manifest.content / "kernel").read_text() == "kernel 2"


def test_a_family_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        build("windows", tmp_path, tmp_path, print)


def test_the_content_id_depends_on_packages_not_on_their_order() -> None:
    one, two = package("1"), package("2")
    assert content_id(Recipe.facts, [one, two]) == content_id(Recipe.facts, [two, one])
    assert content_id(Recipe.facts, [one]) != content_id(Recipe.facts, [two])


def test_the_content_id_depends_on_the_recipe() -> None:
    other = msgspec.structs.replace(Recipe.facts, sources=("files/tiny",))
    assert content_id(Recipe.facts, [package()]) != content_id(other, [package()])


def test_recipe_files_are_executable_when_they_are_programs(tmp_path: Path) -> None:
    source, root = tmp_path / "source", tmp_path / "root"
    (source / "bin").mkdir(parents=True)
    (source / "bin/tool").write_text("#!/bin/sh\n")
    (source / "bin/data").write_text("text\n")
    root.mkdir()
    install_files(source, root)
    assert (root / "bin/tool").stat().st_mode & 0o777 == 0o755
    assert (root / "bin/data").stat().st_mode & 0o777 == 0o644
