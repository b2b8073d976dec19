"""VPC endpoints converge: pending ones become available, those that are to go lose their interfaces, as do subnets that
were taken from one.

Called by ``routing``.
"""

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from pileus.controllers.managed_interfaces import remove
from pileus.records import NetworkInterface, VpcEndpoint
from pileus.store import Transaction, View


def due(view: View) -> Iterator[VpcEndpoint]:
    """The endpoints for which there is something to do."""
    for endpoint in view.list(VpcEndpoint):
        if endpoint.state in {"pending", "deleting"} or _leaving(view, endpoint):
            yield endpoint


def _leaving(view: View, endpoint: VpcEndpoint) -> Sequence[str]:
    """Its interfaces in subnets that it shall not be in, and those that are gone."""
    found = {name: view.get(NetworkInterface, name) for name in endpoint.interface_ids}
    return [name for name, one in found.items() if one is None or one.subnet_id not in endpoint.subnet_ids]


def settle(tx: Transaction) -> None:
    """Does what is to be done."""
    for endpoint in list(due(tx)):
        if endpoint.state == "deleting":
            for name in endpoint.interface_ids:
                remove(tx, name)
            tx.delete(endpoint)
            continue
        leaving = _leaving(tx, endpoint)
        for name in leaving:
            remove(tx, name)
        left = tuple(name for name in endpoint.interface_ids if name not in leaving)
        tx.put(replace(endpoint, interface_ids=left, state="available"))
