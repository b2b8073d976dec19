"""The layers of a disk, opened and locked on QEMU's behalf, which can open nothing itself. Called by ``launch`` and ``disks``.

The lock (flock) belongs to the open file. QEMU is handed that open file, so it is locked until QEMU has closed it or is
gone, and not a moment longer, whatever becomes of us.
"""

import contextlib
import fcntl
import os

import msgspec

from pileus.drivers.hypervisor.interface import Disk, DiskLayer, passphrase
from pileus.drivers.hypervisor.qemu import nodes


class OpenLayer(msgspec.Struct, frozen=True, kw_only=True):
    """A layer with our descriptors of it.

    Attributes:
        layer: what it is. node: its format node.
        reader: the file, read-only; writer: the same, read-write and locked, where QEMU may ever write it.
        directory: of a server's socket, instead of both.
        key: a file in memory with the passphrase, for a QEMU that is being started; whoever has it can read it.
    """

    layer: DiskLayer
    node: str
    reader: int | None = None
    writer: int | None = None
    directory: int | None = None
    key: int | None = None

    def descriptors(self) -> tuple[int, ...]:
        """All of them."""
        every = (self.reader, self.writer, self.directory, self.key)
        return tuple(number for number in every if number is not None)


def open_disk(disk: Disk, opened: contextlib.ExitStack, *, keys: bool = False) -> tuple[OpenLayer, ...]:
    """Opens all layers, top first; ``opened`` closes them again. ``keys``: also makes the files of the keys.

    Raises:
        BlockingIOError: another process has one of the volume's own layers.
        FileNotFoundError, OSError: a layer can't be opened.
    """
    return tuple(open_layer(disk.volume_id, layer, opened, keys=keys) for layer in disk.layers)


def open_layer(volume_id: str, layer: DiskLayer, opened: contextlib.ExitStack, *, keys: bool = False) -> OpenLayer:
    """The same with one layer."""

    def keep(descriptor: int) -> int:
        opened.callback(os.close, descriptor)
        return descriptor

    node = nodes.node_of(volume_id, layer)
    if layer.format == "nbd":
        return OpenLayer(layer=layer, node=node, directory=keep(os.open(layer.path.parent, os.O_PATH | os.O_DIRECTORY)))
    writer = None
    if layer.writable or layer.mergeable:
        writer = keep(os.open(layer.path, os.O_RDWR))
        fcntl.flock(writer, fcntl.LOCK_EX | fcntl.LOCK_NB)
    reader = keep(os.open(layer.path, os.O_RDONLY))
    key = keep(_in_memory(passphrase(layer.key))) if keys and layer.key is not None else None
    return OpenLayer(layer=layer, node=node, reader=reader, writer=writer, key=key)


def _in_memory(text: str) -> int:
    """QEMU opens it anew by its number (``/dev/fd``), as its own user. Nobody else has that number."""
    descriptor = os.memfd_create("key")
    os.write(descriptor, text.encode())
    return descriptor
