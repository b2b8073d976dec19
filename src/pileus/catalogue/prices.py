"""AWS's on-demand prices: for the bill, and for telling what a launch costs before it is launched."""

from decimal import Decimal
from functools import cache

import msgspec

from pileus.catalogue.tables import PriceTable, read


@cache
def _table() -> PriceTable:
    return read("prices", PriceTable)


def price(region: str, name: str) -> Decimal | None:
    """US dollars per hour for a type on demand under Linux with shared tenancy, or ``None`` where it is not known.

    Only Linux: for other systems the source's numbers contradict themselves (docs/adr/0003-catalogue.md).
    """
    table = _table()
    row = table.usd_per_hour.get(name)
    if row is None or region not in table.locations:
        return None
    return msgspec.json.decode(row, type=list[Decimal | None])[table.locations.index(region)]
