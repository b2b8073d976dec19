"""How processes on one machine tell each other that SQLite's change log has grown: one datagram to each that waits.

Each waiting process binds a socket in the directory ``watch`` beside the database. Losing a datagram costs time only:
waiting ends by itself after a while and the log is the truth.
"""

import contextlib
import os
import secrets
import socket
from pathlib import Path


class Bell:
    """The end of one process. ``ring`` may be called from any thread, ``wait`` by one."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        # A socket's path must fit in 108 bytes; through /proc any directory's does.
        self._directory = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sender.setblocking(False)
        self._receiver: socket.socket | None = None

    def ring(self) -> None:
        """Wakes all other processes that wait. Sockets that nobody listens to any more are removed."""
        for name in os.listdir(self._directory):  # noqa: PTH208 - by descriptor, which Path can't do
            if name != self._name:
                self._send(name)

    def wait(self, timeout: float) -> bool:
        """Blocks until someone rang, at most ``timeout`` seconds.

        The first call makes this process one that waits, and returns at once: what rang before was not heard.
        """
        if self._receiver is None:
            self._receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._receiver.bind(self._path(self._name))
            return True
        self._receiver.settimeout(timeout)
        try:
            self._receiver.recv(1)
        except TimeoutError:
            return False
        self._receiver.setblocking(False)
        with contextlib.suppress(BlockingIOError):  # one look at the log answers all that rang meanwhile
            while self._receiver.recv(1):
                pass
        return True

    def interrupt(self) -> None:
        """Makes ``wait`` return."""
        self._send(self._name)

    def close(self) -> None:
        self._sender.close()
        if self._receiver is not None:
            self._receiver.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._name, dir_fd=self._directory)
        os.close(self._directory)

    def _path(self, name: str) -> str:
        return f"/proc/self/fd/{self._directory}/{name}"

    def _send(self, name: str) -> None:
        try:
            self._sender.sendto(b"!", self._path(name))
        except BlockingIOError:
            pass  # its queue is full: it is being woken anyway
        except FileNotFoundError:
            pass  # it has just closed
        except ConnectionRefusedError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self._directory)
