"""Fixtures: reading a configuration from text, in a directory of its own."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import pytest

from haagent.config.load import load
from haagent.config.messages import ConfigErrors
from haagent.config.model import Configuration, VrrpInstance


class Read(Protocol):
    def __call__(
        self, text: str, *, config_id: str = ..., arbiter: str | None = ..., environ: Mapping[str, str] = ...
    ) -> Configuration: ...


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Read one text as the file ``c.conf`` (messages name it so)."""
    monkeypatch.chdir(tmp_path)

    def reader(
        text: str,
        *,
        config_id: str = "here",
        arbiter: str | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Configuration:
        Path("c.conf").write_text(textwrap.dedent(text))
        return load([Path("c.conf")], config_id=config_id, arbiter=arbiter, environ=environ or {})

    return reader


@pytest.fixture
def errors(read: Read) -> Callable[..., list[str]]:
    """Return the errors that a text must have."""

    def reader(text: str, **options: object) -> list[str]:
        with pytest.raises(ConfigErrors) as caught:
            read(text, **options)  # type: ignore[arg-type]
        return [str(error) for error in caught.value.errors]

    return reader


INSTANCE = """
vrrp_instance {name} {{
    interface eth0
    virtual_router_id {vrid}
    {more}
    virtual_ipaddress {{
        {address}
    }}
}}
"""


@pytest.fixture
def instance(read: Read) -> Callable[..., VrrpInstance]:
    """Read one instance with additional lines and return it, its warnings in ``instance.warnings``."""

    def reader(more: str = "", *, address: str = "10.0.0.5/24", before: str = "") -> VrrpInstance:
        text = before + INSTANCE.format(name="VI_1", vrid=51, more=more, address=address)
        configuration = read(text)
        reader.warnings = configuration.warnings  # type: ignore[attr-defined]
        return configuration.instances[0]

    return reader
