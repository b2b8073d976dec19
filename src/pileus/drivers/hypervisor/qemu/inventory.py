"""What a QEMU really has of each volume: asked of it, never remembered. Called by ``disks``."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pileus.drivers.hypervisor.qemu import nodes
from pileus.drivers.hypervisor.qemu.monitor import Monitor, Refused


class _Node(msgspec.Struct):
    id: int
    name: str = ""
    type: str = ""


class _Edge(msgspec.Struct):
    parent: int
    child: int
    name: str


class _Graph(msgspec.Struct):
    nodes: list[_Node]
    edges: list[_Edge]


class _Descriptor(msgspec.Struct):
    opaque: str = ""


class _Set(msgspec.Struct, rename="kebab"):
    fdset_id: int
    fds: list[_Descriptor]


class _Object(msgspec.Struct):
    name: str
    type: str


class _Export(msgspec.Struct):
    id: str


class _Image(msgspec.Struct, rename="kebab"):
    virtual_size: int = 0


class Block(msgspec.Struct, rename="kebab"):
    """One block node: its driver ``drv``, whether it is read-only (``ro``), encrypted, and its size."""

    node_name: str = msgspec.field(name="node-name")
    drv: str
    ro: bool
    encrypted: bool
    image: _Image

    @property
    def size(self) -> int:
        """Bytes."""
        return self.image.virtual_size


class Job(msgspec.Struct):
    """A block job. ``status`` as in ``query-jobs``."""

    id: str
    status: str
    error: str = ""


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """What is there of one volume.

    Attributes:
        plugged: the guest has a device, or there is an export. torn: that device has lost its data.
        chain: the format nodes of its layers, top first. paths: the file of each. mergeable: those whose file QEMU may
            open for writing.
        strays: nodes that belong to no device, in an order in which they can be deleted.
        sets: fd sets by node. secrets: objects that hold its keys.
        job: its merge, if there is one. merging_into: the format node that it writes to.
    """

    volume_id: str
    plugged: bool
    torn: bool
    chain: tuple[str, ...]
    strays: tuple[str, ...]
    paths: dict[str, Path]
    mergeable: frozenset[str]
    sets: dict[str, list[int]]
    secrets: tuple[str, ...]
    job: Job | None
    merging_into: str | None = None

    @property
    def held(self) -> bool:
        """Whether QEMU has anything through which it could still read or write the volume."""
        dead = {nodes.stem(self.volume_id), *nodes.dead_end(self.volume_id)}
        return bool(self.chain or self.sets or set(self.strays) - dead)

    @property
    def untidy(self) -> bool:
        """Whether there is anything that belongs to no device."""
        return not self.plugged or bool(self.strays or self.secrets or self.sets.keys() - set(self.chain))


async def read(monitor: Monitor) -> dict[str, Volume]:
    """All volumes of which there is anything. Raises MonitorError."""
    objects = await _list(monitor, "/objects")
    devices = await _list(monitor, "/machine/peripheral")
    graph = _Tree(msgspec.convert(await monitor.execute("x-debug-query-block-graph"), _Graph))
    sets = msgspec.convert(await monitor.execute("query-fdsets"), list[_Set])
    jobs = {job.id: job for job in await read_jobs(monitor)}
    exports = msgspec.convert(await monitor.execute("query-block-exports"), list[_Export])
    plugged = {device.name for device in devices if device.type.startswith("child<virtio-blk")}
    plugged |= {export.id for export in exports}
    secrets = [found.name for found in objects if found.type == "child<secret>"]
    groups = [found.name for found in objects if found.type == "child<throttle-group>"]
    return {
        volume_id: _volume(volume_id, volume_id in plugged, graph, sets, secrets, jobs.get(nodes.merge_job(volume_id)))
        for volume_id in groups
    }


async def _list(monitor: Monitor, path: str) -> Sequence[_Object]:
    try:
        return msgspec.convert(await monitor.execute("qom-list", {"path": path}), list[_Object])
    except Refused:  # it is made with the first thing in it
        return ()


async def read_jobs(monitor: Monitor) -> Sequence[Job]:
    """All block jobs. Raises MonitorError."""
    return msgspec.convert(await monitor.execute("query-jobs"), list[Job])


async def read_blocks(monitor: Monitor) -> dict[str, Block]:
    """All block nodes by name. Raises MonitorError."""
    answer = await monitor.execute("query-named-block-nodes", {"flat": True})
    return {block.node_name: block for block in msgspec.convert(answer, list[Block])}


class _Tree:
    """The block graph by names."""

    def __init__(self, graph: _Graph) -> None:
        self._names = {node.id: node.name for node in graph.nodes if node.type == "block-driver"}
        self._children: dict[str, dict[str, str]] = {name: {} for name in self._names.values()}
        self._parents: dict[str, list[Any]] = {name: [] for name in self._names.values()}
        for edge in graph.edges:
            child = self._names[edge.child]
            self._parents[child].append(self._names.get(edge.parent))
            if edge.parent in self._names:
                self._children[self._names[edge.parent]][edge.name] = child

    def of(self, volume_id: str) -> set[str]:
        """All nodes of a volume."""
        return {name for name in self._children if nodes.is_of(name, volume_id)}

    def chain(self, volume_id: str) -> Iterator[str]:
        """The format nodes below the volume's filter, top first."""
        node = self._children.get(nodes.stem(volume_id), {}).get("file")
        while node is not None and node not in nodes.dead_end(volume_id):
            if node != nodes.merge_filter(volume_id):
                yield node
            node = self._children[node].get("backing")

    def merging_into(self, volume_id: str) -> str | None:
        """The format node below the one on which the volume's merge has put its filter."""
        top = self._children.get(nodes.merge_filter(volume_id), {}).get("backing")
        return None if top is None else self._children[top].get("backing")

    def reachable(self, node: str) -> set[str]:
        """The node, and all below it."""
        found = {node} if node in self._children else set[str]()
        for child in self._children.get(node, {}).values():
            found |= self.reachable(child)
        return found

    def parents_first(self, names: set[str]) -> Iterator[str]:
        """These nodes, each before those that it uses."""
        left = set(names)
        while left:
            free = sorted(name for name in left if not left.intersection(self._parents[name]))
            yield from free
            left.difference_update(free)


def _volume(
    volume_id: str, plugged: bool, graph: _Tree, sets: Sequence[_Set], secrets: Sequence[str], job: Job | None
) -> Volume:
    used = graph.reachable(nodes.stem(volume_id)) if plugged else set[str]()
    paths: dict[str, Path] = {}
    by_node: dict[str, list[int]] = {}
    mergeable: set[str] = set()
    for fdset in sets:
        labels = [nodes.read_label(descriptor.opaque) for descriptor in fdset.fds]
        if labels and nodes.is_of(labels[0][0], volume_id):
            node, path = labels[0]
            paths[node] = path
            by_node.setdefault(node, []).append(fdset.fdset_id)
            if len(labels) > 1:  # the second one is for writing
                mergeable.add(node)
    return Volume(
        volume_id=volume_id,
        plugged=plugged,
        torn=bool(used.intersection(nodes.dead_end(volume_id))),
        chain=tuple(graph.chain(volume_id)),
        strays=tuple(graph.parents_first(graph.of(volume_id) - used - {nodes.merge_filter(volume_id)})),
        paths=paths,
        mergeable=frozenset(mergeable),
        sets=by_node,
        secrets=tuple(name for name in secrets if nodes.is_of(name, volume_id)),
        job=job,
        merging_into=graph.merging_into(volume_id),
    )
