"""The ``meta-data`` tree of one instance, a pure function of its spec.

Source of names and contents: "Instance metadata categories" in the EC2 user guide. A category that has nothing to say is
neither listed nor found, and everything that is listed is found: clients crawl the tree.
"""

from collections.abc import Callable, Mapping

import msgspec

from pileus.hostapi.spec import MetadataInterface, MetadataSpec


class Directory(msgspec.Struct, frozen=True):
    """Entries by name. ``listing`` replaces the usual one: a name a line, a slash behind those of directories."""

    entries: "Mapping[str, Node]"
    listing: str | None = None

    def text(self) -> str:
        """What a client reads that asks for the directory itself."""
        if self.listing is not None:
            return self.listing
        names = (f"{name}/" if isinstance(node, Directory) else name for name, node in self.entries.items())
        return "\n".join(sorted(names))


# A function is for what is costly to make and seldom read.
Node = str | bytes | Callable[[], bytes] | Directory


def find(directory: Directory, path: tuple[str, ...]) -> bytes | None:
    """The content at a path: a leaf's own, or a directory's listing; None when there is no such thing."""
    node: Node | None = directory
    for name in path:
        node = node.entries.get(name) if isinstance(node, Directory) else None
    match node:
        case None:
            return None
        case bytes():
            return node
        case str():
            return node.encode()
        case Directory():
            return node.text().encode()
        case _:
            return node()


def meta_data(guest: MetadataSpec) -> Directory:
    """Everything below ``/latest/meta-data/``."""
    primary = next((interface for interface in guest.interfaces if interface.index == 0), None)
    entries: dict[str, Node] = {
        "ami-id": guest.image_id,
        "ami-launch-index": str(guest.launch_index),
        "ami-manifest-path": "(unknown)",
        "block-device-mapping": Directory(dict(guest.block_devices)),
        "events": Directory({"maintenance": Directory({"history": "[]", "scheduled": "[]"})}),
        "hostname": guest.local_hostname,
        "instance-action": "none",
        "instance-id": guest.instance_id,
        "instance-life-cycle": guest.life_cycle,
        "instance-type": guest.instance_type,
        "local-hostname": guest.local_hostname,
        "metrics": Directory({"vhostmd": '<?xml version="1.0" encoding="UTF-8"?>'}),
        "placement": Directory(
            {"availability-zone": guest.zone, "availability-zone-id": guest.zone_id, "region": guest.region}
        ),
        "profile": "default-hvm",
        "reservation-id": guest.reservation_id,
        "security-groups": "\n".join(guest.security_groups),
        "services": Directory({"domain": guest.domain, "partition": guest.partition}),
        "system": "nitro",
    }
    if primary is not None:
        macs = Directory({interface.mac: _interface(interface) for interface in guest.interfaces})
        entries["network"] = Directory({"interfaces": Directory({"macs": macs})})
        entries |= _primary_names(primary)
    if guest.public_keys:
        entries["public-keys"] = _public_keys(guest.public_keys)
    if guest.tags is not None:
        # EC2 refuses keys with a slash when tags are shown here; one that came another way could not be reached.
        shown = {key: value for key, value in guest.tags if key and "/" not in key}
        entries["tags"] = Directory({"instance": Directory(shown)})
    return Directory(entries)


def _public_keys(keys: tuple[tuple[str, str], ...]) -> Directory:
    """Listed as ``0=name``, but found as ``0/openssh-key``."""
    return Directory(
        {str(number): Directory({"openssh-key": line}) for number, (_, line) in enumerate(keys)},
        listing="\n".join(f"{number}={name}" for number, (name, _) in enumerate(keys)),
    )


def _interface(interface: MetadataInterface) -> Directory:
    entries: dict[str, Node] = {
        "device-number": str(interface.index),
        "interface-id": interface.interface_id,
        "local-hostname": interface.local_hostname,
        "local-ipv4s": "\n".join(interface.private_addresses),
        "mac": interface.mac,
        "network-card": "0",
        "owner-id": interface.owner_id,
        "security-group-ids": "\n".join(interface.security_group_ids),
        "security-groups": "\n".join(interface.security_groups),
        "subnet-id": interface.subnet_id,
        "subnet-ipv4-cidr-block": interface.subnet_cidr,
        "vpc-id": interface.vpc_id,
        "vpc-ipv4-cidr-block": interface.vpc_cidrs[0],
        "vpc-ipv4-cidr-blocks": "\n".join(interface.vpc_cidrs),
    }
    lists = {
        "ipv4-prefix": interface.ipv4_prefixes,
        "ipv6-prefix": interface.ipv6_prefixes,
        "ipv6s": interface.ipv6_addresses,
        "public-ipv4s": tuple(public for public, _ in interface.public_addresses),
        "subnet-ipv6-cidr-blocks": (interface.subnet_ipv6_cidr,) if interface.subnet_ipv6_cidr else (),
        "vpc-ipv6-cidr-blocks": interface.vpc_ipv6_cidrs,
    }
    entries |= {name: "\n".join(values) for name, values in lists.items() if values}
    if interface.public_addresses:
        entries["ipv4-associations"] = Directory(_associations(interface.public_addresses))
    if interface.public_hostname is not None:
        entries["public-hostname"] = interface.public_hostname
    return Directory(entries)


def _associations(pairs: tuple[tuple[str, str], ...]) -> dict[str, Node]:
    """The private addresses by the public one that stands for them."""
    private: dict[str, list[str]] = {}
    for public, address in pairs:
        private.setdefault(public, []).append(address)
    return {public: "\n".join(addresses) for public, addresses in private.items()}


def _primary_names(interface: MetadataInterface) -> dict[str, Node]:
    names: dict[str, Node] = {"mac": interface.mac, "local-ipv4": interface.private_addresses[0]}
    if public := [public for public, private in interface.public_addresses if private == names["local-ipv4"]]:
        names["public-ipv4"] = public[0]
    if interface.public_hostname is not None:
        names["public-hostname"] = interface.public_hostname
    if interface.ipv6_addresses:
        names["ipv6"] = interface.ipv6_addresses[0]
    return names
