"""What the agent has to say, gathered from its reconcilers and handed to the link when that can take it."""

import asyncio
from collections.abc import Iterable

from pileus.base.clock import Clock
from pileus.hostapi.observation import (
    ConversionObservation,
    FlowObservation,
    GuestObservation,
    HostReport,
    SnapshotObservation,
    VolumeObservation,
)

_FLOWS_KEPT = 100_000
_FLOWS_AT_ONCE = 10_000  # about 2 MB


class Board:
    """The latest observation of everything on this host, and which of it has not been reported.

    ``coalesce`` in seconds: how long a change waits for others that come with it.
    """

    def __init__(self, host_id: str, clock: Clock, coalesce: float = 0.01) -> None:
        self._host_id = host_id
        self._clock = clock
        self._coalesce = coalesce
        self._guests: dict[str, GuestObservation] = {}
        self._volumes: dict[str, VolumeObservation] = {}
        self._snapshots: dict[str, SnapshotObservation] = {}
        self._conversions: dict[str, ConversionObservation] = {}
        self._flows: list[FlowObservation] = []
        self._revision = 0
        self._network_ready = False
        self._changed: set[str] = set()
        self._full = False
        self._something = asyncio.Event()

    def put_guest(self, observation: GuestObservation) -> None:
        """Notes what a guest is like now."""
        if self._guests.get(observation.instance_id) != observation:
            self._guests[observation.instance_id] = observation
            self._mark(observation.instance_id)

    def put_volume(self, observation: VolumeObservation) -> None:
        """Notes what a volume is like now."""
        if self._volumes.get(observation.volume_id) != observation:
            self._volumes[observation.volume_id] = observation
            self._mark(observation.volume_id)

    def put_snapshot(self, observation: SnapshotObservation) -> None:
        """Notes how far a snapshot is."""
        if self._snapshots.get(observation.snapshot_id) != observation:
            self._snapshots[observation.snapshot_id] = observation
            self._mark(observation.snapshot_id)

    def put_conversion(self, observation: ConversionObservation) -> None:
        """Notes how far a conversion is."""
        if self._conversions.get(observation.task_id) != observation:
            self._conversions[observation.task_id] = observation
            self._mark(observation.task_id)

    def put_flows(self, flows: Iterable[FlowObservation]) -> None:
        """Notes what was captured for flow logs; it is told once. Those that nobody takes are dropped, oldest first."""
        self._flows.extend(flows)
        if self._flows:
            del self._flows[:-_FLOWS_KEPT]
            self._mark()

    def put_network(self, revision: int, *, ready: bool) -> None:
        """Notes the spec's revision, and whether its network is applied."""
        if (self._revision, self._network_ready) != (revision, ready):
            self._revision, self._network_ready = revision, ready
            self._mark()

    def drop(self, resource_id: str) -> None:
        """Forgets what is neither wanted nor there; the next full report says so by silence."""
        self._guests.pop(resource_id, None)
        self._volumes.pop(resource_id, None)
        self._snapshots.pop(resource_id, None)
        self._conversions.pop(resource_id, None)
        self._changed.discard(resource_id)

    def volume_ids(self) -> Iterable[str]:
        """The volumes that have an observation."""
        return tuple(self._volumes)

    def want_full(self) -> None:
        """Makes the next report a full one."""
        self._full = True
        self._mark()

    async def next_report(self) -> HostReport:
        """Waits until there is something to say, and says it. Full reports list everything, others what changed."""
        await self._something.wait()
        await self._clock.sleep(self._coalesce)
        full, changed = self._full, self._changed
        self._full, self._changed = False, set()
        flows, self._flows = self._flows[:_FLOWS_AT_ONCE], self._flows[_FLOWS_AT_ONCE:]
        self._something.clear()
        if self._flows:
            self._mark()
        return HostReport(
            host_id=self._host_id,
            revision=self._revision,
            guests=tuple(guest for guest in self._guests.values() if full or guest.instance_id in changed),
            volumes=tuple(volume for volume in self._volumes.values() if full or volume.volume_id in changed),
            snapshots=tuple(each for each in self._snapshots.values() if full or each.snapshot_id in changed),
            conversions=tuple(each for each in self._conversions.values() if full or each.task_id in changed),
            flows=tuple(flows),
            network_ready=self._network_ready,
            full=full,
        )

    def _mark(self, resource_id: str | None = None) -> None:
        if resource_id is not None:
            self._changed.add(resource_id)
        self._something.set()
