"""Which vCPU quota a running instance counts against.

Source: "Amazon EC2 instance type quotas" in the EC2 documentation, and the quota codes of service ``ec2`` in Service
Quotas.
"""

import re

import msgspec


class QuotaFamily(msgspec.Struct, frozen=True):
    """One on-demand vCPU quota: its code and name in Service Quotas, and the type prefixes that count against it."""

    code: str
    name: str
    prefixes: tuple[str, ...]


_STANDARD = ("a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z")

QUOTA_FAMILIES = {
    "standard": QuotaFamily(
        "L-1216C47A", "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", _STANDARD
    ),
    "f": QuotaFamily("L-74FC7D96", "Running On-Demand F instances", ("f",)),
    "g-vt": QuotaFamily("L-DB2E81BA", "Running On-Demand G and VT instances", ("g", "gr", "vt")),
    "p": QuotaFamily("L-417A185B", "Running On-Demand P instances", ("p",)),
    "x": QuotaFamily("L-7295265B", "Running On-Demand X instances", ("x",)),
    "inf": QuotaFamily("L-1945791B", "Running On-Demand Inf instances", ("inf",)),
    "trn": QuotaFamily("L-2C3B7624", "Running On-Demand Trn instances", ("trn",)),
    "dl": QuotaFamily("L-6E869C2A", "Running On-Demand DL instances", ("dl",)),
    "hpc": QuotaFamily("L-F7808C92", "Running On-Demand HPC instances", ("hpc",)),
    "high-memory": QuotaFamily("L-43DA4232", "Running On-Demand High Memory instances", ("u",)),
}

_FAMILY_OF_PREFIX = {prefix: key for key, family in QUOTA_FAMILIES.items() for prefix in family.prefixes}


def quota_family(name: str) -> str | None:
    """The key in ``QUOTA_FAMILIES`` for a type such as ``p2.xlarge``; ``None`` for Mac, which is limited by hosts."""
    prefix = re.match(r"[a-z]*", name)
    return _FAMILY_OF_PREFIX.get(prefix.group()) if prefix else None
