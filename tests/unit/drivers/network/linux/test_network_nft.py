"""The script between two states of a table."""

from hypothesis import given
from hypothesis import strategies as st

from pileus.drivers.network.linux.nft import Chain, Elements, Table, change, replace


def table(elements: dict[str, dict[str, str]], chains: dict[str, tuple[str, ...]]) -> Table:
    return Table(
        name="inet t",
        elements={key: Elements(declaration="type ipv4_addr", elements=value) for key, value in elements.items()},
        chains={key: Chain(rules=rules) for key, rules in chains.items()},
    )


def test_equal_tables_need_no_script() -> None:
    assert change(table({"s": {"1": ""}}, {"c": ("accept",)}), table({"s": {"1": ""}}, {"c": ("accept",)})) == ""


def test_elements_are_exchanged_one_by_one() -> None:
    script = change(table({"s": {"1": "a", "2": "b", "3": ""}}, {}), table({"s": {"1": "a", "2": "c", "4": ""}}, {}))
    assert script == "delete element inet t s { 2, 3 }\nadd element inet t s { 2 : c, 4 }\n"


def test_a_chain_is_written_before_it_is_used_and_removed_after() -> None:
    script = change(
        table({"m": {"k": "goto old"}}, {"old": ("accept",)}), table({"m": {"k": "goto new"}}, {"new": ("drop",)})
    )
    assert script.splitlines() == [
        "add chain inet t new",
        "add rule inet t new drop",
        "delete element inet t m { k }",
        "add element inet t m { k : goto new }",
        "flush chain inet t old",
        "delete chain inet t old",
    ]


def test_a_replacement_begins_with_an_empty_table() -> None:
    lines = replace([table({}, {"c": ("accept",)})]).splitlines()
    assert lines == [
        "add table inet t",
        "delete table inet t",
        "add table inet t",
        "add chain inet t c",
        "add rule inet t c accept",
    ]


tables = st.builds(
    table,
    st.dictionaries(st.sampled_from("stu"), st.dictionaries(st.sampled_from("123"), st.sampled_from(("", "x", "y")))),
    st.dictionaries(st.sampled_from("abc"), st.lists(st.sampled_from(("accept", "drop")), max_size=2).map(tuple)),
)


@given(tables, tables)
def test_the_script_leads_to_the_wanted_state(before: Table, after: Table) -> None:
    assert perform(before, change(before, after)) == perform(after, "")


def perform(start: Table, script: str) -> tuple[dict[str, dict[str, str]], dict[str, list[str]]]:
    """What nft would make of it; fails on what nft would refuse."""
    sets = {key: dict(value.elements) for key, value in start.elements.items()}
    chains = {key: list(value.rules) for key, value in start.chains.items()}
    for line in script.splitlines():
        verb, what, _, _, name, *rest = line.split(maxsplit=5)
        arguments = rest[0].strip("{} ;") if rest else ""
        if what == "rule":
            chains[name].append(arguments)
        elif what == "chain":
            if verb == "add":
                chains[name] = []
            elif verb == "flush":
                chains[name].clear()
            else:
                assert chains.pop(name) == []
        elif what == "element":
            pairs = dict(part.partition(" : ")[::2] for part in arguments.split(", "))
            for key, value in pairs.items():
                if verb == "add":
                    assert sets[name].setdefault(key, value) == value
                else:
                    del sets[name][key]
        elif verb == "add":
            sets[name] = {}
        else:
            del sets[name]
    return sets, chains
