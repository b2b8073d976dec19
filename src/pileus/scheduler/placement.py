"""Placement over the store: the promise is part of the transaction that needs it, so it can't be made twice.

Implements ``pileus.operations.context.Placement``; wired up by ``pileus.cmd``.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from pileus.base.config import Config
from pileus.catalogue import is_offered
from pileus.operations.context import NoCapacity
from pileus.records import Host, Instance
from pileus.scheduler.filters import FILTERS
from pileus.scheduler.request import request_of
from pileus.scheduler.weighers import WEIGHERS
from pileus.store import Transaction, View


class Scheduler:
    """Stateless: everything it knows is in the store."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def place(self, tx: Transaction, instance: Instance) -> Instance:
        """The instance on the best host that can take it, with the host's processors, memory and disk promised to it.

        Raises:
            NoCapacity: there is no such host; nothing is written.
        """
        assert not instance.promised, f"{instance.id} has a place already"
        request = request_of(instance)
        able = [host for host in tx.list(Host) if all(holds(host, request) for holds in FILTERS)]
        if not able:
            raise NoCapacity(instance.instance_type)
        host = max(able, key=lambda candidate: tuple(weigh(candidate, request) for weigh in WEIGHERS))
        tx.put(
            replace(
                host,
                used_vcpus=host.used_vcpus + request.vcpus,
                used_memory=host.used_memory + request.memory,
                used_disk=host.used_disk + request.disk,
            )
        )
        return replace(instance, host_id=host.id, promised=True)

    def release(self, tx: Transaction, instance: Instance) -> Instance:
        """The instance without the promise; its volumes, and so its host, stay. Writes the host, not the instance."""
        if not instance.promised or instance.host_id is None:
            return instance
        host = tx.get(Host, instance.host_id)
        if host is not None:
            request = request_of(instance)
            tx.put(
                replace(
                    host,
                    used_vcpus=host.used_vcpus - request.vcpus,
                    used_memory=host.used_memory - request.memory,
                    used_disk=host.used_disk - request.disk,
                )
            )
        return replace(instance, promised=False)

    def zones(self, view: View, instance_type: str, region: str) -> Sequence[str]:
        """The region's zones that offer the type, those of the emptiest hosts first."""
        zones = [f"{region}{letter}" for letter in self._config.region(region).zones]
        hosts = [host for host in view.list(Host) if host.state == "up"]

        def room(zone: str) -> int:
            serving = (host for host in hosts if not host.zones or zone in host.zones)
            return max((host.memory - host.used_memory for host in serving), default=0)

        return sorted((zone for zone in zones if is_offered(instance_type, zone)), key=room, reverse=True)
