"""Whether the records of a cloud fit together. Run after storms and random walks, on simulated and on real hosts.

Every line of ``problems`` is something that must never be so, not even in passing: it holds between any two transactions.
``unsettled`` is what a cloud comes to an end with once its hosts answer and nobody uses it.
"""

from collections.abc import Iterator
from ipaddress import IPv6Network

from pileus.base.config import Config
from pileus.records import (
    Account,
    Address,
    DataKey,
    Host,
    Image,
    Instance,
    NatGateway,
    NetworkInterface,
    SecurityGroup,
    Snapshot,
    Subnet,
    Volume,
    Vpc,
    VpcEndpoint,
)
from pileus.records.address import pool_scope
from pileus.records.image import image_name_scope
from pileus.records.instance import State
from pileus.records.network_interface import PrivateAddress
from pileus.records.security_group import group_name_scope
from pileus.records.subnet import is_usable, subnet_scope
from pileus.scheduler.request import request_of
from pileus.store import View
from pileus.testing.consistency_filters import filter_problems
from pileus.testing.consistency_routing import routing_problems

_HOLDS_CAPACITY = frozenset({State.PENDING, State.RUNNING, State.STOPPING})
_HOLDS_NONE = frozenset({State.STOPPED, State.TERMINATED})
_ON_THE_WAY = frozenset({State.PENDING, State.STOPPING, State.SHUTTING_DOWN})


def problems(view: View, config: Config) -> list[str]:
    """What contradicts itself, is held twice or leaked; empty when all is well."""
    return [
        *_hosts(view),
        *_instances(view),
        *_interfaces(view),
        *_addresses(view),
        *_volumes(view),
        *_snapshots(view),
        *_images(view, config),
        *_claims(view, config),
        *filter_problems(view),
        *routing_problems(view),
    ]


def unsettled(view: View) -> list[str]:
    """What is still on its way: instances between two states, guests and volumes that hosts have yet to remove."""
    waiting = [f"{one.id} is {one.state}" for one in view.list(Instance) if one.state in _ON_THE_WAY]
    unseen = [f"{one.id} is running, but not seen so" for one in view.list(Instance) if _is_unseen(one)]
    kept = [
        f"{one.id} is terminated and its guest is still on {one.host_id}"
        for one in view.list(Instance)
        if one.state is State.TERMINATED and one.host_id
    ]
    wiping = [f"{one.id} waits for {one.wiping}" for one in view.list(Instance) if one.wiping]
    pending = [f"{one.id} is pending" for one in view.list(Snapshot) if one.state == "pending" and not one.writing]
    making = [f"{one.id} is being made" for one in view.list(Image, making="yes")]
    moving = [
        f"{one.id} is {one.attachment.status} at {one.instance_id}"
        for one in view.list(NetworkInterface)
        if one.attachment is not None and one.attachment.status != "attached"
    ]
    routed = [f"{one.id} is {one.state}" for one in _routed(view) if one.state in {"pending", "deleting"}]
    return [*waiting, *unseen, *kept, *wiping, *_volumes_on_the_way(view), *moving, *pending, *making, *routed]


def _routed(view: View) -> Iterator[NatGateway | VpcEndpoint]:
    yield from view.list(NatGateway)
    yield from view.list(VpcEndpoint)


def _volumes_on_the_way(view: View) -> Iterator[str]:
    for one in view.list(Volume):
        if one.state in {"creating", "deleting"}:
            yield f"{one.id} is {one.state}"
        for attachment in one.attachments:
            if attachment.status != "attached":
                yield f"{one.id} is {attachment.status} at {attachment.instance_id}"
        if one.modification is not None and one.modification.state in {"modifying", "optimizing"}:
            yield f"{one.id} is {one.modification.state}"


def _is_unseen(one: Instance) -> bool:
    """Whether it is being started anew after its guest died."""
    seen = one.observed
    return one.state is State.RUNNING and (seen is None or (seen.boot, seen.phase) != (one.boot, "running"))


def _hosts(view: View) -> Iterator[str]:
    for host in view.list(Host):
        held = [request_of(one) for one in view.list(Instance, host_id=host.id) if one.promised]
        vcpus, memory = sum(one.vcpus for one in held), sum(one.memory for one in held)
        disk = sum(one.disk for one in held)
        if (host.used_vcpus, host.used_memory, host.used_disk) != (vcpus, memory, disk):
            yield (
                f"{host.id} has promised {host.used_vcpus} vCPUs, {host.used_memory} MiB and {host.used_disk} GiB; "
                f"its {len(held)} instances hold {vcpus}, {memory} and {disk}"
            )


