"""The store against a model of dictionaries, on both engines, through two stores that have the same database open.

After every step both stores show the model, the documents in SQL are the model, and old views are what they were.
"""

import copy
import tempfile
from collections.abc import Iterator
from typing import ClassVar

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from pileus.base.clock import SystemClock
from pileus.base.record import Record
from pileus.store import ClaimTaken, Conflict, Store, open_store
from pileus.store.schema import changes, documents

pytestmark = pytest.mark.slow


class Item(Record, frozen=True, kw_only=True):
    kind: ClassVar[str] = "test.item"
    indexes: ClassVar[tuple[str, ...]] = ("colour", "tags", "friend")
    touches: ClassVar[tuple[str, ...]] = ("friend",)

    colour: str | None = None
    tags: tuple[str, ...] = ()
    friend: str | None = None


ids = st.sampled_from(["a", "b", "c", "d", "e"])
colours = st.sampled_from([None, "red", "green"])
tags = st.lists(st.sampled_from(["x", "y"]), unique=True).map(tuple)
scopes = st.sampled_from(["s", "t"])
keys = st.sampled_from(["1", "2", "3"])
owners = st.sampled_from(["1", "2"])

puts = st.tuples(st.just("put"), ids, owners, colours, tags, st.none() | ids)
deletes = st.tuples(st.just("delete"), ids)
claims = st.tuples(st.just("claim"), scopes, keys, ids)
releases = st.tuples(st.just("release"), scopes, keys)
releases_all = st.tuples(st.just("release_all"), ids, st.none() | scopes)
outdated = st.tuples(st.just("outdated"), ids)
actions = st.lists(st.one_of(puts, puts, deletes, claims, releases, releases_all, outdated), min_size=1, max_size=6)


class Model:
    """What the store promises, said with dictionaries. Items are in order of creation."""

    def __init__(self) -> None:
        self.items: dict[str, Item] = {}
        self.claims: dict[tuple[str, str], str] = {}

    def list(self, **narrow: str) -> list[Item]:
        def matches(item: Item) -> bool:
            values = {name: getattr(item, name) for name in narrow}
            return all(narrow[name] in (v if isinstance(v, tuple) else (v,)) for name, v in values.items())

        return [item for item in self.items.values() if matches(item)]


class Expected(Exception):
    """A transaction that is given up on purpose."""


def perform(tx, model: Model, action: tuple) -> None:
    """Does one action on both sides; what the one refuses, the other must refuse too."""
    match action:
        case "put", name, account, colour, tagged, friend:
            old = model.items.get(name)
            version = old.version if old else 0
            new = Item(id=name, account=account, region="r", version=version, colour=colour, tags=tagged, friend=friend)
            model.items[name] = msgspec.structs.replace(new, version=version + 1)
            assert tx.put(new) == model.items[name]
        case "delete", name:
            old = tx.get(Item, name)
            assert old == model.items.get(name)
            if old:
                tx.delete(old)
                del model.items[name]
        case "outdated", name:
            version = model.items[name].version + 1 if name in model.items else 3
            with pytest.raises(Conflict):
                tx.put(Item(id=name, account="1", region="r", version=version))
        case "claim", scope, key, holder:
            owner = model.claims.get((scope, key), holder)
            if owner == holder:
                tx.claim(scope, key, holder)
                model.claims[scope, key] = holder
            else:
                with pytest.raises(ClaimTaken) as caught:
                    tx.claim(scope, key, holder)
                assert caught.value.holder == owner
        case "release", scope, key:
            tx.release(scope, key)
            model.claims.pop((scope, key), None)
        case "release_all", holder, scope:
            tx.release_all(holder, scope)
            model.claims = {k: h for k, h in model.claims.items() if h != holder or scope not in (None, k[0])}


def check(view, model: Model) -> None:
    assert list(view.list(Item)) == model.list()
    for name in ("a", "b", "c", "d", "e"):
        assert view.get(Item, name) == model.items.get(name)
        assert list(view.list(Item, friend=name)) == model.list(friend=name)
    for account in ("1", "2"):
        assert list(view.list(Item, account=account, region="r")) == model.list(account=account)
        assert list(view.list(Item, account=account, colour="red")) == model.list(account=account, colour="red")
    assert list(view.list(Item, tags="x")) == model.list(tags="x")
    assert list(view.list(Item, tags="x", colour="green")) == model.list(tags="x", colour="green")
    for scope in ("s", "t"):
        assert dict(view.claims(scope)) == {k: holder for (s, k), holder in model.claims.items() if s == scope}


