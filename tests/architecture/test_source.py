"""What the linters don't see of how the code shall read."""

import ast
from pathlib import Path

import pytest

from pileus.records import KINDS
from pileus.services.registry import SERVICES

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "src").rglob("*.py"))
SUFFIXES = {
    ".py",
    ".md",
    ".toml",
    ".txt",
    ".cfg",
    ".sh",
    ".lock",
    ".in",
    ".yaml",
    ".json",
    ".ts",
    ".tsx",
    ".html",
    ".css",
    "",
}

FOREIGN = [
    "pypi." + "org",
    "python" + "hosted.org",
    "registry.npm" + "js.org",
    "deb.deb" + "ian.org",
    "snapshot.deb" + "ian.org",
    "proxy.go" + "lang.org",
]
"""Registries and mirrors: whose they are is for the machine's configuration to say, never for this repository."""


def texts():
    """All files that people write, with their text."""
    for top in ("src", "tests", "tools", "bench", "docs", "console", ".ci"):
        for path in sorted((ROOT / top).rglob("*")):
            if path.is_file() and path.suffix in SUFFIXES and not {"__pycache__", "node_modules"} & set(path.parts):
                yield path, path.read_text(errors="replace")
    for path in sorted(ROOT.iterdir()):
        if path.is_file() and path.suffix in SUFFIXES:
            yield path, path.read_text(errors="replace")


def test_no_module_is_longer_than_can_be_read():
    long = {str(path): count for path in MODULES if (count := len(path.read_text().splitlines())) > 500}
    assert not long


def test_every_module_says_what_it_is():
    silent = [str(path) for path in MODULES if (text := path.read_text()) and not ast.get_docstring(ast.parse(text))]
    assert not silent


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_every_operation_says_what_it_does(service):
    silent = [name for name, operation in service.operations.items() if not operation.handler.__doc__]
    assert not silent


def test_kinds_of_records_have_names_of_their_own():
    names = [kind.kind for kind in KINDS]
    assert len(names) == len(set(names))
    assert all(kind.__doc__ for kind in KINDS)


def test_nothing_is_tied_to_one_machine_or_to_where_packages_come_from():
    found = [
        f"{path.relative_to(ROOT)}: {word}" for path, text in texts() for word in (*FOREIGN, f"{ROOT}/") if word in text
    ]
    assert not found
