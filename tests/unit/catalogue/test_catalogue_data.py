"""The committed tables are what the developer command makes from the packages named in them."""

import gzip
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]
DATA = ROOT / "src" / "pileus" / "catalogue" / "data"


@pytest.fixture(scope="module")
def tools() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        yield importlib.import_module("tools.catalogue.tables")


def unpacked(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes())


def test_the_tables_are_made_from_the_installed_packages(tools: ModuleType) -> None:
    recorded, installed = json.loads(unpacked(DATA / "sources.json.gz")), tools.installed_versions()
    assert recorded == installed, (
        "the sources have changed: run `python -m tools.catalogue`, look at what changed, commit"
    )

    made = tools.build()

    assert {path.name.removesuffix(".json.gz") for path in DATA.iterdir()} == set(made)
    differing = [name for name, text in made.items() if unpacked(DATA / f"{name}.json.gz") != text]
    assert not differing, "made otherwise by now: run `python -m tools.catalogue` and commit"


def test_making_the_tables_twice_gives_the_same_bytes(tools: ModuleType) -> None:
    assert tools.build() == tools.build()


def test_every_type_of_the_source_comes_back_unchanged(tools: ModuleType) -> None:
    from pileus import catalogue

    source = tools.read_source().instance_types
    assert set(catalogue.instance_types()) == set(source)
    for name, info in source.items():
        assert catalogue.describe(name) == info


def test_the_tables_are_small() -> None:
    assert sum(path.stat().st_size for path in DATA.iterdir()) < 200_000
