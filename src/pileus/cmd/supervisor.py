"""Keeps the processes of one cloud running: ``python -m pileus.cmd.supervisor PLAN``, started by ``pileus up``.

It stays for ever, so it imports next to nothing: the plan is made by ``pileus.cmd.plan``. It holds the API's listening
socket, so that no connection is refused while the API is started anew.
"""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

_BACKOFF = (0.1, 0.5, 1.0, 2.0, 5.0)
_STEADY = 30.0
_GRACE = 10.0
LISTENER = "LISTENER"
"""Stands in a child's command for the descriptor of the listening socket."""


def listening_socket(host: str, port: int) -> socket.socket:
    """The API's socket. Raises OSError when the address can't be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(2048)
    return listener


class Keeper:
    """Runs one child for ever, in a thread; one that ends is started again, more slowly if it keeps ending."""

    def __init__(
        self, name: str, argv: list[str], log_file: Path, listener: int, alive: int, stopping: threading.Event
    ) -> None:
        self._argv = [str(listener) if word == LISTENER else word for word in argv]
        self._log_file = log_file
        self._inherited = (listener, alive)
        self._stopping = stopping
        self._process: subprocess.Popen[bytes] | None = None
        self.thread = threading.Thread(target=self._keep, name=name, daemon=True)

    def _keep(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            started = time.monotonic()
            with self._log_file.open("ab") as output:
                self._process = subprocess.Popen(  # noqa: S603 - the plan's own command
                    self._argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=self._inherited,
                    start_new_session=True,
                )
            self._process.wait()
            failures = 0 if time.monotonic() - started > _STEADY else failures + 1
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


def _after_the_last_children(path: Path) -> int:
    """Waits until the children of a supervisor that was killed, which end with it, are gone; they hold the API's address.

    Returns the descriptor of the lock by which that is known: whoever inherits it holds it.

    Raises:
        TimeoutError: one of them does not end.
    """
    alive = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + _GRACE
    while True:
        try:
            fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimeoutError(f"a process of an earlier supervisor still has {path}") from None
            time.sleep(0.02)
        else:
            return alive


def supervise(plan: dict[str, Any]) -> None:
    """Runs the plan's children until SIGTERM or SIGINT. Guests run on after that.

    Raises:
        BlockingIOError: another supervisor has this data directory. OSError: the address is taken. TimeoutError: as said there.
    """
    root = Path(plan["root"])
    # By this lock others know that we run, and as which process. It is not for others to take.
    lock = os.open(root / "supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    alive = _after_the_last_children(root / "children.lock")
    listener = listening_socket(plan["listen"], plan["port"])
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopping.set())
    keepers = [
        Keeper(name, argv, root / "logs" / f"{name}.log", listener.fileno(), alive, stopping)
        for name, argv in plan["children"].items()
    ]
    for keeper in keepers:
        keeper.thread.start()
    stopping.wait()
    for keeper in keepers:
        keeper.stop()


if __name__ == "__main__":
    try:
        supervise(json.loads(sys.argv[1]))
    except BlockingIOError:
        sys.exit("The cloud in this data directory is running already.")
    except TimeoutError as error:
        sys.exit(f"The cloud can't be started yet: {error}")
    except OSError as error:
        sys.exit(f"The API's address can't be had: {error}")
