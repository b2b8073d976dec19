"""Record types for the tests of the store."""

from typing import ClassVar

import msgspec

from pileus.base.record import Record


class House(Record, frozen=True, kw_only=True):
    kind: ClassVar[str] = "test.house"
    indexes: ClassVar[tuple[str, ...]] = ("street", "tenant")

    street: str | None = None
    tenants: tuple[str, ...] = ()
    lamps: dict[str, int] = msgspec.field(default_factory=dict)

    @property
    def tenant(self) -> tuple[str, ...]:
        return self.tenants


class Door(Record, frozen=True, kw_only=True):
    kind: ClassVar[str] = "test.door"
    indexes: ClassVar[tuple[str, ...]] = ("house",)
    touches: ClassVar[tuple[str, ...]] = ("house",)

    house: str | None
    open: bool = False


KINDS = (House, Door)


def house(record_id: str, account: str = "1", region: str = "a", **fields) -> House:
    return House(id=record_id, account=account, region=region, **fields)


def door(record_id: str, house_id: str | None, **fields) -> Door:
    return Door(id=record_id, account="1", region="a", house=house_id, **fields)
