"""What hosts see of flows becomes lines of flow logs, and those batches that wait for delivery.

``hosts`` hands in what is reported, ``loop`` runs it. Flows are kept in memory for the aggregation interval; what is lost
with the process is lost, as EC2 says of its flow logs.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Network, ip_address

import msgspec

from pileus.base.clock import Clock
from pileus.base.config import Config
from pileus.base.ids import new_id
from pileus.controllers.flow_lines import Flow, Scribe, flow_key
from pileus.hostapi.observation import FlowObservation
from pileus.records import FlowBatch, FlowLog, Instance, NetworkInterface, Subnet, Vpc
from pileus.records.flow_log import fields_of
from pileus.store import Store, Transaction, View

log = logging.getLogger(__name__)

GRACE = 75
"""Seconds that an interval stays open after its end: hosts tell a minute's flows when it is over."""
BATCH_BYTES = 64 << 10
MOST_FLOWS = 50_000
"""In one interval of one log; what comes on top is skipped, and the log says so."""
MOST_WAITING = 256
"""Batches of one log that wait for delivery; after that the oldest are dropped."""

_LOOK_EVERY = 5.0
_UDP = 17
_DHCP = ({67, 68}, {67})
_DHCP6 = frozenset({546, 547})
_LINK_LOCAL = frozenset(
    {"169.254.169.254", "169.254.169.253", "169.254.169.123", "fd00:ec2::254", "fd00:ec2::253", "fd00:ec2::123"}
)


class _Watched(msgspec.Struct):
    """An interface with its flow logs. ``apart`` are the addresses with which its traffic is not recorded."""

    interface: NetworkInterface
    logs: Sequence[FlowLog]
    apart: frozenset[str]

    def leaves_out(self, told: FlowObservation) -> bool:
        """Whether it is traffic that no flow log records."""
        ports = {told.source_port, told.destination_port}
        dhcp = told.protocol == _UDP and (ports in _DHCP or ports <= _DHCP6)
        return dhcp or told.source in self.apart or told.destination in self.apart


class _Seen(msgspec.Struct):
    """An interface in one interval."""

    interface: NetworkInterface
    flows: dict[tuple[object, ...], Flow] = {}
    skipped: bool = False


class _Interval(msgspec.Struct):
    """One aggregation interval of one log, by interface id."""

    seen: dict[str, _Seen] = {}
    flows: int = 0

    def add(self, interface: NetworkInterface, told: FlowObservation) -> None:
        seen = self.seen.setdefault(interface.id, _Seen(interface))
        key = flow_key(told)
        known = seen.flows.get(key)
        if known is not None:
            known.add(told)
        elif self.flows < MOST_FLOWS:
            seen.flows[key] = Flow.of(told)
            self.flows += 1
        else:
            seen.skipped = True


