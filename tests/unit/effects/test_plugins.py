"""Arbiters are found without being imported, and every way to be missing or broken has its own words."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from haagent.effects.plugins import find_plugin, installed_plugins, load_plugin
from haagent.errors import PluginError


class Site:
    """A directory on sys.path into which distributions are installed by hand."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def install(self, distribution: str, entry: str, source: str = "", extras: str = "") -> None:
        info = self.path / f"{distribution.replace('-', '_')}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n{extras}")
        (info / "entry_points.txt").write_text(f"[haagent.arbiters]\n{entry}\n")
        module = entry.split("=")[1].split(":", maxsplit=1)[0].strip()
        if source:
            (self.path / f"{module}.py").write_text(source)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.syspath_prepend(str(tmp_path))
    return Site(tmp_path)


def test_our_own_arbiter_comes_through_the_same_door() -> None:
    plugin = find_plugin("etcd")
    assert (plugin.target, plugin.distribution) == ("arbiters.etcd:open_arbiter", "haagent")
    assert load_plugin(plugin).__name__ == "open_arbiter"


def test_listing_imports_nothing(site: Site) -> None:
    site.install("listed-store", "listed = hae_listed:open", "raise SystemExit('imported')")
    assert "listed (listed-store 1.2)" in [str(plugin) for plugin in installed_plugins()]
    assert "hae_listed" not in sys.modules


def test_third_party_plugin_is_loaded(site: Site) -> None:
    site.install("good-store", "good = hae_good:open_arbiter", "async def open_arbiter(options): ...")
    assert load_plugin(find_plugin("good")).__module__ == "hae_good"


def test_unknown_name_lists_what_is_installed(site: Site) -> None:
    site.install("other-store", "other = hae_other:open")
    with pytest.raises(PluginError, match=r"arbiter mystore: no such arbiter; installed: .*etcd.*other"):
        find_plugin("mystore")


def test_stores_that_lose_writes_are_refused_with_the_reason(site: Site) -> None:
    with pytest.raises(PluginError, match=r"arbiter redis: refused: .*loses acknowledged writes.* use etcd"):
        find_plugin("redis")
    site.install("raft-redis", "redis = hae_redis:open")
    assert find_plugin("redis").distribution == "raft-redis"


@pytest.mark.parametrize(
    ("kind", "library"), [("postgresql", "asyncpg"), ("consul", "aiohttp"), ("kubernetes", "aiohttp")]
)
def test_missing_libraries_of_our_own_arbiters(
    kind: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [name for name in sys.modules if name.startswith((f"arbiters.{kind}", "arbiters.rest"))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(
        PluginError, match=rf"{library} is not installed; run: pip install 'haagent\[{kind}\]'"
    ):
        load_plugin(find_plugin(kind))


def test_two_distributions_with_one_name_are_refused(site: Site) -> None:
    site.install("a-store", "double = hae_a:open")
    site.install("b-store", "double = hae_b:open")
    with pytest.raises(PluginError, match="installed 2 times, by a-store, b-store; uninstall all but one"):
        find_plugin("double")


def test_missing_library_names_the_extra(site: Site) -> None:
    site.install("x-store", "x = hae_x:open", "import nosuchlibrary", extras="Provides-Extra: x\n")
    with pytest.raises(PluginError, match=r"nosuchlibrary is not installed; run: pip install 'x-store\[x\]'"):
        load_plugin(find_plugin("x"))


def test_missing_etcd_library_is_said_as_users_type_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.startswith("arbiters.etcd")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(PluginError, match=r"pip install 'haagent\[etcd\]'"):
        load_plugin(find_plugin("etcd"))


def test_broken_plugins(site: Site) -> None:
    site.install("y-store", "y = hae_y:open", "1 / 0")
    site.install("z-store", "z = hae_z:open", "open = 3")
    site.install("w-store", "w = hae_w:open")
    site.install("v-store", "v = hae_v:missing", "x = 1")
    for name, said in (
        ("y", "fails: ZeroDivisionError"),
        ("z", "is not a function"),
        ("w", "hae_w is not there; reinstall w-store"),
        ("v", "fails: AttributeError"),
    ):
        with pytest.raises(PluginError, match=said):
            load_plugin(find_plugin(name))
