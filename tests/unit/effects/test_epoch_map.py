"""epoch_map: the file first, then HAProxy, never an older epoch after a newer one, and nobody waits for either."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from haagent.config.model import Configuration, Daemon, GlobalDefs
from haagent.config.tracking_model import TrackHaproxy
from haagent.core.reports import Report, State, StateChanged
from haagent.core.units import MILLISECOND
from haagent.effects import epoch_map
from haagent.effects.epoch_map import EpochMaps, publish, read_file
from haagent.effects.haproxy import HaproxyError


class Haproxy:
    """A server that keeps one map, as the Runtime API does; ``asked`` is every command it got."""

    def __init__(self, path: Path) -> None:
        self.entries: dict[str, str] = {}
        self.asked: list[str] = []
        self.hangs = False
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(8)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                channel, _ = self._listener.accept()
            except OSError:
                return
            with channel:
                command = channel.recv(4096).decode().strip()
                self.asked.append(command)
                if self.hangs:
                    channel.settimeout(1)
                    channel.recv(1)
                    continue
                channel.sendall(self._answer(command).encode())

    def _answer(self, command: str) -> str:
        verb, _, _, key, value = command.split()
        if verb == "set" and key not in self.entries:
            return "entry not found.\n\n"
        self.entries[key] = value
        return "\n"

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def haproxy(tmp_path: Path) -> Iterator[Haproxy]:
    made = Haproxy(tmp_path / "admin.sock")
    yield made
    made.close()


def block(directory: Path) -> TrackHaproxy:
    return TrackHaproxy(
        "h", str(directory / "admin.sock"), timeout=200 * MILLISECOND, epoch_map=str(directory / "epoch.map")
    )


def test_a_new_key_is_added_and_a_known_one_set(tmp_path, haproxy) -> None:
    publish(block(tmp_path), {"web": 3})
    publish(block(tmp_path), {"web": 4})
    assert haproxy.entries == {"web": "4"}
    assert [one.split()[0] for one in haproxy.asked] == ["set", "add", "set"]
    assert read_file(str(tmp_path / "epoch.map")) == {"web": 4}


def test_the_file_keeps_other_instances_and_the_arbiters_word_counts(tmp_path, haproxy) -> None:
    file = tmp_path / "epoch.map"
    file.write_text("api 9\nweb 7\n# not an epoch\nbroken x\n")
    publish(block(tmp_path), {"web": 5})  # another arbiter, which counts anew: both nodes must say the same
    assert file.read_text() == "api 9\nweb 5\n"
    assert haproxy.entries == {"web": "5"}
    assert file.stat().st_mode & 0o777 == 0o644


def test_without_haproxy_the_file_is_right_for_its_start(tmp_path) -> None:
    with pytest.raises(HaproxyError):
        publish(block(tmp_path), {"web": 5})
    assert (tmp_path / "epoch.map").read_text() == "web 5\n"


def test_a_link_in_the_place_of_the_new_file_is_not_followed(tmp_path, haproxy) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "epoch.map.haagent").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic"):
        publish(block(tmp_path), {"web": 5})
    assert victim.read_text() == "precious"


def configuration(*blocks: TrackHaproxy) -> Configuration:
    return Configuration(GlobalDefs(), (), (), (), None, None, Daemon("here"), haproxies=blocks)


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


def master(instance: str, epoch: int, *, group: bool = False) -> StateChanged:
    return StateChanged(instance, State.BACKUP, State.MASTER, 150, epoch, "", group)


async def test_the_file_is_there_from_the_start_and_follows_the_reports(tmp_path, haproxy) -> None:
    told: list[Report] = []
    maps = EpochMaps(configuration(block(tmp_path)), told.append)
    maps.start()
    await eventually((tmp_path / "epoch.map").exists)
    maps.read(master("web", 3))
    maps.read(master("group", 3, group=True))
    maps.read(StateChanged("api", State.MASTER, State.BACKUP, 150, 8, ""))
    await eventually(lambda: haproxy.entries == {"web": "3"})
    assert (tmp_path / "epoch.map").read_text() == "web 3\n"
    assert not told
    maps.close()


async def test_a_haproxy_that_hangs_is_told_later_and_once_complained_about(
    tmp_path, haproxy, monkeypatch
) -> None:
    monkeypatch.setattr(epoch_map, "RETRY", 0.05)
    told: list[Report] = []
    maps = EpochMaps(configuration(block(tmp_path)), told.append)
    haproxy.hangs = True
    maps.read(master("web", 3))
    await eventually(lambda: len(haproxy.asked) > 1)
    assert (tmp_path / "epoch.map").read_text() == "web 3\n"
    assert len(told) == 1
    haproxy.hangs = False
    maps.read(master("web", 4))
    await eventually(lambda: haproxy.entries == {"web": "4"})
    maps.close()


async def test_a_slow_answer_cannot_put_back_an_older_epoch(tmp_path, haproxy, monkeypatch) -> None:
    """Epochs come faster than HAProxy answers; it is asked about one at a time, and ends with the last one."""
    monkeypatch.setattr(epoch_map, "RETRY", 0.05)
    maps = EpochMaps(configuration(block(tmp_path)), lambda _report: None)
    haproxy.hangs = True
    for epoch in range(1, 4):
        maps.read(master("web", epoch))
        await asyncio.sleep(0.05)
    assert len(haproxy.asked) == 1
    haproxy.hangs = False
    await eventually(lambda: haproxy.entries == {"web": "3"})
    await asyncio.sleep(0.3)
    assert haproxy.entries == {"web": "3"}
    assert read_file(str(tmp_path / "epoch.map")) == {"web": 3}
    maps.close()


async def test_a_reload_adds_a_map(tmp_path, haproxy) -> None:
    maps = EpochMaps(configuration(), lambda _report: None)
    maps.start()
    maps.read(master("web", 3))
    maps.reconfigure(configuration(block(tmp_path)))
    await eventually(lambda: haproxy.entries == {"web": "3"})
    maps.close()