class StoreMachine(RuleBasedStateMachine):
    url: Iterator[str]

    @initialize()
    def open(self) -> None:
        self.database = next(self.url)
        self.stores: list[Store] = [self._open(), self._open()]
        self.model = Model()
        self.old: list[tuple] = []
        self.rendered: dict[tuple[int, str], tuple[int, tuple]] = {}

    def _open(self) -> Store:
        return open_store(self.database, [Item], SystemClock(), durable=False)

    @rule(which=st.integers(0, 1), todo=actions, give_up=st.booleans())
    def transact(self, which: int, todo: list[tuple], give_up: bool) -> None:
        model = copy.deepcopy(self.model)

        def work(tx) -> None:
            for action in todo:
                perform(tx, model, action)
                check(tx, model)
            if give_up:
                raise Expected

        if give_up:
            with pytest.raises(Expected):
                self.stores[which].transact(work)
        else:
            self.stores[which].transact(work)
            self.model = model

    @rule(which=st.integers(0, 1))
    def reopen(self, which: int) -> None:
        self.stores[which].close()
        self.stores[which] = self._open()
        self.rendered = {key: value for key, value in self.rendered.items() if key[0] != which}

    @rule(which=st.integers(0, 1))
    @precondition(lambda self: len(self.old) < 4)
    def keep_a_view(self, which: int) -> None:
        self.old.append((self.stores[which].view(), copy.deepcopy(self.model)))

    @invariant()
    def everybody_sees_the_model(self) -> None:
        for store in self.stores:
            check(store.view(), self.model)

    @invariant()
    def old_views_are_what_they_were(self) -> None:
        for view, model in self.old:
            check(view, model)

    @invariant()
    def equal_stamps_mean_equal_renderings(self) -> None:
        """A rendering shows an item and whoever names it as a friend."""
        for which, store in enumerate(self.stores):
            view = store.view()
            for name in self.model.items:
                rendering = (view.get(Item, name), *view.list(Item, friend=name))
                stamp, before = self.rendered.get((which, name), (0, ()))
                assert view.stamp(name) >= stamp > 0 or stamp == 0
                assert view.stamp(name) > stamp or rendering == before
                self.rendered[which, name] = (view.stamp(name), rendering)
            for gone in {name for w, name in self.rendered if w == which} - set(self.model.items):
                assert view.stamp(gone) == 0

    @invariant()
    def documents_and_log_in_sql_are_the_model(self) -> None:
        with self.stores[0]._backend.read() as connection:
            rows = connection.execute(sa.select(documents).where(documents.c.kind == Item.kind)).all()
            log = connection.execute(sa.select(changes).order_by(changes.c.seq)).all()
        assert {row.id: msgspec.json.decode(row.body, type=Item) for row in rows} == self.model.items
        assert all(
            (row.version, row.account) == (i.version, i.account) for row in rows for i in [self.model.items[row.id]]
        )
        assert [entry.seq for entry in log] == list(range(1, len(log) + 1))
        last = {entry.id: entry for entry in log if entry.kind == Item.kind}
        assert {name for name, entry in last.items() if not entry.deleted} == set(self.model.items)
        assert all(last[name].version == item.version for name, item in self.model.items.items())

    def teardown(self) -> None:
        for store in getattr(self, "stores", ()):
            store.close()


def run(urls: Iterator[str], examples: int) -> None:
    machine = type("Machine", (StoreMachine,), {"url": urls})
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=examples, stateful_step_count=15, deadline=None, suppress_health_check=slow),
    )


def test_sqlite_keeps_the_promises_of_the_model():
    with tempfile.TemporaryDirectory() as directory:
        run((f"sqlite:///{directory}/{number}.db" for number in range(100_000)), 60)


@pytest.mark.postgresql
def test_postgresql_keeps_the_promises_of_the_model(postgresql):
    run(iter(postgresql.fresh_url, ""), 25)
