"""Amazon Resource Names: ``arn:partition:service:region:account:resource``."""

from typing import Self

import msgspec


class Arn(msgspec.Struct, frozen=True):
    """One ARN in its parts. ``resource`` keeps its own colons and slashes; ``region`` and ``account`` may be empty."""

    partition: str
    service: str
    region: str
    account: str
    resource: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ``ValueError`` when ``text`` is no ARN."""
        parts = text.split(":", 5)
        if len(parts) != 6 or parts[0] != "arn" or not (parts[1] and parts[2] and parts[5]):
            raise ValueError(f"not an ARN: {text[:200]}")
        return cls(*parts[1:])

    @property
    def resource_type(self) -> str:
        """What precedes the first slash or colon of the resource: ``instance`` of ``instance/i-…``; empty where none does."""
        for position, character in enumerate(self.resource):
            if character in "/:":
                return self.resource[:position]
        return ""

    @property
    def resource_id(self) -> str:
        """What follows the first slash or colon of the resource; all of it where there is none."""
        kind = self.resource_type
        return self.resource[len(kind) + 1 :] if kind else self.resource.lstrip("/:")

    def __str__(self) -> str:
        return f"arn:{self.partition}:{self.service}:{self.region}:{self.account}:{self.resource}"
