import threading

import msgspec
import pytest
from store_records import Door, House, house

from pileus.store import ClaimTaken, Conflict, StoreClosed, UnknownIndex, UnknownKind


def test_a_record_is_read_as_it_was_put_with_its_new_version(store):
    put = store.transact(lambda tx: tx.put(house("h-1", street="Elm")))
    assert put == house("h-1", street="Elm", version=1)
    assert store.view().get(House, "h-1") == put


def test_the_same_id_can_be_inserted_once(store):
    store.transact(lambda tx: tx.put(house("h-1")))
    with pytest.raises(Conflict) as caught:
        store.transact(lambda tx: tx.put(house("h-1")))
    assert (caught.value.kind, caught.value.record_id) == ("test.house", "h-1")
    assert (caught.value.expected, caught.value.found) == (0, 1)


def test_a_write_over_an_older_version_is_refused_and_nothing_of_it_happens(store):
    first = store.transact(lambda tx: tx.put(house("h-1")))
    second = store.transact(lambda tx: tx.put(msgspec.structs.replace(first, street="Oak")))
    assert second.version == 2

    def outdated(tx):
        tx.put(house("h-2"))
        tx.put(msgspec.structs.replace(first, street="Ash"))

    with pytest.raises(Conflict):
        store.transact(outdated)
    assert store.view().list(House) == [second]


def test_only_the_current_version_can_be_deleted(store):
    first = store.transact(lambda tx: tx.put(house("h-1")))
    second = store.transact(lambda tx: tx.put(first))
    with pytest.raises(Conflict):
        store.transact(lambda tx: tx.delete(first))
    store.transact(lambda tx: tx.delete(second))
    assert store.view().get(House, "h-1") is None
    with pytest.raises(Conflict):
        store.transact(lambda tx: tx.put(second))


def test_a_transaction_sees_its_own_writes_and_nobody_else_does_before_it_ends(store):
    old = store.transact(lambda tx: tx.put(house("h-1", street="Elm")))

    def work(tx):
        tx.put(msgspec.structs.replace(old, street="Oak"))
        tx.put(house("h-2", street="Oak"))
        tx.put(house("h-3", street="Oak"))
        tx.delete(tx.get(House, "h-3"))
        return [h.id for h in tx.list(House, street="Oak")], tx.list(House, street="Elm"), store.view().list(House)

    assert store.transact(work) == (["h-1", "h-2"], [], [old])
    assert [h.id for h in store.view().list(House, street="Oak")] == ["h-1", "h-2"]


def test_what_a_function_raises_comes_back_and_undoes_it(store):
    def work(tx):
        tx.put(house("h-1"))
        tx.claim("street", "1", "h-1")
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        store.transact(work)
    view = store.view()
    assert view.get(House, "h-1") is None
    assert view.owner_of("street", "1") is None
    assert view.revision == 0


def test_a_deleted_id_can_be_used_again_even_in_the_same_transaction(store):
    first = store.transact(lambda tx: tx.put(house("h-1", street="Elm")))

    def work(tx):
        tx.delete(first)
        return tx.put(house("h-1", street="Oak"))

    assert store.transact(work).version == 1
    assert [h.street for h in store.view().list(House)] == ["Oak"]


def test_lists_are_in_order_of_creation_however_records_change(store, reopened):
    for number in (3, 1, 2):
        store.transact(lambda tx, number=number: tx.put(house(f"h-{number}", street="Elm")))

    def move(tx, street):
        tx.put(msgspec.structs.replace(tx.get(House, "h-3"), street=street))

    store.transact(lambda tx: move(tx, "Oak"))
    store.transact(lambda tx: move(tx, "Elm"))
    for each in (store, reopened()):
        assert [h.id for h in each.view().list(House)] == ["h-3", "h-1", "h-2"]
        assert [h.id for h in each.view().list(House, street="Elm")] == ["h-3", "h-1", "h-2"]


def test_lists_are_narrowed_by_all_that_is_given(store):
    store.transact(
        lambda tx: [
            tx.put(house("h-1", account="1", region="a", street="Elm", tenants=("x", "y"))),
            tx.put(house("h-2", account="1", region="b", street="Elm", tenants=("y",))),
            tx.put(house("h-3", account="2", region="a", street="Elm")),
            tx.put(house("h-4", account="2", region="a")),
        ]
    )
    view = store.view()

    def ids(**narrow):
        return [h.id for h in view.list(House, **narrow)]

    assert ids(account="1") == ["h-1", "h-2"]
    assert ids(region="a") == ["h-1", "h-3", "h-4"]
    assert ids(account="2", region="a") == ["h-3", "h-4"]
    assert ids(street="Elm", account="2") == ["h-3"]
    assert ids(tenant="y") == ["h-1", "h-2"]
    assert ids(tenant="y", street="Elm", region="b", account="1") == ["h-2"]
    assert ids(street="None") == ids(account="3", region="a") == []


def test_an_index_or_kind_that_was_not_declared_is_an_error(store):
    with pytest.raises(UnknownIndex, match="colour"):
        store.view().list(House, colour="red")

    class Shed(House, frozen=True, kw_only=True):
        kind = "test.shed"

    with pytest.raises(UnknownKind):
        store.view().get(Shed, "s-1")
    with pytest.raises(UnknownKind):
        store.transact(lambda tx: tx.put(Shed(id="s-1", account="1", region="a")))


