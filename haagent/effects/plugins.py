"""Finds the arbiters that are installed, and loads the one that is configured.

Promises that finding imports nothing: names, distributions and versions are read from package metadata. Only the
named plugin is ever loaded, since a root daemon should run no code it was not asked to run. Every failure is a
``PluginError`` that says what is installed or what to install.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from typing import cast

from haagent.arbiter import OpenArbiter
from haagent.errors import PluginError

GROUP = "haagent.arbiters"

_LOSES = (
    "refused: {} replicates after it has acknowledged, so a failover loses acknowledged writes and two nodes may win "
    "the same claim; use etcd, zookeeper, consul, postgresql or file"
)
# Stores that people ask for and nobody should: none of ours will ever be one, and why. A package that provides the name counts.
REFUSED = {
    "redis": _LOSES.format("redis (also with Sentinel, Cluster, WAIT or Redlock)"),
    "valkey": _LOSES.format("valkey (also with Sentinel, Cluster or WAIT)"),
    "memcached": "refused: memcached keeps nothing; use etcd, zookeeper, consul, postgresql or file",
    "postgres": "called postgresql here",
    "k8s": "called kubernetes here",
    "zk": "called zookeeper here",
}


@dataclass(frozen=True, slots=True)
class Plugin:
    """One installed arbiter; ``target`` is ``package.module:function``."""

    name: str
    target: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} ({self.distribution} {self.version})"


def installed_plugins() -> tuple[Plugin, ...]:
    """Return every installed arbiter, by name. Imports none of them."""
    return tuple(sorted((_plugin(entry) for entry in metadata.entry_points(group=GROUP)), key=str))


def find_plugin(kind: str, installed: Iterable[Plugin] | None = None) -> Plugin:
    """Return the one plugin named ``kind``. Raises PluginError for none and for more than one."""
    plugins = tuple(installed_plugins() if installed is None else installed)
    found = [plugin for plugin in plugins if plugin.name == kind]
    if len(found) == 1:
        return found[0]
    if found:
        raise PluginError(
            f"arbiter {kind}: installed {len(found)} times, by {', '.join(sorted(p.distribution for p in found))}; "
            "uninstall all but one"
        )
    if kind in REFUSED:
        raise PluginError(f"arbiter {kind}: {REFUSED[kind]}")
    known = ", ".join(sorted({plugin.name for plugin in plugins})) or "none"
    raise PluginError(f"arbiter {kind}: no such arbiter; installed: {known}")


def load_plugin(plugin: Plugin) -> OpenArbiter:
    """Import ``plugin`` and return its opening function. Raises PluginError saying what is missing or broken."""
    entry = metadata.EntryPoint(plugin.name, plugin.target, GROUP)
    try:
        opening = entry.load()
    except ModuleNotFoundError as error:
        raise PluginError(_missing(plugin, error)) from error
    except Exception as error:  # whatever a third party's module raises while it is imported
        raise PluginError(
            f"arbiter {plugin}: {plugin.target} fails: {type(error).__name__}: {error}"
        ) from error
    if not callable(opening):
        raise PluginError(f"arbiter {plugin}: {plugin.target} is not a function that opens an arbiter")
    return cast("OpenArbiter", opening)


def _plugin(entry: metadata.EntryPoint) -> Plugin:
    distribution = entry.dist
    if distribution is None:
        return Plugin(entry.name, entry.value, "unknown distribution", "")
    return Plugin(entry.name, entry.value, distribution.name, distribution.version)


def _missing(plugin: Plugin, error: ModuleNotFoundError) -> str:
    """Say which module is not there, and how to get it where the distribution has an extra of the plugin's name."""
    missing = error.name or str(error)
    if plugin.target.startswith(missing):
        return f"arbiter {plugin}: {missing} is not there; reinstall {plugin.distribution}"
    package = plugin.distribution
    if plugin.name in _extras(plugin.distribution):
        package += f"[{plugin.name}]"
    return (
        f"arbiter {plugin.name}: its client library {missing} is not installed; run: pip install '{package}'"
    )


def _extras(distribution: str) -> tuple[str, ...]:
    try:
        return tuple(metadata.metadata(distribution).get_all("Provides-Extra") or ())
    except metadata.PackageNotFoundError:
        return ()
