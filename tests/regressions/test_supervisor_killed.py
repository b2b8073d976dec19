"""A supervisor that was killed was taken for a running one while its process, or another of its number, was there: ``up``
waited for it in vain. Its children have to be gone before the next one's begin."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from pileus.base.config import Config
from pileus.cmd import cloud
from pileus.cmd.layout import Layout


@pytest.fixture
def settings() -> Config:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return replace(Config(simulated_hosts=1), port=free.getsockname()[1])


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    layout = Layout(tmp_path / "cloud")
    yield layout
    cloud.stop(layout)


def test_up_works_at_once_after_the_supervisor_was_killed(layout: Layout, settings: Config) -> None:
    cloud.start(layout, settings, simulate=True)
    killed = cloud.supervisor_pid(layout)
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    while cloud.supervisor_pid(layout) == killed:
        time.sleep(0.01)
    cloud.start(layout, settings, simulate=True)
    assert cloud.supervisor_pid(layout) not in {killed, None}
    assert cloud.stop(layout)
    assert cloud.supervisor_pid(layout) is None
    assert not cloud.healthy(settings)
