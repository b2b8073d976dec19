"""A disk as QEMU's block layer has it: the names and properties of its nodes. Pure. Called by ``command`` and ``disks``.

A disk is built in the same way whether it is there at the start or plugged in later, from below::

    file node ── format node ── file node ── format node ── throttle ── virtio-blk
    (lowest layer)              (top layer)                 filter      device

Names follow from the volume id and the layer's path, never from a position, so that whoever comes later (another agent)
finds everything again. A name has the volume's *stem* before a dot, and at most 31 characters (QEMU's limit).

Writes of zeros are not looked for (``detect-zeroes``): it would read every byte that the guest writes, on its own time;
what the guest discards is given back (``discard``).
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pileus.drivers.errors import PermanentError
from pileus.drivers.hypervisor.interface import Disk, DiskLayer

Properties = Mapping[str, Any]

# Seconds for which the guest's requests wait for a server that went away: for as long as it takes.
_SERVER_PATIENCE = 10 * 365 * 86_400

_EXACT = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_LONGEST_STEM = 21  # a volume id: "vol-" and 17 digits
_SERIAL_LIMIT = 20  # of virtio


def check(disk: Disk) -> None:
    """Raises PermanentError when this can't be a disk."""
    if not _EXACT.fullmatch(disk.volume_id):
        raise PermanentError(f"{disk.volume_id!r} is no volume id")
    if len(disk.serial) > _SERIAL_LIMIT or not disk.layers or any(layer.writable for layer in disk.layers[1:]):
        raise PermanentError(f"{disk.volume_id}: the serial is too long, or a lower layer is writable")
    if any(layer.format == "nbd" and layer.key is not None for layer in disk.layers):
        raise PermanentError(f"{disk.volume_id}: a server's layer has no key")


def stem(volume_id: str) -> str:
    """What the names of a volume's nodes begin with. The name of its throttle filter is this and nothing else."""
    if len(volume_id) <= _LONGEST_STEM:
        return volume_id
    return "v" + hashlib.sha256(volume_id.encode()).hexdigest()[: _LONGEST_STEM - 1]


def is_of(node: str, volume_id: str) -> bool:
    """Whether a node, or what else is named like one, belongs to a volume."""
    return node == stem(volume_id) or node.startswith(stem(volume_id) + ".")


def node_of(volume_id: str, layer: DiskLayer) -> str:
    """The format node of a layer."""
    return node_at(volume_id, layer.path, layer.export)


def node_at(volume_id: str, path: Path, export: str = "") -> str:
    """The format node of the layer at ``path``."""
    place = hashlib.sha256(f"{path}\0{export}".encode()).hexdigest()
    return f"{stem(volume_id)}.{place[:7]}"


def file_node(node: str) -> str:
    """The node below a format node."""
    return f"{node}f"


def secret(node: str) -> str:
    """The object that holds a layer's key while the layer is opened."""
    return f"{node}k"


def dead_end(volume_id: str) -> tuple[str, str]:
    """The nodes that a disk gets instead of its layers when it is torn out; the upper one fails every request."""
    return f"{stem(volume_id)}.torn", f"{stem(volume_id)}.void"


def merge_job(volume_id: str) -> str:
    """The job that merges a layer of this volume."""
    return f"{volume_id}.merge"


def merge_filter(volume_id: str) -> str:
    """The node that QEMU puts into the chain during a merge."""
    return f"{stem(volume_id)}.merge"


def label(node: str, path: Path) -> str:
    """What a file's descriptors in QEMU are marked with; ``read_label`` takes it apart."""
    return f"{node} {path}"


def read_label(text: str) -> tuple[str, Path]:
    """The node and the path of a label."""
    node, _, path = text.partition(" ")
    return node, Path(path)


def limits(disk: Disk) -> Properties:
    """The properties of the volume's throttle group; 0 is without limit."""
    return {"iops-total": disk.iops or 0, "bps-total": disk.throughput or 0}


def group(disk: Disk) -> Properties:
    """The object that holds the volume's limits. It is there before all else and goes last."""
    return {"qom-type": "throttle-group", "id": disk.volume_id, "limits": limits(disk)}


def throttle(volume_id: str, below: str) -> Properties:
    """The filter on top of everything."""
    return {
        "driver": "throttle",
        "node-name": stem(volume_id),
        "throttle-group": volume_id,
        "file": below,
        "discard": "unmap",
    }


def device(disk: Disk) -> Properties:
    """What the guest sees."""
    return {"driver": "virtio-blk-pci", "id": disk.volume_id, "drive": stem(disk.volume_id), "serial": disk.serial}


def export(disk: Disk) -> Properties:
    """What guests see that share the volume: a server's export of the volume's name."""
    return {
        "type": "nbd",
        "id": disk.volume_id,
        "node-name": stem(disk.volume_id),
        "name": disk.volume_id,
        "writable": True,
    }


def file(node: str, fdset: int, *, writable: bool) -> Properties:
    """The file of a layer, out of a set with a read-only and (for ``writable``) a read-write descriptor.

    It is open for writing only while something above it writes. QEMU's own locks are off because it would hold those of
    a layer frozen by a snapshot for ever: we lock the descriptor that it is given instead (see ``layers``).
    """
    return {
        "driver": "file",
        "node-name": file_node(node),
        "filename": f"/dev/fdset/{fdset}",
        "locking": "off",
        "read-only": not writable,
        "auto-read-only": True,
        "discard": "unmap",
    }


def contents(node: str, driver: str, below: str | None, *, encrypted: bool, read_only: bool) -> Properties:
    """The format node over a file. ``below`` is the next layer's."""
    common = {"node-name": node, "file": file_node(node), "read-only": read_only, "discard": "unmap"}
    if driver == "qcow2":
        lock = {"encrypt": {"format": "luks", "key-secret": secret(node)}} if encrypted else {}
        return {"driver": "qcow2", "backing": below, **lock, **common}
    if encrypted:
        return {"driver": "luks", "key-secret": secret(node), **common}
    return {"driver": "raw", **common}


def server(node: str, layer: DiskLayer, directory: int) -> Properties:
    """A layer that a server has. ``directory`` is QEMU's own descriptor of the socket's."""
    return {
        "driver": "nbd",
        "node-name": node,
        "server": {"type": "unix", "path": f"/proc/self/fd/{directory}/{layer.path.name}"},
        "export": layer.export,
        "reconnect-delay": _SERVER_PATIENCE,
        "read-only": not layer.writable,
        "discard": "unmap",
    }


def torn(volume_id: str, size: int) -> tuple[Properties, Properties]:
    """The nodes of ``dead_end``, lower one first. ``size`` must be the disk's: it doesn't change by this."""
    upper, lower = dead_end(volume_id)
    refused = ("read", "write", "write-zeroes", "discard", "flush")
    rules = [{"event": "none", "iotype": kind, "errno": 5, "immediately": True} for kind in refused]
    return (
        {"driver": "null-co", "node-name": lower, "size": size},
        {"driver": "blkdebug", "node-name": upper, "image": lower, "inject-error": rules},
    )
