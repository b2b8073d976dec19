"""Network namespaces: making, finding and entering them. Named ones are mounts under /run/netns, as iproute2 has it."""

import asyncio
import ctypes
import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from pileus.base.process import run

_NETNS = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

Result = TypeVar("Result")

ROUTER_SETTINGS = (
    # A new namespace has the host's values, and "all" is combined with a link's own in ways that differ by setting.
    *(
        (f"ipv4/conf/{scope}/{key}", "0")
        for scope in ("all", "default")
        for key in ("accept_redirects", "accept_source_route", "arp_ignore", "route_localnet", "send_redirects")
    ),
    *(
        (f"ipv6/conf/{scope}/{key}", "0")
        for scope in ("all", "default")
        for key in ("disable_ipv6", "accept_ra", "accept_redirects", "accept_source_route", "autoconf", "accept_dad")
    ),
    ("ipv6/conf/default/addr_gen_mode", "1"),  # no address that nobody has asked for
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv4/ip_forward", "1"),
)
"""For ``write_settings``: a namespace that forwards, and has only the addresses that it is given."""


class Namespace:
    """A named network namespace, or with ``name=None`` the one that this process runs in ("the host")."""

    def __init__(self, name: str | None) -> None:
        self.name = name

    def exists(self) -> bool:
        """Whether it is there and whole: a name without a mount is left by a crash inside ``ip netns add``."""
        return self.name is None or _is_mounted(self._path)

    async def create(self) -> None:
        """Makes it, empty, unless it exists."""
        if not self.exists():
            self._path.unlink(missing_ok=True)
            await run("ip", "netns", "add", self._path.name)

    async def delete(self) -> None:
        """Removes the name. The namespace itself lives on while a process or an open socket or tap uses it."""
        if self.exists():
            await run("ip", "netns", "delete", self._path.name)
        self._path.unlink(missing_ok=True)

    async def run(self, *argv: str, stdin: bytes | None = None) -> bytes:
        """Runs a program in the namespace, which keeps the host's mounts. Raises as ``pileus.base.process.run``."""
        enter = () if self.name is None else ("nsenter", f"--net={self._path}")
        return await run(*enter, *argv, stdin=stdin)

    async def ip(self, commands: Iterable[str]) -> None:
        """Performs ``ip`` commands in order up to the first that fails; none starts no process.

        Those that begin with ``-6`` come last: a batch has one family.
        """
        batches: dict[bool, list[str]] = {False: [], True: []}
        for command in commands:
            batches[command.startswith("-6 ")].append(command.removeprefix("-6 "))
        for ipv6, batch in batches.items():
            if batch:
                family = ("-6",) if ipv6 else ()
                await run(*self._ip, *family, "-batch", "-", stdin="\n".join(batch).encode())

    async def show(self, *commands: str, ipv6: bool = False) -> list[list[dict[str, Any]]]:
        """What ``ip -json`` answers to each command, asked in one process; ``ipv6``: of that family alone."""
        family = ("-6",) if ipv6 else ()
        out = await run(*self._ip, *family, "-json", "-batch", "-", stdin="\n".join(commands).encode())
        return _json_documents(out.decode())

    async def call(self, work: Callable[[], Result]) -> Result:
        """Performs ``work`` in a thread of its own inside the namespace; the thread ends with it.

        Raises:
            OSError: the namespace can't be entered, or from ``work``.
        """

        def inside() -> Result:
            self._enter()
            return work()

        with ThreadPoolExecutor(max_workers=1) as executor:
            return await asyncio.get_running_loop().run_in_executor(executor, inside)

    def inode(self) -> int:
        """The namespace's identity, as /proc/<pid>/ns/net shows it too."""
        return (Path("/proc/thread-self/ns/net") if self.name is None else self._path).stat().st_ino

    @property
    def _path(self) -> Path:
        assert self.name is not None, "the host's own namespace has no name"
        return _NETNS / self.name

    @property
    def _ip(self) -> tuple[str, ...]:
        return ("ip",) if self.name is None else ("ip", "-netns", self.name)

    def _enter(self) -> None:
        if self.name is None:
            return
        descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if _libc.setns(descriptor, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"can't enter the namespace {self.name}")
        finally:
            os.close(descriptor)


def names(prefix: str) -> list[str]:
    """All names under /run/netns that begin so, half-made ones included."""
    return sorted(path.name for path in _NETNS.glob(f"{prefix}*"))


def write_settings(settings: Iterable[tuple[str, str]]) -> None:
    """Writes (path below /proc/sys/net, value) for the namespace of the calling thread; for use inside ``call``."""
    for path, value in settings:
        Path("/proc/sys/net", path).write_text(value)


def _is_mounted(path: Path) -> bool:
    try:
        return path.stat().st_dev != _NETNS.stat().st_dev
    except FileNotFoundError:
        return False


def _json_documents(text: str) -> list[list[dict[str, Any]]]:
    """Splits what ``ip -json -batch`` prints: one JSON list a command. Empty objects stand for filtered-out entries."""
    decoder, documents, position = json.JSONDecoder(), list[list[dict[str, Any]]](), 0
    while (position := len(text) - len(text[position:].lstrip())) < len(text):
        document, position = decoder.raw_decode(text, position)
        documents.append([entry for entry in document if entry])
    return documents
