"""Takes the snapshots that the host's spec lists, and has them uploaded. Used by ``agent``.

The instant is what a caller of the API waits for: a group has a loop of its own, and nothing slow is on its way. What was
taken is on record in the volume driver, so an agent that is killed in between goes on from there.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable

import msgspec

from pileus.agent.chains import Chains
from pileus.agent.loop import Loop, Signal
from pileus.agent.reports import Board
from pileus.agent.sharing import Holders
from pileus.agent.uploads import Uploads
from pileus.base.clock import Clock
from pileus.drivers.errors import PermanentError
from pileus.drivers.hypervisor.interface import DiskLayer
from pileus.drivers.volume.interface import Volumes
from pileus.hostapi.observation import SnapshotObservation
from pileus.hostapi.spec import SnapshotSpec

log = logging.getLogger(__name__)


class SnapshotSurroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What taking snapshots works with.

    Attributes:
        holders: who has a volume's layers open now, and how they are frozen there.
        ready: waits until a volume that the spec lists is made. Raises DriverError.
        done: told which volumes have something to tidy up.
        uploads_at_once: how many snapshots are uploaded at the same time.
    """

    volumes: Volumes
    holders: Holders
    chains: Chains
    board: Board
    clock: Clock
    ready: Callable[[str], Awaitable[None]]
    done: Callable[[str], None]
    uploads_at_once: int = 1


class SnapshotKeeper:
    """All snapshots on their way from this host into the block store."""

    def __init__(self, around: SnapshotSurroundings) -> None:
        self._around = around
        self._specs: dict[str, SnapshotSpec] = {}
        self._taken: set[str] = set()
        self._failed: set[str] = set()
        self._groups: dict[str, Loop] = {}
        self._ended: set[asyncio.Task[None]] = set()
        self._settled = Signal()
        self._accepted = False
        self._uploads = Uploads(
            around.volumes, around.chains, around.board, around.clock, around.done, around.uploads_at_once
        )

    @property
    def accepted(self) -> bool:
        """Whether any spec was ever taken in: before, nobody can say what is not wanted."""
        return self._accepted

    def accept(self, specs: Iterable[SnapshotSpec]) -> None:
        """Takes a new spec. What it no longer lists is on record, or not wanted any more."""
        wanted = {spec.snapshot_id: spec for spec in specs}
        gone = [spec for snapshot_id, spec in self._specs.items() if snapshot_id not in wanted]
        fresh = [spec for snapshot_id, spec in wanted.items() if snapshot_id not in self._specs]
        self._specs, self._accepted = wanted, True
        for spec in gone:
            self._taken.discard(spec.snapshot_id)
            self._failed.discard(spec.snapshot_id)
            self._around.board.drop(spec.snapshot_id)
            self._around.done(spec.volume_id)
        self._uploads.keep(wanted)
        for group in {spec.group for spec in gone} - {spec.group for spec in wanted.values()}:
            if loop := self._groups.pop(group, None):
                ended = asyncio.create_task(loop.stop())
                self._ended.add(ended)
                ended.add_done_callback(self._ended.discard)
        for group in {spec.group for spec in fresh}:
            if loop := self._groups.get(group):
                loop.wake()
            else:
                self._groups[group] = Loop(
                    f"snapshots {group}", lambda group=group: self._take(group), self._around.clock
                )
        self._settled.fire()

    def listed(self, volume_id: str) -> frozenset[str]:
        """The snapshots of a volume that the spec lists."""
        return frozenset(spec.snapshot_id for spec in self._specs.values() if spec.volume_id == volume_id)

    def parents(self, volume_id: str) -> frozenset[str]:
        """The roots on top of which listed snapshots of a volume are uploaded."""
        return frozenset(
            spec.parent for spec in self._specs.values() if spec.volume_id == volume_id and spec.parent is not None
        )

    def held(self, volume_id: str) -> bool:
        """Whether the volume's data are still needed for a snapshot."""
        return bool(self.listed(volume_id) - self._failed)

    def reading(self, volume_id: str) -> bool:
        """Whether the volume's frozen layers are being read."""
        return volume_id in self._uploads.reading

    async def settled(self, volume_id: str) -> None:
        """Waits until no snapshot of the volume waits for its instant: before a guest gets the volume."""
        while self.listed(volume_id) - self._taken - self._failed:
            await self._settled.wait()

    async def close(self) -> None:
        """Stops everything; what was taken stays taken."""
        await self._uploads.close()
        await asyncio.gather(*(loop.stop() for loop in self._groups.values()), *self._ended)

    async def _take(self, group: str) -> None:
        members = [spec for spec in self._specs.values() if spec.group == group and self._is_open(spec)]
        for member in list(members):
            try:
                await self._around.ready(member.volume_id)
            except PermanentError as error:
                self._fail(member, error)
                members.remove(member)
        if not members:
            return
        async with self._around.chains.hold(member.volume_id for member in members):
            taken = await self._freeze(members)
        for member in taken:
            if member.snapshot_id in self._specs:
                self._taken.add(member.snapshot_id)
                self._around.board.put_snapshot(SnapshotObservation(snapshot_id=member.snapshot_id, phase="taken"))
                self._uploads.add(member)
        self._settled.fire()

    async def _freeze(self, members: Collection[SnapshotSpec]) -> list[SnapshotSpec]:
        """Those that are taken now. Until the end all can be repeated."""
        volumes = self._around.volumes
        tops: defaultdict[str | None, dict[str, DiskLayer]] = defaultdict(dict)
        taken: list[SnapshotSpec] = []
        for member in members:
            holder = await self._around.holders.holder(member.volume_id)
            try:
                await self._finish_earlier(member, holder)
                top = await volumes.cover(member.volume_id, member.snapshot_id)
            except PermanentError as error:
                self._fail(member, error)
                continue
            taken.append(member)
            if top is not None:
                tops[holder][member.volume_id] = top
        for holder, layers in tops.items():
            await self._put(holder, layers)
        return taken

    async def _finish_earlier(self, member: SnapshotSpec, holder: str | None) -> None:
        """A layer that was made for a snapshot which nobody wants any more may or may not be in place yet."""
        earlier = await self._around.volumes.uncovered(member.volume_id)
        if earlier is not None and earlier[0] != member.snapshot_id:
            await self._put(holder, {member.volume_id: earlier[1]})

    async def _put(self, holder: str | None, layers: dict[str, DiskLayer]) -> None:
        if holder is not None:
            await self._around.holders.freeze(holder, layers)
        for volume_id in layers:
            await self._around.volumes.covered(volume_id)

    def _is_open(self, spec: SnapshotSpec) -> bool:
        return spec.snapshot_id not in self._taken and spec.snapshot_id not in self._failed

    def _fail(self, spec: SnapshotSpec, error: PermanentError) -> None:
        log.error("snapshot can't be taken", extra={"snapshot": spec.snapshot_id, "reason": str(error)})
        if spec.snapshot_id in self._specs:
            self._failed.add(spec.snapshot_id)
            self._around.board.put_snapshot(
                SnapshotObservation(snapshot_id=spec.snapshot_id, phase="failed", detail=str(error))
            )
        self._settled.fire()
