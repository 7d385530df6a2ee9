"""Which instances a reload takes on only after what was there before has let go."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from haagent.agent.reloading import _waiting
from haagent.config.model import Configuration, Daemon, GlobalDefs, SyncGroup, VirtualAddress, VrrpInstance


def instance(name: str, number: int) -> VrrpInstance:
    return VrrpInstance(name, "eth0", number, (VirtualAddress(ip_address(f"192.0.2.{number}"), 32, "eth0"),))


A, B, C = (instance(name, number) for number, name in enumerate("ABC", 51))


def configuration(*instances: VrrpInstance, **groups: str) -> Configuration:
    made = tuple(SyncGroup(name, tuple(members)) for name, members in groups.items())
    return Configuration(GlobalDefs(), instances, made, (), None, None, Daemon("a"))


@pytest.mark.parametrize(
    ("before", "fresh", "waiting"),
    [
        (configuration(A, B), configuration(A, B), ""),
        (configuration(A), configuration(A, B), ""),
        (configuration(A), configuration(replace(A, priority=7)), ""),
        (configuration(A, B), configuration(A, B, G="AB"), "AB"),
        (configuration(A, B, G="AB"), configuration(A, B), "AB"),
        (configuration(A, B, G="AB"), configuration(A, B, G="A"), "B"),
        (configuration(A, B, G="AB"), configuration(A, B, H="AB"), "AB"),
        (configuration(A, B, C, G="AB"), configuration(A, B, C, G="ABC"), "ABC"),
        (configuration(A, C, G="A"), configuration(A, B, C, G="AB"), ""),
        (configuration(A), configuration(replace(A, name="B")), "B"),
        (configuration(A), configuration(replace(A, name="B"), C, G="BC"), "BC"),
    ],
)
def test_one_thing_has_one_claim(before: Configuration, fresh: Configuration, waiting: str) -> None:
    assert _waiting(before, fresh) == set(waiting)
