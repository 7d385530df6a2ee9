"""What an agent is started with: settled names, and nothing that it would refuse later."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from haagent.agent.parameters import Run, electors
from haagent.agent.sources import Sources
from haagent.config import load as loading
from haagent.config.messages import ConfigErrors

TEXT = """
arbiter etcd {{
    endpoints h:2379
}}
peers {{
    key_file {key}
    node a 192.0.2.1
    node b 192.0.2.2
}}
vrrp_instance web {{
    interface eth0
    virtual_router_id 51
    virtual_ipaddress {{
        192.0.2.100/24
    }}
}}
"""


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    key = tmp_path / "key"
    key.write_text("0123456789abcdef")
    key.chmod(0o600)
    file = tmp_path / "k.conf"
    file.write_text(TEXT.format(key=key))
    return Sources((file,))


def test_a_host_called_like_another_node_does_not_take_that_one_off_the_electors(
    sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "short_host_name", lambda: "b")
    configuration = replace(sources, node="a").load()
    assert electors(configuration, Run("a", "i", "host")) == ("a", "b")
    assert configuration.warnings == ()


def test_a_reload_of_a_file_that_says_another_name_goes_on_with_the_name_of_the_start(
    sources: Sources,
) -> None:
    (file,) = sources.files
    text = file.read_text()
    file.write_text("haagent {\nnode a\n}\n" + text)
    running = sources.of_a_run(sources.load())
    assert running.node == "a"
    file.write_text("haagent {\nnode b\n}\n" + text)
    assert electors(running.load(), Run("a", "i", "host")) == ("a", "b")


def test_a_node_that_is_not_listed_is_warned_and_starts(sources: Sources) -> None:
    (warning,) = replace(sources, node="c").load().warnings
    assert warning.startswith(f"{sources.files[0]}:5:1: peers lists a, b, but not this node, c;")


def test_what_is_refused_comes_with_the_warnings_of_the_file(sources: Sources) -> None:
    (file,) = sources.files
    text = file.read_text().replace("arbiter etcd {", "arbiter redis {\nlease 3s\nrenew 1400ms\n")
    file.write_text(text.replace("interface", "no_such_keyword\ninterface"))
    with pytest.raises(ConfigErrors) as caught:
        sources.load()
    timing, plugin = caught.value.errors
    assert str(timing).startswith(f"{file}:2:9: renew 1.4 s is more than a third")
    assert str(plugin).startswith(f"{file}:2:9: arbiter redis: refused")
    assert any("no_such_keyword" in one for one in caught.value.warnings)
