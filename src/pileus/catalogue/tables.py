"""The catalogue's data files: compressed JSON beside this module. Each is read by the module that owns its meaning."""

import gzip
from importlib import resources
from typing import TypeVar

import msgspec

T = TypeVar("T")


class InstanceTypeTable(msgspec.Struct):
    """Every member of ``InstanceTypeInfo`` with its distinct values, and each type as a row of numbers into them.

    Many types share the same network, EBS or processor data: said once, 3.5 MB become 0.7 MB. Values and rows stay
    undecoded JSON until a type is asked for, because the API process must be small while it idles.

    Attributes:
        members: AWS's names of the members, without ``InstanceType`` itself.
        values: for each member its distinct values.
        types: for each type, sorted by name, one number per member: the value's index, or -1 where AWS gives none.
    """

    members: list[str]
    values: list[list[msgspec.Raw]]
    types: dict[str, msgspec.Raw]


class PriceTable(msgspec.Struct):
    """On-demand prices.

    Attributes:
        locations: regions and priced local zone groups.
        usd_per_hour: for each type one price per location, null where it is not known.
    """

    locations: list[str]
    usd_per_hour: dict[str, msgspec.Raw]


def read(name: str, as_type: type[T]) -> T:
    """The table kept in ``data/<name>.json.gz``."""
    packed = resources.files("pileus.catalogue").joinpath("data", f"{name}.json.gz").read_bytes()
    return msgspec.json.decode(gzip.decompress(packed), type=as_type)
