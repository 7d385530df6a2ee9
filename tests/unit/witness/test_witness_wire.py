"""The witness's messages are total on hostile input, and its file whole after whatever a batch contained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haagent.arbiter import Record
from haagent.witness.store import Full, Held, ReadOf, Store, SwapOf, show
from haagent.witness.wire import LARGEST_VALUE, LONGEST_NAME, Request, WireError, read_request

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
FIELDS = st.dictionaries(st.sampled_from(["number", "operation", "name", "value", "expected", "more"]), JSON)


@given(FIELDS)
def test_whatever_a_message_holds_is_a_request_or_refused(fields) -> None:
    try:
        request = read_request(fields)
    except WireError:
        return
    request.name.encode()
    assert len(request.value) <= LARGEST_VALUE


@pytest.mark.parametrize("name", ["\ud800", "", "x" * 600])
def test_names_no_database_takes_are_refused(name: str) -> None:
    with pytest.raises(WireError):
        read_request({"number": 1, "operation": "read", "name": name})


@given(st.text(min_size=1, max_size=50), st.binary(max_size=200), st.binary(max_size=50))
def test_requests_survive_the_wire(name: str, value: bytes, held: bytes) -> None:
    request = Request(7, "swap", name, value, Record(held, "1-a"))
    try:
        name.encode()
    except UnicodeEncodeError:
        return
    assert read_request(json.loads(json.dumps(request.encode()))) == request


def test_a_name_that_would_end_the_connection_is_not_sent() -> None:
    """It carries every other call as well."""
    longest = Request(1, "read", "n" * LONGEST_NAME)
    assert read_request(longest.encode()) == longest
    with pytest.raises(ValueError, match="at most 512"):
        Request(1, "read", "n" * (LONGEST_NAME + 1)).encode()


def test_a_batch_that_cannot_be_applied_leaves_nothing_behind(tmp_path: Path) -> None:
    store = Store(tmp_path / "registers")
    try:
        with pytest.raises(UnicodeEncodeError):
            store.apply([SwapOf("web", "claims/a", b"1", None), ReadOf("web", "\ud800")])
        assert store.apply([ReadOf("web", "claims/a")]) == [Held(None)]
        (written,) = store.apply([SwapOf("web", "claims/a", b"1", None)])
        assert not isinstance(written, Full)
        assert written.record is not None
    finally:
        store.close()
    (row,) = show(tmp_path / "registers")
    assert (row.domain, row.name, row.value) == ("web", "claims/a", b"1")


def test_one_run_after_the_other_goes_on_counting(tmp_path: Path) -> None:
    versions = []
    held: Record | None = None
    for number in range(3):
        store = Store(tmp_path / "registers")
        (result,) = store.apply([SwapOf("web", "claims/a", b"%d" % number, held)])
        assert isinstance(result, Held)
        held = result.record
        assert held is not None
        versions.append(held.version)
        store.close()
    assert [version.partition("-")[0] for version in versions] == ["1", "2", "3"]
    assert len({version.partition("-")[2] for version in versions}) == 3
