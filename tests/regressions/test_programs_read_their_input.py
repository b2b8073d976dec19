"""Under uvloop, which the agent runs on, conntrack could not open its input, and programs that read none made us fail."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from pileus.base import process

Runner = Callable[[Coroutine[Any, Any, bytes]], bytes]


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_standard_input_can_be_opened_anew(run: Runner) -> None:
    data = b"line\n" * 100_000
    assert run(process.run("sh", "-c", "exec cat </dev/stdin", stdin=data)) == data


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_standard_input_need_not_be_read(run: Runner) -> None:
    assert run(process.run("true", stdin=b"line\n" * 100_000)) == b""
