"""The result as a table in Markdown, and as JSON."""

from collections.abc import Sequence

import msgspec

from bench.measure import OURS, Row

HEAD = "| measured | pileus | peers | pileus : peer | aim |\n|---|---|---|---|---|"


def line(row: Row) -> str:
    """One line of the table."""
    peers = [name for name in row.medians if name != OURS]
    values = ", ".join(f"{name} {_number(row.medians[name])}" for name in peers)
    ratios = ", ".join(f"{row.ratio(name):.2f}" for name in peers)
    ours = f"{_number(row.medians[OURS])} {row.unit}"
    return f"| {row.what} | {ours} | {values} | {ratios} | {_aim(row)} |"


def as_json(rows: Sequence[Row]) -> bytes:
    """All rows with their ratios."""
    entries = [
        {
            **msgspec.structs.asdict(row),
            "ratios": {name: row.ratio(name) for name in row.medians if name != OURS},
            "reached": row.reached,
        }
        for row in rows
    ]
    return msgspec.json.format(msgspec.json.encode(entries), indent=2) + b"\n"


def _aim(row: Row) -> str:
    if row.aim is None:
        return ""
    what = f"{row.aim.side} {row.aim.limit:g}" + (f" × {row.aim.peer}" if row.aim.peer else f" {row.unit}")
    return what + {True: ": reached", False: ": **missed**", None: ": not measured"}[row.reached]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
