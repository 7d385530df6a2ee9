"""A large configuration is read in well under a second."""

from __future__ import annotations

import time
from pathlib import Path

from haagent.config.load import load

ONE = """
vrrp_instance VI_{number} {{
    state BACKUP
    interface eth{interface}
    virtual_router_id {vrid}
    priority 100   # the same everywhere
    authentication {{
        auth_type PASS
        auth_pass secret
    }}
    virtual_ipaddress {{
        10.{interface}.{vrid}.1/24 dev eth{interface} label eth{interface}:1
    }}
    track_script {{
        check
    }}
    notify_master "/usr/local/bin/changed up VI_{number}"
}}
"""


def test_a_thousand_instances(tmp_path: Path) -> None:
    text = "vrrp_script check {\nscript /bin/true\n}\n"
    text += "".join(ONE.format(number=i, interface=i // 250, vrid=i % 250 + 1) for i in range(1000))
    path = tmp_path / "c.conf"
    path.write_text(text)
    before = time.process_time()
    configuration = load([path], environ={})
    spent = time.process_time() - before
    assert len(configuration.instances) == 1000
    assert spent < 2.0  # about 0.3 s; a quadratic step would take many seconds
