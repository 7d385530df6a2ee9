"""track_haproxy, track_peer, http and agent_check lines: what they mean, and what is refused."""

from __future__ import annotations

import pytest

from haagent.config.messages import ConfigErrors
from haagent.config.model import Listen
from haagent.config.tracking_model import Track, TrackHaproxy, TrackPeer
from haagent.core.units import MILLISECOND, SECOND

NODES = "node a 192.0.2.1\nnode b 192.0.2.2\n"


def text(top: str, inside: str = "", nodes: str = NODES, daemon: str = "node a", key: str = "") -> str:
    peers = f"peers {{\nkey_file {key}\n{nodes}}}\n" if key else ""
    return (
        f"{top}\n{peers}haagent {{\n{daemon}\n}}\nvrrp_instance VI_1 {{\ninterface eth0\nvirtual_router_id 51\n"
        f"{inside}\nvirtual_ipaddress {{\n192.0.2.5\n}}\n}}\n"
    )


@pytest.fixture
def key(tmp_path) -> str:
    file = tmp_path / "peers.key"
    file.write_text("sixteen characters at least\n")
    file.chmod(0o600)
    return str(file)


def test_a_track_haproxy_block_and_its_use(read) -> None:
    block = """track_haproxy web {
        socket /run/haproxy/admin.sock
        interval 0.5
        timeout 0.2
        weight -30
        rise 3
        fall 4
        backend app 2
        backend api
        frontend web admin
        epoch_map /etc/haproxy/epoch.map
    }"""
    configuration = read(text(block, "track_haproxy {\nweb weight 0\n}"))
    assert configuration.haproxies == (
        TrackHaproxy(
            "web", "/run/haproxy/admin.sock", SECOND // 2, 200 * MILLISECOND, -30, False, 3, 4,
            (("app", 2), ("api", 1)), ("web", "admin"), "/etc/haproxy/epoch.map",
        ),
    )  # fmt: skip
    assert configuration.instances[0].track_haproxies == (Track("web", 0),)


def test_the_defaults_of_a_track_haproxy(read) -> None:
    (one,) = read(text("track_haproxy web {\nsocket /a\ninterval 5\n}")).haproxies
    assert (one.interval, one.timeout, one.rise, one.fall, one.weight) == (5 * SECOND, SECOND, 2, 2, 0)


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ("interval 1", "track_haproxy web has no socket"),
        ("socket admin.sock", "socket is 'admin.sock'"),
        (f"socket /{'x' * 107}", "at most 107 bytes"),
        ('socket "/a;b"', "without blanks"),
        ("socket /a\ninterval 0.01", "interval is '0.01'"),
        ("socket /a\nbackend app 0", "app's least number of servers is '0'"),
        ("socket /a\nfall 0", "fall is '0'"),
        ("socket /a\nbackend", "backend is missing its value"),
        ('socket /a\nepoch_map "/a b"', "epoch_map is '/a b'"),
    ],
)
def test_what_a_track_haproxy_may_not_say(read, lines, complaint) -> None:
    with pytest.raises(ConfigErrors, match=complaint):
        read(text(f"track_haproxy web {{\n{lines}\n}}"))


def test_tracking_an_unknown_haproxy_or_vote_is_an_error(read) -> None:
    with pytest.raises(
        ConfigErrors, match="track_haproxy names 'api', and no track_haproxy block defines it"
    ):
        read(text("track_haproxy web {\nsocket /a\n}", "track_haproxy {\napi\n}"))
    with pytest.raises(ConfigErrors, match="track_peer names 'p', and no track_peer block defines it"):
        read(text("", "track_peer {\np\n}"))


def test_a_group_tracks_both(read) -> None:
    top = "track_haproxy web {\nsocket /a\nbackend app\n}\n"
    group = "vrrp_sync_group G {\ngroup {\nVI_1\n}\ntrack_haproxy {\nweb\n}\n}\n"
    assert read(text(top + group)).groups[0].track_haproxies == (Track("web", 0),)