def _instances(view: View) -> Iterator[str]:
    for one in view.list(Instance):
        named = f"{one.id} ({one.state})"
        if one.promised and (one.state in _HOLDS_NONE or one.host_id is None):
            yield f"{named} holds capacity"
        if not one.promised and one.state in _HOLDS_CAPACITY:
            yield f"{named} runs without capacity"
        if one.host_id is not None and view.get(Host, one.host_id) is None:
            yield f"{named} is on {one.host_id}, which nobody knows"
        if one.state is State.TERMINATED:
            if one.ended is None or one.block_devices:
                yield f"{named} has not ended: {one.ended}, {one.block_devices}"
        else:
            yield from _equipment(view, one)


def _equipment(view: View, one: Instance) -> Iterator[str]:
    """What an instance that is not terminated must have."""
    interfaces = view.list(NetworkInterface, instance_id=one.id)
    indexes = sorted(each.attachment.device_index for each in interfaces if each.attachment)
    if not indexes or indexes[0] != 0 or len(set(indexes)) < len(indexes):
        yield f"{one.id} ({one.state}) has interfaces at {indexes}"
    if one.host_id is None:
        yield f"{one.id} ({one.state}) has no host"
    yield from _places(one)
    attached = {volume.id for volume in view.list(Volume, instance_id=one.id)}
    mapped = {device.volume_id for device in one.block_devices}
    names = [device.device_name for device in one.block_devices]
    # The root volume can be taken from a stopped instance, which may be terminated then.
    has_root = one.root_device_name in names or one.state in {State.STOPPED, State.SHUTTING_DOWN}
    if attached != mapped or not has_root or len(set(names)) < len(names):
        yield f"{one.id} ({one.state}) maps {sorted(mapped)}, attached are {sorted(attached)}"


def _interfaces(view: View) -> Iterator[str]:
    for one in view.list(NetworkInterface):
        subnet = view.get(Subnet, one.subnet_id)
        if subnet is None or not all(is_usable(subnet.cidr, each.address) for each in one.addresses):
            yield f"{one.id} has {one.private_addresses}, which are not all in its subnet"
        yield from (
            f"{one.id} has {address} without a claim to it"
            for address in one.claimed
            if view.owner_of(subnet_scope(one.subnet_id), address) != one.id
        )
        yield from _prefixes(one, subnet)
        instance = view.get(Instance, one.instance_id) if one.instance_id else None
        if one.instance_id and (instance is None or instance.state is State.TERMINATED):
            yield f"{one.id} is attached to {one.instance_id}, which is gone"
        running = instance is not None and instance.state is not State.STOPPED
        for each in one.addresses:
            yield from _public_address(view, one, each, running=running)


def _prefixes(one: NetworkInterface, subnet: Subnet | None) -> Iterator[str]:
    """IPv6 addresses and prefixes that are not of the subnet's block."""
    block = subnet.ipv6_block if subnet else None
    networks = [IPv6Network(text) for text in (*one.ipv6_addresses, *one.ipv6_prefixes)]
    if networks and (block is None or not all(each.subnet_of(IPv6Network(block.cidr)) for each in networks)):
        yield f"{one.id} has {networks}, which are not in its subnet"


def _public_address(view: View, one: NetworkInterface, each: PrivateAddress, *, running: bool) -> Iterator[str]:
    if each.public and view.owner_of(pool_scope(one.region), each.public) != (each.address_id or one.id):
        yield f"{one.id} has {each.public} without a claim to it"
    if each.public and not each.address_id and not running:
        yield f"{one.id} keeps {each.public} though nothing runs behind it"
    address = view.get(Address, each.address_id) if each.address_id else None
    if each.address_id and (address is None or address.interface_id != one.id):
        yield f"{one.id} has the Elastic IP {each.address_id}, which is elsewhere"


def _places(one: Instance) -> Iterator[str]:
    """Disks of one guest that are in one place, or a root volume that is not in the first."""
    places = [device.index for device in one.block_devices] + [disk.index for disk in one.store]
    if len(set(places)) < len(places):
        yield f"{one.id} ({one.state}) has disks at {places}"
    for device in one.block_devices:
        if (device.device_name == one.root_device_name) != (device.index == 0):
            yield f"{one.id} ({one.state}) has {device.device_name} at {device.index}"


