"""The declaration of operations. Services declare; the dispatcher performs; coverage and documentation are read off here."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from pileus.operations.context import Context

Handler = Callable[[Context, Any], Any]
Prepare = Callable[[Mapping[str, Any]], Mapping[str, Any]]
Mode = Literal["read", "write", "async"]
Then = Callable[[Context, Mapping[str, Any]], Mapping[str, Any] | None]
"""Given a look at the present and what a write has answered: the answer to give; None as long as it is to be waited for."""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation of one service.

    Attributes:
        mode: ``read`` (a consistent view, answered at once), ``write`` (one serializable transaction, in a worker
            thread), ``async`` (a view, and waits for something outside the store).
        action: the IAM action. resources: the resource types that it is authorised over, each with the parameter that
            names them: ``instance:InstanceIds``; ``*`` where IAM knows no resource.
        idempotent: whether ClientToken makes a repetition harmless.
        taggable: the resource types that its TagSpecifications may name; the first is the default for TagSet styles.
        then: of a write, what its answer waits for once it is on record: for something that a host does. It waits for a
            bounded time, after which the write's own answer goes out.
        prepare: of a write, makes its parameters of the caller's, in a thread and before the transaction: for what takes
            long and needs no record.
        dry_run: whether a call with DryRun ends before the handler; else the handler does what is left of it.
        streams: whether the request's body comes as ``Call.body`` while it arrives, and not whole among the parameters.
    """

    service: str
    name: str
    handler: Handler
    mode: Mode
    action: str
    resources: tuple[str, ...] = ("*",)
    idempotent: bool = False
    taggable: tuple[str, ...] = ()
    then: Then | None = None
    prepare: Prepare | None = None
    dry_run: bool = True
    streams: bool = False


class Service:
    """A service's operations, filled by the decorators in its modules.

    ``public``: it answers unsigned requests, too. ``dry_runs``: whether a DryRun ends before the handler (as on EC2).
    """

    def __init__(self, name: str, *, public: bool = False, dry_runs: bool = True) -> None:
        self.name = name
        self.public = public
        self.dry_runs = dry_runs
        self._operations: dict[str, Operation] = {}

    @property
    def operations(self) -> Mapping[str, Operation]:
        """By operation name."""
        return self._operations

    def _declare(
        self,
        name: str,
        mode: Mode,
        resources: tuple[str, ...],
        *,
        idempotent: bool = False,
        taggable: tuple[str, ...] = (),
        then: Then | None = None,
        prepare: Prepare | None = None,
        streams: bool = False,
    ) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            assert name not in self._operations, f"{self.name}:{name} is declared twice"
            assert inspect.iscoroutinefunction(handler) == (mode == "async"), f"{name} is declared with the wrong mode"
            self._operations[name] = Operation(
                service=self.name,
                name=name,
                handler=handler,
                mode=mode,
                action=f"{self.name}:{name}",
                resources=resources,
                idempotent=idempotent,
                taggable=taggable,
                then=then,
                prepare=prepare,
                dry_run=self.dry_runs,
                streams=streams,
            )
            return handler

        return register

    def reads(self, name: str, *, resources: tuple[str, ...] = ("*",)) -> Callable[[Handler], Handler]:
        """Declares an operation that only looks."""
        return self._declare(name, "read", resources)

    def writes(
        self,
        name: str,
        *,
        resources: tuple[str, ...] = ("*",),
        idempotent: bool = False,
        taggable: tuple[str, ...] = (),
        then: Then | None = None,
        prepare: Prepare | None = None,
    ) -> Callable[[Handler], Handler]:
        """Declares an operation that changes the store in one transaction, and may ``then`` wait for what comes of it."""
        return self._declare(
            name, "write", resources, idempotent=idempotent, taggable=taggable, then=then, prepare=prepare
        )

    def waits(
        self,
        name: str,
        *,
        resources: tuple[str, ...] = ("*",),
        idempotent: bool = False,
        taggable: tuple[str, ...] = (),
        streams: bool = False,
    ) -> Callable[[Handler], Handler]:
        """Declares an operation that waits for something outside the store: a host, a data plane, its own body.

        One that is ``idempotent`` sees to that itself, with ``perform_once`` in its transaction.
        """
        return self._declare(name, "async", resources, idempotent=idempotent, taggable=taggable, streams=streams)