def test_a_track_peer_block_and_its_defaults(read, key) -> None:
    top = "track_peer p {\nnode b\ntimeout 5\nweight 10 reverse\n}\ntrack_peer q {\n}\n"
    configuration = read(text(top, "track_peer {\np\nq\n}", key=key))
    assert configuration.peer_votes == (
        TrackPeer("p", ("b",), 1, 5 * SECOND, 10, True),
        TrackPeer("q", (), 1, 3 * SECOND, -20, False),
    )
    assert configuration.instances[0].track_peers == (Track("p", 10, True), Track("q", -20))


THREE, FIVE = f"{NODES}node c 192.0.2.3\n", f"{NODES}node c 192.0.2.3\nnode d 192.0.2.4\nnode e 192.0.2.5\n"


@pytest.mark.parametrize(
    ("nodes", "block", "use", "complaint"),
    [
        (NODES, "", "p weight 0", "can make all of them FAULT.*a weight, such as -20"),
        (NODES, "weight 0", "p", "can make all of them FAULT"),
        (NODES, "", "p weight 0 reverse", "weight 0 reverse makes nodes that see each other FAULT"),
        (THREE, "least 2", "p weight 0", "sees 1 of 2 others is FAULT below 2.*least 1"),
        (THREE, "node b", "p weight 0", "can make all of them FAULT"),
        (FIVE, "least 3", "p weight 0", "least 2"),
        (NODES, "least 2", "p", "least is 2 of 1"),
        (NODES, "node x", "p", "names x, and the peers block does not"),
        (NODES, "node a", "p", "least is 1 of 0"),
        (NODES, "timeout 1", "p", "timeout is '1'"),
    ],
)
def test_votes_that_cannot_pass_or_could_make_everybody_fault_are_refused(
    read, key, nodes, block, use, complaint
) -> None:
    with pytest.raises(ConfigErrors, match=complaint):
        read(text(f"track_peer p {{\n{block}\n}}", f"track_peer {{\n{use}\n}}", nodes, key=key))


@pytest.mark.parametrize(("nodes", "block"), [(THREE, ""), (THREE, "node a b c"), (FIVE, "least 2")])
def test_weight_0_where_one_side_of_every_cut_goes_on(read, key, nodes, block) -> None:
    read(text(f"track_peer p {{\n{block}\n}}", "track_peer {\np weight 0\n}", nodes, key=key))


def test_a_vote_without_a_peers_block_is_refused(read) -> None:
    with pytest.raises(ConfigErrors, match="without a peers block: nobody is ever seen"):
        read(text("track_peer p {\n}", "track_peer {\np\n}"))


def test_http_and_agent_check(read) -> None:
    lines = "http 127.0.0.1:8405 [::1]:8405\nhttp 192.0.2.1:80\nagent_check 192.0.2.1:8406\nagent_check 192.0.2.1:8407 VI_1"
    daemon = read(text("", daemon=lines)).daemon
    assert daemon.http == (Listen("127.0.0.1", 8405), Listen("::1", 8405), Listen("192.0.2.1", 80))
    assert daemon.agent_checks == (Listen("192.0.2.1", 8406), Listen("192.0.2.1", 8407, "VI_1"))
    assert [str(one) for one in daemon.http[:2]] == ["127.0.0.1:8405", "[::1]:8405"]
    assert read(text("")).daemon.http == ()


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        *[(f"http {word}", "ADDRESS:PORT") for word in
          ("8405", ":8405", "localhost:80", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "::1:80", "[127.0.0.1]:80",
           "127.0.0.1:+80", "127.0.0.1:8e1", "[::1:80")],
        ("http 127.0.0.1:80\nagent_check 127.0.0.1:80", "given twice"),
        ("agent_check 127.0.0.1:80 VI_2", "about 'VI_2'.*VI_1"),
    ],
)  # fmt: skip
def test_addresses_nobody_can_listen_on_are_refused(read, line, complaint) -> None:
    with pytest.raises(ConfigErrors, match=complaint):
        read(text("", daemon=line))