def test_a_claim_has_one_holder(store):
    store.transact(lambda tx: tx.claim("subnet-1", "10.0.0.4", "eni-1"))
    store.transact(lambda tx: tx.claim("subnet-1", "10.0.0.4", "eni-1"))
    store.transact(lambda tx: tx.claim("subnet-2", "10.0.0.4", "eni-2"))
    with pytest.raises(ClaimTaken) as caught:
        store.transact(lambda tx: tx.claim("subnet-1", "10.0.0.4", "eni-2"))
    assert (caught.value.scope, caught.value.key, caught.value.holder) == ("subnet-1", "10.0.0.4", "eni-1")
    assert store.view().owner_of("subnet-1", "10.0.0.4") == "eni-1"
    assert store.view().claims("subnet-2") == {"10.0.0.4": "eni-2"}


def test_a_released_claim_is_free(store):
    def work(tx):
        for key in ("a", "b", "c"):
            tx.claim("s", key, "x")
        tx.claim("t", "a", "x")
        tx.release("s", "a")
        tx.release("s", "never held")
        tx.claim("s", "a", "y")
        return dict(tx.claims("s"))

    assert store.transact(work) == {"a": "y", "b": "x", "c": "x"}
    store.transact(lambda tx: tx.release_all("x", "s"))
    assert store.view().claims("s") == {"a": "y"}
    assert store.view().claims("t") == {"a": "x"}
    store.transact(lambda tx: tx.release_all("x"))
    assert store.view().claims("t") == {}


def test_scopes_and_keys_do_not_run_into_each_other(store):
    store.transact(lambda tx: tx.claim("a b", "c", "x"))
    store.transact(lambda tx: tx.claim("a", "b c", "y"))
    assert store.view().owner_of("a b", "c") == "x"
    with pytest.raises(ValueError, match="tab"):
        store.transact(lambda tx: tx.claim("a\tb", "c", "x"))


def test_a_record_that_others_could_not_read_is_refused(store):
    with pytest.raises(msgspec.ValidationError):
        store.transact(lambda tx: tx.put(house("h-1", street=5)))
    with pytest.raises(UnicodeEncodeError):
        store.transact(lambda tx: tx.put(house("h-1", street="\ud800")))
    with pytest.raises(ValueError, match="NUL"):
        store.transact(lambda tx: tx.put(house("h\0")))
    assert store.view().list(House) == []


@pytest.mark.parametrize("text", ["\0", "'; DROP TABLE documents; --", "ünï¢ødé 🏠", "%s :name", "\t\n\\"])
def test_any_text_is_kept(store, reopened, text):
    store.transact(lambda tx: tx.put(house("h-1", street=text)))
    assert reopened().view().get(House, "h-1").street == text


def test_the_store_keeps_no_part_of_what_the_caller_still_holds(store):
    lamps = {"hall": 1}
    put = store.transact(lambda tx: tx.put(house("h-1", lamps=lamps)))
    lamps["hall"] = 9
    assert store.view().get(House, "h-1").lamps == put.lamps == {"hall": 1}


def test_a_transaction_that_is_over_writes_nothing(store):
    kept = store.transact(lambda tx: tx)
    with pytest.raises(StoreClosed):
        kept.put(house("h-1"))


def test_a_transaction_inside_a_transaction_fails_instead_of_waiting_for_itself(store):
    with pytest.raises(RuntimeError, match="transaction at hand"):
        store.transact(lambda _: store.transact(lambda tx: tx.put(house("h-1"))))


def test_a_closed_store_says_so(store):
    store.close()
    store.close()
    with pytest.raises(StoreClosed):
        store.view()
    with pytest.raises(StoreClosed):
        store.transact(lambda tx: None)


def test_works_that_share_a_commit_fail_each_for_itself(store):
    """All of these wait while the first one runs, so that they are committed together."""
    go = threading.Event()
    results: dict[int, object] = {}

    def run(number):
        def work(tx):
            tx.put(house(f"h-{number}"))
            tx.claim("door", str(number // 2), f"h-{number}")
            return len(tx.list(House))

        try:
            results[number] = store.transact(work)
        except ClaimTaken:
            results[number] = "taken"

    first = threading.Thread(target=store.transact, args=[lambda tx: go.wait(10)])
    first.start()
    threads = [threading.Thread(target=run, args=[number]) for number in range(10)]
    for thread in threads:
        thread.start()
    go.set()
    for thread in (first, *threads):
        thread.join()
    assert sorted(r for r in results.values() if r != "taken") == [1, 2, 3, 4, 5]
    view = store.view()
    assert {h.id for h in view.list(House)} == {f"h-{n}" for n, r in results.items() if r != "taken"}
    assert set(view.claims("door").values()) == {h.id for h in view.list(House)}


async def test_submitted_work_comes_back_to_the_event_loop(store):
    put = await store.submit(lambda tx: tx.put(house("h-1")))
    assert store.view().get(House, "h-1") == put
    with pytest.raises(Conflict):
        await store.submit(lambda tx: tx.put(house("h-1")))


def test_one_kind_never_shows_in_another(store):
    store.transact(lambda tx: [tx.put(house("x")), tx.put(Door(id="x", account="1", region="a", house="x"))])
    assert store.view().get(House, "x").kind == "test.house"
    assert [d.house for d in store.view().list(Door, house="x")] == ["x"]


def test_the_order_of_creation_survives_deletion_and_creation_in_one_transaction(store, reopened):
    first = store.transact(lambda tx: tx.put(house("b")))

    def work(tx):
        tx.delete(first)
        tx.put(house("z"))
        tx.put(tx.put(house("b")))
        tx.put(house("a"))
        return [h.id for h in tx.list(House)]

    assert store.transact(work) == ["z", "b", "a"]
    store.transact(lambda tx: tx.put(house("0")))
    for each in (store, reopened()):
        assert [h.id for h in each.view().list(House)] == ["z", "b", "a", "0"]
