"""What a VPC's namespace lets pass and translates: the spec as nftables tables. Pure, and the same for equal specs.

A packet's way through it, by the chains' names:

- ``antispoof`` (raw): is the source the link's own? There it gets its routing mark. ``zones`` keeps apart what passes
  twice with the same addresses, once to an interface that forwards and once from it.
- ``translate_in``: public to private destination. Then it is routed, by its mark.
- ``forward``: what belongs to a tracked connection passes the ACLs of both subnets (``pass``); what begins one is judged
  by the sender's groups (``out_…``), the ACLs (``cross``), and the receiver's groups (``in_…``); ``finish`` accepts.
- ``translate_out``: private to public source.

Connections that EC2 does not track are judged anew whenever the rules have changed since they were last: see
``ruleset_groups``.
"""

from pileus.drivers.network.linux import (
    ruleset_acls,
    ruleset_antispoof,
    ruleset_flows,
    ruleset_forward,
    ruleset_groups,
    ruleset_translation,
)
from pileus.drivers.network.linux.nft import Table
from pileus.drivers.network.linux.ruleset_translation import public_addresses
from pileus.hostapi.network_spec import VpcSpec

__all__ = ["ARP_TABLE", "TABLE", "public_addresses", "tables"]

TABLE, ARP_TABLE = "inet vpc", "arp vpc"


def tables(vpc: VpcSpec) -> tuple[Table, Table]:
    """The VPC's filter and translation, and its filter of ARP. What did not change since the last call is the same object."""
    parts = (
        ruleset_antispoof.parts(vpc),
        ruleset_forward.parts(vpc),
        ruleset_groups.parts(vpc),
        ruleset_acls.parts(vpc),
        ruleset_translation.parts(vpc),
        ruleset_flows.parts(vpc),
    )
    packets = Table(
        name=TABLE,
        elements={name: value for part in parts for name, value in part.elements.items()},
        chains={name: chain for part in parts for name, chain in part.chains.items()},
    )
    return packets, ruleset_antispoof.arp_table(ARP_TABLE, vpc.interfaces)
