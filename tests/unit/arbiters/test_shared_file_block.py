"""Blocks and headers: what comes back, and that torn, damaged and displaced ones are told apart."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbiters.shared_file.ballot import Accepted, Block
from arbiters.shared_file.block import (
    BLOCK,
    PAYLOAD,
    TEXT_AT_MOST,
    Damaged,
    Torn,
    decode,
    encode,
    seal,
    unseal,
)
from arbiters.shared_file.layout import (
    NotAVotingFile,
    Presence,
    check_original,
    no_presence,
    read_header,
    read_presence,
    seal_header,
)
from arbiters.shared_file.making import CannotMake, plan
from arbiters.shared_file.settings import read_settings
from haagent.arbiter import ArbiterOptions, Misconfigured

WHERE = b"here"
NUMBERS = st.integers(0, 2**48 - 1)
HEADER = plan(["/a", "/b", "/c"], "web", ["n1", "n2"], spare=0, registers=4)[1]


@given(
    NUMBERS,
    NUMBERS,
    st.integers(1, 2**48 - 1),
    st.tuples(*[NUMBERS] * 6),
    st.text(max_size=60),
    st.binary(max_size=3_700),
)
@settings(deadline=None)
def test_a_block_comes_back(mbal, bal, version, history, name, value) -> None:
    for block in (Block(mbal, bal, Accepted(version, name, value, history)), Block(mbal)):
        assert decode(unseal(seal(encode(block), WHERE), WHERE)) == block


def test_the_longest_text_fits() -> None:
    block = Block(1, 1, Accepted(1, "n", b"x" * (TEXT_AT_MOST - 1), (0,) * 6))
    assert len(encode(block)) == PAYLOAD
    assert decode(unseal(seal(encode(block), WHERE), WHERE)) == block


@given(st.integers(0, BLOCK * 8 - 1))
@settings(deadline=None)
def test_any_flipped_bit_is_damage(bit: int) -> None:
    raw = bytearray(seal(b"payload", WHERE))
    raw[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Damaged):
        unseal(bytes(raw), WHERE)


@pytest.mark.parametrize("cut", range(512, BLOCK, 512))
def test_a_write_cut_between_sectors_is_torn_and_one_cut_inside_a_sector_is_damage(cut: int) -> None:
    old, new = seal(b"old" * 1_300, WHERE), seal(b"new" * 1_300, WHERE)
    with pytest.raises(Torn):
        unseal(new[:cut] + old[cut:], WHERE)
    with pytest.raises(Damaged):
        unseal(new[: cut + 100] + old[cut + 100 :], WHERE)


@pytest.mark.parametrize("raw", [bytes(BLOCK), b"", os.urandom(BLOCK), seal(b"", b"elsewhere")])
def test_zeros_garbage_and_blocks_from_elsewhere_are_damage(raw: bytes) -> None:
    with pytest.raises(Damaged):
        unseal(raw, WHERE)


def test_a_header_comes_back_and_the_newer_of_two_counts() -> None:
    newer = replace(HEADER, members_seq=2)
    assert read_header(seal_header(HEADER) + seal_header(newer)) == (newer, 1)
    assert read_header(seal_header(newer) + seal_header(HEADER)) == (newer, 0)


def test_a_damaged_header_is_not_passed_over_for_an_older_one() -> None:
    """It may have said that this file was replaced."""
    raw = bytearray(seal_header(HEADER) + seal_header(replace(HEADER, members_seq=2)))
    raw[BLOCK + 700] ^= 1
    with pytest.raises(NotAVotingFile, match=r"header is damaged \(slot B\)"):
        read_header(bytes(raw))


def test_a_copy_is_refused() -> None:
    check_original(replace(HEADER, inode=7), 7)
    with pytest.raises(NotAVotingFile, match="it is a copy"):
        check_original(replace(HEADER, inode=7), 8)


def test_a_presence_comes_back() -> None:
    mine = Presence("n2", "run", "boot/1", "host")
    front = bytes(2 * BLOCK) + no_presence(HEADER, 0) + mine.seal(HEADER, 1)
    assert read_presence(front, HEADER, 0) is None
    assert read_presence(front, HEADER, 1) == mine


@pytest.mark.parametrize(
    ("paths", "nodes", "more", "text"),
    [
        (["/a", "/b"], ["n"], {}, "accepted: 1, 3 or 5"),
        (["/a", "/a", "/b"], ["n"], {}, "all different"),
        (["/a"], [], {}, "accepted: together at most 6"),
        (["/a"], ["n", "n"], {}, "accepted: together at most 6"),
        (["/a"], list("abcdefg"), {}, "accepted: together at most 6"),
        (["/a"], ["n"], {"registers": 1}, "accepted: 2 to 1024"),
    ],
)
def test_a_plan_that_cannot_work_is_refused(paths, nodes, more, text) -> None:
    with pytest.raises(CannotMake, match=text):
        plan(paths, "web", nodes, **{"spare": 0, **more})


def test_the_poll_is_a_tenth_of_the_lease_within_bounds() -> None:
    for lease, poll in ((0.1, 0.02), (1.0, 0.1), (60.0, 0.5)):
        assert read_settings(ArbiterOptions(("/a",), "web", "n", lease, {})).poll == poll
    with pytest.raises(Misconfigured, match="unknown setting 'tls'"):
        read_settings(ArbiterOptions(("/a",), "web", "n", 1.0, {"tls": "yes"}))
