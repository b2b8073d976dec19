"""Runs QEMU's tools on files of volumes, without rights: what is in a volume's files may come from a hostile guest.

A guest that broke out into its QEMU can write anything into the files that it was given, headers too. So a tool is told
every file of a chain by descriptor, follows no name that is written in one, and runs as a user of its own that has no
file but these. Called by ``driver`` and ``frozen``.
"""

import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import msgspec
from msgspec.structs import replace

from pileus.base import process
from pileus.drivers.errors import RetryableError
from pileus.drivers.hypervisor.interface import DiskLayer, passphrase

_LONG = 24 * 3600.0
_NONE: Mapping[Path, int] = {}


class Tools:
    """``uid``: the user that tools run as; None: as ourselves (where we are not root)."""

    def __init__(self, uid: int | None = None) -> None:
        self.uid = uid

    def hand_over(self) -> "HandOver":
        """Things for one run of a tool, until it is left."""
        return HandOver(self.uid)

    async def run(self, given: "HandOver", *argv: str) -> None:
        """Runs a tool to its end; cancelled, it is killed. Raises RetryableError with what it said."""
        try:
            await process.run(*self.words(), *argv, timeout=_LONG, pass_fds=given.descriptors)
        except (process.ProcessError, TimeoutError, FileNotFoundError) as error:
            raise RetryableError(str(error)) from error

    async def resize(self, top: DiskLayer, size: int, locked: Mapping[Path, int]) -> None:
        """Gives a qcow2 layer that nobody has open ``size`` virtual bytes. Raises RetryableError."""
        with self.hand_over() as given:
            name = _pseudo_file(given.node(top, None, locked))
            await self.run(given, "qemu-img", "resize", "-q", *given.arguments(), name, str(size))

    async def commit(self, upper: DiskLayer, lower: DiskLayer, locked: Mapping[Path, int]) -> None:
        """Writes what is in the upper layer into the lower one. The upper one stays as it is. Raises RetryableError."""
        with self.hand_over() as given:
            below = given.node(replace(lower, writable=True), None, locked)
            name = _pseudo_file(given.node(replace(upper, writable=True), below, locked))
            await self.run(given, "qemu-img", "commit", "-q", "-d", *given.arguments(), name)

    def words(self) -> tuple[str, ...]:
        """The words before a tool's name that give up every right."""
        end = ("setpriv", "--pdeathsig=KILL")  # a tool doesn't outlive us
        if self.uid is None:
            return (*end, "--")
        who = f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups"
        rights = "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"
        return (*end, *who, *rights, "prlimit", "--core=0", "--")


class HandOver:
    """Files, sockets and keys that a tool inherits, and how it is told of them."""

    def __init__(self, uid: int | None) -> None:
        self._uid = uid
        self._open = ExitStack()
        self._secrets: dict[bytes, str] = {}
        self._arguments: list[str] = []
        self.descriptors: tuple[int, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def arguments(self) -> Sequence[str]:
        """``--object`` arguments for the keys."""
        return self._arguments

    def keep(self, descriptor: int) -> int:
        """The tool inherits it under the same number; it is closed here at the end."""
        self._open.callback(os.close, descriptor)
        self.descriptors += (descriptor,)
        return descriptor

    def keep_socket(self, end: socket.socket) -> int:
        """The same for a socket."""
        return self.keep(end.detach())

    def node(
        self, layer: DiskLayer, backing: dict[str, Any] | None, locked: Mapping[Path, int] = _NONE
    ) -> dict[str, Any]:
        """A block node over a file. Raises OSError.

        ``locked``: descriptors that hold a lock on the file; the tool inherits it.
        """
        mode = os.O_RDWR if layer.writable else os.O_RDONLY
        descriptor = self.keep(os.dup(locked[layer.path]) if layer.path in locked else os.open(layer.path, mode))
        if self._uid is not None and (layer.writable or layer.mergeable):
            os.fchown(descriptor, self._uid, self._uid)  # it opens /dev/fd/N anew, as itself
        file = {
            "driver": "file",
            "filename": f"/dev/fd/{descriptor}",
            "locking": "off",
            "read-only": not layer.writable,
        }
        node: dict[str, Any] = {"driver": layer.format, "file": file, "read-only": not layer.writable}
        if layer.format == "raw" and layer.key is not None:
            return node | {"driver": "luks", "key-secret": self._secret(layer.key)}
        if layer.format == "qcow2":
            node["backing"] = backing
            if layer.key is not None:
                node["encrypt"] = {"format": "luks", "key-secret": self._secret(layer.key)}
        return node

    def _secret(self, key: bytes) -> str:
        if key not in self._secrets:
            name = self._secrets[key] = f"key{len(self._secrets)}"
            descriptor = self.keep(os.memfd_create(name))
            if self._uid is not None:
                os.fchown(descriptor, self._uid, self._uid)
            os.fchmod(descriptor, 0o400)
            os.write(descriptor, passphrase(key).encode())
            self._arguments += ["--object", f"secret,id={name},file=/dev/fd/{descriptor}"]
        return self._secrets[key]


def _pseudo_file(node: dict[str, Any]) -> str:
    """The node as the name of a file, for ``qemu-img``."""
    return "json:" + msgspec.json.encode(node).decode()