class FlowKeeper:
    """The open intervals of all flow logs."""

    def __init__(self, store: Store, config: Config, clock: Clock) -> None:
        self._store = store
        self._config = config
        self._clock = clock
        self._regions = frozenset(region.name for region in config.regions)
        self._open: dict[tuple[str, int], _Interval] = {}
        self._closed: dict[str, int] = {}
        self._begun = self._now()

    def take(self, host_id: str, flows: Iterable[FlowObservation]) -> None:
        """What a host saw. It is believed of its own guests' interfaces, and of those that no instance has."""
        if not flows:
            return
        view, now = self._store.view(), self._now()
        known: dict[str, _Watched | None] = {}
        for told in flows:
            if told.interface_id not in known:
                known[told.interface_id] = self._watched(view, told.interface_id, host_id)
            watched = known[told.interface_id]
            if watched is None or not _is_flow(told) or watched.leaves_out(told):
                continue
            for flow_log in watched.logs:
                if flow_log.wants(accepted=told.accepted):
                    start = self._interval_of(flow_log, told.start, now)
                    self._open.setdefault((flow_log.id, start), _Interval()).add(watched.interface, told)

    def _watched(self, view: View, interface_id: str, host_id: str) -> "_Watched | None":
        interface = view.get(NetworkInterface, interface_id)
        if interface is None or interface.region not in self._regions or not _is_there(view, interface, host_id):
            return None
        return _Watched(interface, logs_of(view, interface), unrecorded(view, interface))

    async def run(self) -> None:
        """Closes intervals as they end, until cancelled; then what is open is kept as far as it goes."""
        try:
            while True:
                await self._clock.sleep(_LOOK_EVERY)
                await self.close_due()
        finally:
            await self._close_all()

    async def close_due(self) -> None:
        """Makes batches of the intervals that are over."""
        view, now = self._store.view(), self._now()
        logs = [flow_log for flow_log in view.list(FlowLog) if flow_log.region in self._regions]
        for flow_log in logs:
            start = self._closed.setdefault(flow_log.id, self._first(flow_log))
            while start + flow_log.interval + GRACE <= now:
                end = start + flow_log.interval
                interval = self._open.pop((flow_log.id, start), _Interval())
                self._closed[flow_log.id] = end
                first = max(start, self._begun, int(flow_log.created.timestamp()))
                await self._keep(flow_log, interval, first, end)
                start = end
        there = {flow_log.id for flow_log in self._store.view().list(FlowLog)}
        self._open = {key: interval for key, interval in self._open.items() if key[0] in there}
        self._closed = {id_: end for id_, end in self._closed.items() if id_ in there}

    async def _close_all(self) -> None:
        view = self._store.view()
        while self._open:
            (id_, _), interval = self._open.popitem()
            flow_log = view.get(FlowLog, id_)
            if flow_log is not None:
                await self._keep(flow_log, interval, None, 0)

    async def _keep(self, flow_log: FlowLog, interval: _Interval, start: int | None, end: int) -> None:
        """``start``: from when on it is known whether an interface was silent; None: it is not."""
        view = self._store.view()
        lines = await asyncio.to_thread(_lines, view, self._config, flow_log, interval, start, end)
        if lines:
            now = self._clock.now()
            dropped = await self._store.submit(lambda tx: _put(tx, flow_log.id, lines, now))
            if dropped:
                log.warning("flow records that could not be delivered are dropped", extra={"flow_log": flow_log.id})

    def _interval_of(self, flow_log: FlowLog, moment: int, now: int) -> int:
        """The beginning of the open interval for what was seen at a moment; late and impossible ones count as of now."""
        start = moment // flow_log.interval * flow_log.interval
        closed = self._closed.get(flow_log.id, self._first(flow_log))
        return start if closed <= start <= now else max(closed, now // flow_log.interval * flow_log.interval)

    def _first(self, flow_log: FlowLog) -> int:
        begun = max(self._begun, int(flow_log.created.timestamp()))
        return begun // flow_log.interval * flow_log.interval

    def _now(self) -> int:
        return int(self._clock.now().timestamp())


def logs_of(view: View, interface: NetworkInterface) -> list[FlowLog]:
    """The flow logs of an interface, its subnet and its VPC."""
    resources = (interface.id, interface.subnet_id, interface.vpc_id)
    return [flow_log for resource in resources for flow_log in view.list(FlowLog, resource_id=resource)]


def unrecorded(view: View, interface: NetworkInterface) -> frozenset[str]:
    """The addresses of the VPC's own services: traffic with them is not recorded (see "Flow log limitations").

    They are the metadata, time and DNS services, and the router of the subnet.
    """
    vpc, subnet = view.get(Vpc, interface.vpc_id), view.get(Subnet, interface.subnet_id)
    resolvers = {str(IPv4Network(cidr)[2]) for _, cidr in vpc.cidrs} if vpc is not None else set[str]()
    router = {str(IPv4Network(subnet.cidr)[1])} if subnet is not None else set[str]()
    return _LINK_LOCAL | resolvers | router


def _is_flow(told: FlowObservation) -> bool:
    """Whether what a host calls addresses are some: it is not to be trusted with that."""
    try:
        for address in (told.source, told.destination, told.packet_source, told.packet_destination):
            if address:
                ip_address(address)
    except ValueError:
        return False
    return bool(told.source and told.destination)


def _is_there(view: View, interface: NetworkInterface, host_id: str) -> bool:
    if interface.instance_id is None:
        return interface.requester_id is not None
    instance = view.get(Instance, interface.instance_id)
    return instance is not None and instance.host_id == host_id


def _interfaces_of(view: View, resource_id: str) -> Sequence[NetworkInterface]:
    if resource_id.startswith("vpc-"):
        return view.list(NetworkInterface, vpc_id=resource_id)
    if resource_id.startswith("subnet-"):
        return view.list(NetworkInterface, subnet_id=resource_id)
    interface = view.get(NetworkInterface, resource_id)
    return () if interface is None else (interface,)


def _lines(
    view: View, config: Config, flow_log: FlowLog, interval: _Interval, start: int | None, end: int
) -> list[str]:
    """The lines of an interval, interface by interface."""
    fields = fields_of(flow_log.format)
    lines: list[str] = []
    for seen in interval.seen.values():
        scribe = Scribe(view, config, seen.interface, fields)
        lines.extend(scribe.flow(flow) for flow in seen.flows.values())
        if seen.skipped and start is not None:
            lines.append(scribe.status("SKIPDATA", start, end))
    if start is None:
        return lines
    for interface in _interfaces_of(view, flow_log.resource_id):
        used = interface.attachment is not None or interface.requester_id is not None
        first = max(start, int(interface.created.timestamp()))
        if used and interface.id not in interval.seen and first < end:
            lines.append(Scribe(view, config, interface, fields).status("NODATA", first, end))
    return lines


def _put(tx: Transaction, flow_log_id: str, lines: Sequence[str], now: datetime) -> int:
    """Puts the lines on record in batches; returns how many older ones it had to drop for them."""
    flow_log = tx.get(FlowLog, flow_log_id)
    if flow_log is None:
        return 0
    for batch in _batches(lines):
        tx.put(
            FlowBatch(
                id=new_id("flow"),
                account=flow_log.account,
                region=flow_log.region,
                flow_log_id=flow_log.id,
                begun=now.astimezone(UTC),
                lines=batch,
            )
        )
    waiting = tx.list(FlowBatch, flow_log_id=flow_log.id)
    over = max(0, len(waiting) - MOST_WAITING)
    for batch in waiting[:over]:
        tx.delete(batch)
    return over


def _batches(lines: Sequence[str]) -> Iterable[tuple[str, ...]]:
    batch: list[str] = []
    size = 0
    for line in lines:
        if batch and size + len(line) + 1 > BATCH_BYTES:
            yield tuple(batch)
            batch, size = [], 0
        batch.append(line)
        size += len(line) + 1
    if batch:
        yield tuple(batch)
