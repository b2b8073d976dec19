"""What is not documented does not exist: pages that are generated are current, and settings and commands are all told."""

import re
import runpy
from pathlib import Path

import click
import msgspec
import pytest

from pileus.base.config import Config, ObjectsConfig, RegionConfig
from pileus.cmd.main import main
from pileus.services.registry import SERVICES

ROOT = Path(__file__).parents[2]
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()
COMMAND = (ROOT / "docs" / "command.md").read_text()

NEEDED = {"sts": ["GetCallerIdentity"], "ssm": ["GetParameter", "GetParameters", "GetParametersByPath"]}
"""Besides EC2's, which tests/unit/services/ec2 lists."""


def test_the_coverage_page_is_what_the_code_says():
    page = runpy.run_path(str(ROOT / "tools" / "coverage.py"))["page"]
    assert (ROOT / "docs" / "coverage.md").read_text() == page(), "run: make docs"


def test_every_setting_is_described():
    told = {name for line in CONFIGURATION.splitlines() for name in re.findall(r"`([\w.]+)`", line.partition(" | ")[0])}
    settings = {field.name for field in msgspec.structs.fields(Config)}
    settings |= {f"regions.{field.name}" for field in msgspec.structs.fields(RegionConfig)}
    settings |= {f"objects.{field.name}" for field in msgspec.structs.fields(ObjectsConfig)}
    assert settings <= told


def commands(group, name):
    """All commands that people may call, each with its full name."""
    for sub in group.commands.values():
        full = f"{name} {sub.name}"
        if isinstance(sub, click.Group):
            yield from commands(sub, full)
        elif not sub.hidden:
            yield full, sub


@pytest.mark.parametrize(("name", "command"), [("pileus", main), *commands(main, "pileus")], ids=str)
def test_every_command_and_option_is_described(name, command):
    section = re.search(rf"^## `{name}( .*)?`\n(.*?)(?=^## |\Z)", COMMAND, re.MULTILINE | re.DOTALL)
    assert section, f"docs/command.md has no section for {name}"
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert f"`{max(parameter.opts, key=len)}" in section[0], f"{name} {parameter.opts}"


def test_operations_that_the_main_job_needs_are_declared():
    declared = {service.name: service.operations for service in SERVICES}
    for service, operations in NEEDED.items():
        assert set(operations) <= declared[service].keys()
