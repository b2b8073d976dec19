"""Keeps the processes of one cloud running. Started by ``pileus up``; imports next to nothing, since it stays for ever.

It holds the API's listening socket, so that no connection is refused while the API is started anew.
"""

import fcntl
import os
import signal
import socket
import subprocess  # noqa: TID251 - children are started with descriptors and waited for together: process.run can't
import sys
import threading
from pathlib import Path
from typing import NamedTuple

from pileus.base.clock import SystemClock
from pileus.base.config import Config
from pileus.base.process import spawn
from pileus.cmd.layout import Layout
from pileus.cmd.privileges import bound_to_parent, unprivileged

_BACKOFF = (0.1, 0.5, 1.0, 2.0, 5.0)
_STEADY = 30.0
_GRACE = 10.0


class Child(NamedTuple):
    """One process: its name and command, and whether it keeps privileges."""

    name: str
    argv: list[str]


def listening_socket(settings: Config) -> socket.socket:
    """The API's socket. Raises OSError when the address can't be had."""
    family = socket.AF_INET6 if ":" in settings.listen else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((settings.listen, settings.port))
    listener.listen(2048)
    listener.set_inheritable(True)
    return listener


def children(layout: Layout, listener: int, *, simulate: bool) -> list[Child]:
    """The processes of a cloud. The agent alone keeps privileges, and only when it drives real guests."""
    python = [sys.executable, "-m", "pileus.cmd.main", "--data-dir", str(layout.root), "serve"]
    writable = [layout.root]
    mode = ["--simulate"] if simulate else []
    agent = [*python, "agent", *mode]
    return [
        Child("controller", unprivileged([*python, "controller", *mode], writable)),
        Child("api", unprivileged([*python, "api", "--listener", str(listener)], writable)),
        Child("agent", unprivileged(agent, writable) if simulate else bound_to_parent(agent)),
    ]


class Keeper:
    """Runs one child for ever, in a thread of its own; one that ends is started again, ever more slowly if it keeps ending."""

    def __init__(self, child: Child, log_file: Path, listener: int, stopping: threading.Event) -> None:
        self._child = child
        self._log_file = log_file
        self._listener = listener
        self._stopping = stopping
        self._clock = SystemClock()
        self._process: subprocess.Popen[bytes] | None = None
        self.thread = threading.Thread(target=self._keep, name=child.name, daemon=True)

    def _keep(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            started = self._clock.monotonic()
            with self._log_file.open("ab") as output:
                self._process = spawn(
                    *self._child.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=(self._listener,),
                    start_new_session=True,
                )
            self._process.wait()
            failures = 0 if self._clock.monotonic() - started > _STEADY else failures + 1
            self._stopping.wait(_BACKOFF[min(failures, len(_BACKOFF) - 1)])

    def stop(self) -> None:
        """Asks the child to end, and insists after a while."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def supervise(layout: Layout, settings: Config, *, simulate: bool) -> None:
    """Runs the cloud until SIGTERM or SIGINT. Guests run on after that.

    Raises:
        BlockingIOError: another supervisor has this data directory. OSError: the address is taken.
    """
    lock = layout.lock_file.open("a")
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    listener = listening_socket(settings)
    layout.pid_file.write_text(f"{os.getpid()}\n")
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopping.set())
    keepers = [
        Keeper(child, layout.logs / f"{child.name}.log", listener.fileno(), stopping)
        for child in children(layout, listener.fileno(), simulate=simulate)
    ]
    for keeper in keepers:
        keeper.thread.start()
    stopping.wait()
    for keeper in keepers:
        keeper.stop()
    layout.pid_file.unlink(missing_ok=True)
    lock.close()
