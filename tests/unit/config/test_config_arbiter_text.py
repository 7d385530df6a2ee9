"""A block made from an arbiter means that arbiter."""

from __future__ import annotations

import pytest

from haagent.config import arbiters
from haagent.config.arbiter_text import arbiter_block
from haagent.config.arbiters import parse_arbiter
from haagent.errors import ConfigError

ENVIRON = {"PW": "s3cret"}
URLS = {
    "etcd": "etcd://e1:2379,[2001:db8::1]:2379/web?lease=2s&renew=500ms&guard=0.0125&ca=/ca&cert=/c&key=/k&tls=yes"
    "&username=ha&password_env=PW&server_name=etcd.example",
    "zookeeper": "zookeeper://z1,z2:2181/web?chroot=/ha&auth=digest&username=ha&password_env=PW",
    "file": "file:///mnt/a%20b,/mnt/%23c,/mnt/d?domain=web&lease=0.0000015",
    "witness": "witness://w:7419/web?key_file=/k%5Cey&server_name=w",
    "postgresql": "postgresql://db:5432/web?database=ha&schema=x&tls=no&username=ha%20x",
    "consul": "consul://c1:8500/web?datacenter=eu",
    "kubernetes": "kubernetes:///web?kubeconfig=/c%21f&context=x&namespace=y",
    "mystore": "mystore://anything/web?region=eu%20%7Bwest%7D&lease=3s&username=ha&password_env=PW",
}


def test_every_kind_that_is_shipped_is_tried() -> None:
    assert set(arbiters.SHIPPED) < set(URLS)


@pytest.mark.parametrize("kind", URLS)
def test_the_block_of_a_url_means_the_same(read, kind: str) -> None:
    wanted = parse_arbiter(URLS[kind], ENVIRON)
    text = "\n".join(arbiter_block(wanted))
    assert read(text, environ=ENVIRON).arbiter == wanted
    assert "s3cret" not in text


def test_a_password_stays_in_its_file(read, tmp_path) -> None:
    secret = tmp_path / "pw file"
    secret.write_text("s3cret\n")
    secret.chmod(0o600)
    wanted = parse_arbiter(f"etcd://e:2379?username=ha&password_file={secret}")
    text = "\n".join(arbiter_block(wanted))
    assert f'    password_file "{secret}"\n' in text
    assert "s3cret" not in text
    assert dict(read(text).arbiter.settings)["password"] == "s3cret"
    assert read(text).arbiter == wanted


MEMBERS = "etcd {{\nendpoints e:1\nca /ca\n{0}}}\nzookeeper {{\nendpoints z:1\n{1}}}\nfile {{\nendpoints /mnt/v\n}}\n"


@pytest.mark.parametrize(
    "block",
    [
        "domain web\nlease 3s\nrenew 800ms\n" + MEMBERS.format("", ""),
        MEMBERS.format("domain one\n", "domain two\n"),
        MEMBERS.format("", ""),
    ],
    ids=["one domain", "domains of their own", "none"],
)
def test_a_quorum_keeps_its_members(read, block: str) -> None:
    wanted = read(f"arbiter quorum {{\n{block}}}\n").arbiter
    assert len(wanted.members) == 3
    assert read("\n".join(arbiter_block(wanted))).arbiter == wanted


@pytest.mark.parametrize("value", ["a%22b", "$HOME", "a%0Ab", "a%5C"])
def test_what_no_line_can_say_is_refused_and_not_changed(value: str) -> None:
    with pytest.raises(ConfigError, match=r"region .* cannot be written into a file"):
        arbiter_block(parse_arbiter(f"mystore://x/d?region={value}"))


def test_a_word_that_is_no_keyword_is_refused() -> None:
    with pytest.raises(ConfigError, match="word 'a b' cannot be written into a file"):
        arbiter_block(parse_arbiter("mystore://x/d?a%20b=c"))
