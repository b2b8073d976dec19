"""nftables tables as values, and the script that turns one state of them into another in one transaction."""

from collections.abc import Iterable, Iterator, Mapping

import msgspec


class Elements(msgspec.Struct, frozen=True, kw_only=True):
    """A set or a map. ``declaration`` is its type in nft's words; ``elements`` map keys to values ("" in a set)."""

    declaration: str
    elements: Mapping[str, str]

    @property
    def keyword(self) -> str:
        """What nft calls it."""
        return "map" if ":" in self.declaration else "set"


class Chain(msgspec.Struct, frozen=True, kw_only=True):
    """A chain: its rules in order, and where the kernel calls it (``hook`` in nft's words; "" for a plain one)."""

    rules: tuple[str, ...]
    hook: str = ""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A table, e.g. ``inet vpc``. Declarations and hooks of its parts never change; elements and rules do."""

    name: str
    elements: Mapping[str, Elements]
    chains: Mapping[str, Chain]


def replace(tables: Iterable[Table]) -> str:
    """The script that makes the tables exactly so, whatever was there under their names."""
    return "".join(
        f"add table {table.name}\ndelete table {table.name}\nadd table {table.name}\n{change(_empty(table), table)}"
        for table in tables
    )


def change(before: Table, after: Table) -> str:
    """The script that turns ``before`` into ``after``: "" when they are equal. The kernel applies it whole or not at all.

    In an order in which every reference is to something that exists: new parts are declared, rules written, elements
    exchanged, and only then old parts removed.
    """
    return "".join(f"{line}\n" for line in _changes(before, after))


def _changes(before: Table, after: Table) -> Iterator[str]:
    name = after.name
    for key, part in after.elements.items():
        if key not in before.elements:
            yield f"add {part.keyword} {name} {key} {{ {part.declaration}; }}"
    for key, chain in after.chains.items():
        if key not in before.chains:
            yield f"add chain {name} {key} {{ {chain.hook} }}" if chain.hook else f"add chain {name} {key}"
    # What is the same object is equal: comparing it by content would take longer than all the rest.
    for key, chain in after.chains.items():
        if (old := before.chains.get(key)) is not chain:
            yield from _rewrite(f"{name} {key}", () if old is None else old.rules, chain.rules)
    for key, part in after.elements.items():
        if (old := before.elements.get(key)) is not part:
            yield from _exchange(f"{name} {key}", {} if old is None else old.elements, part.elements)
    gone_chains = [key for key in before.chains if key not in after.chains]
    yield from (f"flush chain {name} {key}" for key in gone_chains)
    yield from (f"delete chain {name} {key}" for key in gone_chains)
    for key, part in before.elements.items():
        if key not in after.elements:
            yield f"delete {part.keyword} {name} {key}"


def _rewrite(where: str, old: tuple[str, ...], new: tuple[str, ...]) -> Iterator[str]:
    if old == new:
        return
    if old:
        yield f"flush chain {where}"
    yield from (f"add rule {where} {rule}" for rule in new)


def _exchange(where: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    gone = [key for key, value in old.items() if new.get(key) != value]
    come = [f"{key} : {value}" if value else key for key, value in new.items() if old.get(key) != value]
    if gone:
        yield f"delete element {where} {{ {', '.join(gone)} }}"
    if come:
        yield f"add element {where} {{ {', '.join(come)} }}"


def _empty(table: Table) -> Table:
    return Table(name=table.name, elements={}, chains={})