def _addresses(view: View) -> Iterator[str]:
    for one in view.list(Address):
        if view.owner_of(pool_scope(one.region), one.public_address) != one.id:
            yield f"{one.id} is {one.public_address} without a claim to it"
        interface = view.get(NetworkInterface, one.interface_id) if one.interface_id else None
        told = (one.association_id, one.instance_id, one.private_address)
        if interface is None:
            if any(told) or one.interface_id:
                yield f"{one.id} is associated with {one.interface_id}, which is gone: {told}"
            continue
        bound = [each for each in interface.addresses if each.address == one.private_address]
        if not bound or (bound[0].association_id, interface.instance_id, bound[0].address) != told:
            yield f"{one.id} says {told} of {interface.id}, which differs"
        elif (bound[0].address_id, bound[0].public) != (one.id, one.public_address):
            yield f"{one.id} is associated with {interface.id}, which has {bound[0].public}"


def _volumes(view: View) -> Iterator[str]:
    for one in view.list(Volume):
        if (one.state == "in-use") != bool(one.attachments):
            yield f"{one.id} is {one.state} with {len(one.attachments)} attachments"
        if len(set(one.instance_id)) < len(one.attachments) or (len(one.attachments) > 1 and not one.multi_attach):
            yield f"{one.id} is attached to {one.instance_id} at once"
        if one.data_key_id is not None and view.get(DataKey, one.data_key_id) is None:
            yield f"{one.id} is encrypted under {one.data_key_id}, which is gone"
        for attachment in one.attachments:
            instance = view.get(Instance, attachment.instance_id)
            if instance is None or one.id not in {device.volume_id for device in instance.block_devices}:
                yield f"{one.id} is attached to {attachment.instance_id}, which does not have it"
            elif instance.host_id != one.host_id:
                yield f"{one.id} is on {one.host_id}, its instance {instance.id} on {instance.host_id}"


def _snapshots(view: View) -> Iterator[str]:
    for one in view.list(Snapshot):
        if one.state == "completed" and (one.host_id or one.held or one.reseal or one.taken is None):
            yield f"{one.id} is completed and still on its way"
        if one.state != "completed" and one.root is not None:
            yield f"{one.id} is {one.state} and has a root"
        if one.root is not None and one.content is not None:
            yield f"{one.id} is both blocks and a built-in image"


def _images(view: View, config: Config) -> Iterator[str]:
    for one in view.list(Image):
        snapshots = [view.get(Snapshot, id_) for id_ in one.snapshot_ids]
        ready = all(snapshot is not None and snapshot.state == "completed" for snapshot in snapshots)
        if one.state in {"available", "disabled"} and not ready and one.owner_alias is None:
            yield f"{one.id} is {one.state}, its snapshots are not completed"
    for instance in view.list(Instance):
        image = view.get(Image, instance.imaging) if instance.imaging else None
        if instance.imaging and (image is None or not image.rebooting):
            yield f"{instance.id} is down for {instance.imaging}, which does not need it"

    for account in view.list(Account):
        for region in config.regions:
            for name, holder in view.claims(image_name_scope(account.id, region.name)).items():
                image = view.get(Image, holder)
                if image is None or image.name != name:
                    yield f"the image name {name} is claimed by {holder}, which does not have it"


def _claims(view: View, config: Config) -> Iterator[str]:
    """Claims that nothing stands behind: addresses and names that nobody could ever have again."""
    for subnet in view.list(Subnet):
        for address, holder in view.claims(subnet_scope(subnet.id)).items():
            interface = view.get(NetworkInterface, holder)
            if interface is None or interface.subnet_id != subnet.id or address not in interface.claimed:
                yield f"{address} in {subnet.id} is claimed by {holder}, which does not have it"
    for region in config.regions:
        for address, holder in view.claims(pool_scope(region.name)).items():
            interface, elastic = view.get(NetworkInterface, holder), view.get(Address, holder)
            held = interface.public_addresses if interface else (elastic.public_address,) if elastic else ()
            if address not in held:
                yield f"{address} is claimed by {holder}, which does not have it"
    for vpc in view.list(Vpc):
        for name, holder in view.claims(group_name_scope(vpc.id)).items():
            group = view.get(SecurityGroup, holder)
            if group is None or (group.vpc_id, group.name) != (vpc.id, name):
                yield f"the group name {name} in {vpc.id} is claimed by {holder}, which does not have it"
    for record in (*view.list(Instance), *view.list(NetworkInterface), *view.list(Address), *view.list(Volume)):
        if view.get(Account, record.account) is None:
            yield f"{record.id} belongs to {record.account}, which is no account"
