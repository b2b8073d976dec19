"""Views stay what they were, follow other processes, and mark what must be rendered anew."""

import gc

import msgspec
from store_records import Door, House, door, house

from pileus.store.log import changes_since


def test_a_view_stays_what_it_was(store):
    first = store.transact(lambda tx: tx.put(house("h-1", street="Elm")))
    gone = store.transact(lambda tx: tx.put(house("h-2", street="Elm")))
    view = store.view()
    seen = (view.revision, view.stamp("h-1"), view.stamp("h-2"), view.stamp("h-3"))

    def work(tx):
        tx.put(msgspec.structs.replace(first, street="Oak"))
        tx.delete(gone)
        tx.put(house("h-3", street="Elm"))
        tx.claim("s", "k", "h-3")

    store.transact(work)
    store.transact(lambda tx: tx.put(msgspec.structs.replace(tx.get(House, "h-1"), street="Ash")))

    assert view.get(House, "h-1") == first
    assert view.get(House, "h-2") == gone
    assert view.get(House, "h-3") is None
    assert view.list(House) == view.list(House, street="Elm", account="1", region="a") == [first, gone]
    assert view.list(House, street="Oak") == []
    assert view.owner_of("s", "k") is None
    assert (view.revision, view.stamp("h-1"), view.stamp("h-2"), view.stamp("h-3")) == seen
    now = store.view()
    assert [h.id for h in now.list(House, street="Elm")] == ["h-3"]
    assert [h.id for h in now.list(House)] == ["h-1", "h-3"]


def test_a_view_shows_what_another_store_has_committed_before(store, reopened):
    other = reopened()
    for number in range(5):
        put = other.transact(lambda tx, number=number: tx.put(house(f"h-{number}")))
        assert store.view().get(House, f"h-{number}") == put
    other.transact(lambda tx: tx.delete(tx.get(House, "h-0")))
    assert store.view().get(House, "h-0") is None
    assert store.view().revision == other.view().revision == 6


def test_a_transaction_sees_what_another_store_has_committed_before(store, reopened):
    other = reopened()
    put = other.transact(lambda tx: tx.put(house("h-1")))
    assert store.transact(lambda tx: tx.get(House, "h-1")) == put


def test_views_that_nobody_holds_cost_nothing(store):
    kept = store.view()
    for number in range(20):
        store.transact(lambda tx, number=number: tx.put(house(f"h-{number}")))
        store.view()
    gc.collect()
    assert len(store._mirror._live) <= 2
    assert kept.list(House) == []


def test_a_record_that_is_unchanged_keeps_its_stamp(store):
    store.transact(lambda tx: tx.put(house("h-1")))
    stamp = store.view().stamp("h-1")
    assert stamp > 0
    store.transact(lambda tx: tx.put(house("h-2")))
    assert store.view().stamp("h-1") == stamp


def test_a_record_is_stamped_anew_by_its_own_changes_and_by_what_touches_it(store):
    stamps = []

    def step(work):
        store.transact(work)
        stamps.append(store.view().stamp("h-1"))

    step(lambda tx: tx.put(house("h-1")))
    step(lambda tx: tx.put(door("d-1", "h-1")))
    step(lambda tx: tx.put(msgspec.structs.replace(tx.get(Door, "d-1"), open=True)))
    step(lambda tx: tx.put(msgspec.structs.replace(tx.get(Door, "d-1"), house=None)))
    assert stamps == sorted(set(stamps))
    step(lambda tx: tx.put(msgspec.structs.replace(tx.get(Door, "d-1"), open=False)))
    assert stamps[-1] == stamps[-2]
    step(lambda tx: tx.put(msgspec.structs.replace(tx.get(Door, "d-1"), house="h-1")))
    step(lambda tx: tx.delete(tx.get(Door, "d-1")))
    step(lambda tx: tx.put(tx.get(House, "h-1")))
    assert stamps[4:] == sorted(set(stamps[4:]))


def test_what_does_not_exist_or_is_being_changed_has_no_stamp(store):
    assert store.view().stamp("h-1") == 0
    store.transact(lambda tx: [tx.put(house("h-1")), tx.put(house("h-2"))])

    def work(tx):
        tx.put(door("d-1", "h-1"))
        return tx.stamp("d-1"), tx.stamp("h-1"), tx.stamp("h-2")

    assert store.transact(work) == (0, 0, store.view().stamp("h-2"))
    store.transact(lambda tx: tx.delete(tx.get(House, "h-1")))
    assert store.view().stamp("h-1") == 0


def test_a_view_recovers_when_the_log_was_trimmed_beyond_it(store, reopened):
    behind = reopened(keep=5)
    first = store.transact(lambda tx: tx.put(house("h-1")))
    old = behind.view()
    stamp = old.stamp("h-1")
    busy = reopened(keep=5)
    busy.transact(lambda tx: tx.put(door("d-1", "h-1")))
    busy.transact(lambda tx: tx.delete(tx.get(Door, "d-1")))
    for batch in range(3):
        busy.transact(lambda tx, batch=batch: [tx.put(house(f"x-{batch}-{n}")) for n in range(400)])
    assert changes_since(busy._backend, busy.view().revision - 5)[0].seq > 1000

    assert len(behind.view().list(House)) == 1201
    assert behind.view().stamp("h-1") > stamp
    assert old.list(House) == [first]
    assert old.stamp("h-1") == stamp


def test_records_of_kinds_that_a_process_does_not_know_do_not_disturb_it(store, database_url, clock):
    from pileus.store import open_store

    store.transact(lambda tx: tx.put(door("d-1", None)))
    narrow = open_store(database_url, [House], clock, durable=False)
    try:
        store.transact(lambda tx: [tx.put(door("d-2", None)), tx.put(house("h-1"))])
        assert [h.id for h in narrow.view().list(House)] == ["h-1"]
    finally:
        narrow.close()


def test_a_database_of_a_newer_version_is_refused(store, database_url, clock):
    import pytest
    import sqlalchemy as sa

    from pileus.store import SchemaTooNew, open_store

    store.transact(lambda tx: tx.put(house("h-1")))
    with store._backend.write() as connection:
        connection.execute(sa.text("UPDATE meta SET value = '99' WHERE key = 'schema'"))
    with pytest.raises(SchemaTooNew, match="99"):
        open_store(database_url, [House], clock)


async def test_a_view_taken_between_a_commit_and_its_takeover_changes_nothing(store):
    """Another thread may read the committed changes from the database before the writer hands them over."""
    watch = store.watch()
    take_over = store._writer._committed

    def late(written):
        assert store.view().revision == written[-1].change.seq
        take_over(written)

    store._writer._committed = late
    for number in range(3):
        await store.submit(lambda tx, number=number: tx.put(house(f"h-{number}")))
        assert [change.id for change in await anext(watch)] == [f"h-{number}"]
    assert [h.id for h in store.view().list(House)] == ["h-0", "h-1", "h-2"]
    assert store.view().revision == 3


def test_stamps_of_several_records_are_those_of_each(store):
    store.transact(lambda tx: [tx.put(house("h-0")), tx.put(house("h-1"))])
    before = store.view()
    store.transact(lambda tx: tx.put(tx.get(House, "h-1")))
    ids = ["h-1", "h-0", "h-none"]
    for view in (before, store.view()):
        assert list(view.stamps(ids)) == [view.stamp(each) for each in ids]
    assert before.stamps(ids) != store.view().stamps(ids)
    assert store.transact(lambda tx: (tx.put(tx.get(House, "h-0")), tx.stamps(ids)))[1][1] == 0
