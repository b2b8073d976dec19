"""The base of every stored document. The store keeps records; ``pileus.records`` defines them."""

from typing import ClassVar

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One document of the store, owned by one account in one region.

    ``version`` is 0 until the record is first written; every write raises it by one, and a write succeeds only over the
    version that was read. Global resources (IAM) have the region ``""``.

    Class variables:
        kind: the name under which the store keeps this type; never reused for another type.
        indexes: names of attributes or properties by which lists can be narrowed. A value is ``str``, ``None`` (not
            indexed) or a tuple of ``str`` (indexed under each).
        touches: the indexes whose values are ids of other records that must be rendered anew when this one changes
            (an interface touches its instance). See ``View.stamp``.
    """

    kind: ClassVar[str]
    indexes: ClassVar[tuple[str, ...]] = ()
    touches: ClassVar[tuple[str, ...]] = ()

    id: str
    account: str
    region: str
    version: int = 0
