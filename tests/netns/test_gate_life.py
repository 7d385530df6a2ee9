"""A gate's life on the real kernel: deadlines, a killed owner, take-over, reload, removal, damage, refusal."""

from __future__ import annotations

import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from gate_lab import B4, MAC_B, VIP4, Wire, advert, arrives, ether, guard, inside, ipv4, run

from haagent.core.units import MILLISECOND, SECOND
from haagent.effects.gate import Gate, Tier, boot_now, inspect, open_gate, opening, sweep
from haagent.effects.gate.bpf_attach import Mechanism
from haagent.effects.gate.bpf_gate import BpfGate
from haagent.effects.gate.nft_gate import NftablesGate
from haagent.errors import EffectError

pytestmark = [pytest.mark.netns, pytest.mark.skipif(os.geteuid() != 0, reason="needs root for namespaces")]

MODES = ("bpf", "nftables")
FROM_VIP = ether(ipv4(VIP4, B4, 17, bytes(8)), 0x0800, MAC_B)
FROM_SECOND = ether(ipv4("10.77.0.101", B4, 17, bytes(8)), 0x0800, MAC_B)
WEB = guard()
SECOND_CLAIM = guard("db", vrid=80, octet=101)
# The link-local address of guard() belongs to one claim per link, so the second claim gets none.
SECOND_GUARD = type(SECOND_CLAIM)("db", (SECOND_CLAIM.routers[0],))


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    built = Wire("hag-l", extra=3)
    try:
        built.build()
        yield built
    finally:
        built.destroy()


@pytest.fixture(autouse=True)
def _clean(wire: Wire) -> Iterator[None]:
    yield
    with inside(wire.a):
        sweep()
        assert inspect().hanging == ()


@pytest.fixture
def ends(wire: Wire) -> Iterator[tuple[socket.socket, socket.socket]]:
    with wire.raw(wire.a) as here, wire.raw(wire.b) as there:
        yield here, there


def _opened(wire: Wire, mode: str, *guards: object, keep: bool = False) -> Gate:
    with inside(wire.a):
        return open_gate(guards or (WEB,), mode=mode, keep=keep)  # type: ignore[arg-type]


@pytest.mark.parametrize(("mode", "allowed"), [("bpf", 5), ("nftables", 50)])
def test_traffic_stops_at_the_deadline(wire: Wire, ends: tuple, mode: str, allowed: int) -> None:
    """Lateness of the last packet that passed, in ms: its verdict fell between the two readings of the clock.

    The limit is on the earlier reading: what lies between is also this test waiting for the processor.
    """
    gate, earliest, latest = _opened(wire, mode), [], []
    gate.open("web", 1)
    gate.extend(boot_now() + 30 * SECOND)
    assert arrives(FROM_VIP, *ends)
    for _ in range(10):
        deadline = boot_now() + 120 * MILLISECOND
        gate.extend(deadline)
        before, after = _last_passed(ends[0], deadline)
        earliest.append((before - deadline) / MILLISECOND)
        latest.append((after - deadline) / MILLISECOND)
    for name, values in (("before", earliest), ("after", latest)):
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f"{mode}: lateness, clock read {name} the packet: {low:.3f} / {middle:.3f} / {high:.3f} ms")
    assert max(earliest) < allowed
    assert max(latest) > -60
    _disown(gate)


def _last_passed(here: socket.socket, deadline: int) -> tuple[int, int]:
    """Send until well after the deadline; return the times before and after the last frame that was not refused."""
    last = (0, 0)
    while (before := boot_now()) < deadline + 80 * MILLISECOND:
        try:
            here.send(FROM_VIP)
            last = before, boot_now()
        except OSError:
            pass
        time.sleep(0.0001)
    return last


def _disown(gate: Gate) -> None:
    gate.disown()  # type: ignore[attr-defined]


OWNER = """
import sys, time
sys.path.insert(0, {path!r})
from gate_lab import guard
from haagent.effects.gate import boot_now, open_gate
gate = open_gate([guard()], mode={mode!r})
gate.extend(boot_now() + {lease})
gate.open("web", 41)
print("open", flush=True)
time.sleep(60)
"""


@pytest.fixture
def owner(wire: Wire) -> Iterator[Callable[[str, int], subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(mode: str, lease: int) -> subprocess.Popen[str]:
        script = OWNER.format(path=os.path.dirname(__file__), mode=mode, lease=lease)
        command = ["ip", "netns", "exec", wire.a, sys.executable, "-c", script]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=10)


@pytest.mark.parametrize("mode", MODES)
def test_the_gate_outlives_its_killed_owner_and_closes_by_itself(
    wire: Wire, ends: tuple, owner: Callable, mode: str
) -> None:
    lease = SECOND
    process = owner(mode, lease)
    assert arrives(FROM_VIP, *ends)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=10)
    time.sleep(lease / SECOND + 0.1)  # counted from when it was open already
    assert not arrives(FROM_VIP, *ends)
    assert not arrives(advert(100), *ends)
    assert arrives(advert(0), *ends)
    with inside(wire.a):
        assert {(one.interface, one.hook) for one in inspect().hanging} == {
            ("g0", "ingress"),
            ("g0", "egress"),
        }


@pytest.mark.parametrize("mode", MODES)
def test_taking_over_a_gate_left_open_closes_it(wire: Wire, ends: tuple, owner: Callable, mode: str) -> None:
    owner(mode, 30 * SECOND).kill()
    _wait_for(lambda: _takes_over(wire, mode, keep=False))
    assert not arrives(FROM_VIP, *ends)
    with inside(wire.a):
        assert len(inspect().hanging) == 2


@pytest.mark.parametrize("mode", MODES)
def test_adopting_a_gate_left_open_keeps_it_open_throughout(
    wire: Wire, ends: tuple, owner: Callable, mode: str
) -> None:
    process = owner(mode, 30 * SECOND)
    process.kill()
    process.wait(timeout=10)
    gate = _opened(wire, mode, WEB, SECOND_GUARD, keep=True)
    adopted = gate.adopt()
    assert adopted.epochs == {"web": 41}
    assert 20 * SECOND < adopted.deadline - boot_now() < 31 * SECOND
    assert arrives(FROM_VIP, *ends)
    assert not arrives(FROM_SECOND, *ends)
    gate.close("web")
    assert not arrives(FROM_VIP, *ends)
    _disown(gate)


def _takes_over(wire: Wire, mode: str, *, keep: bool) -> bool:
    try:
        gate = _opened(wire, mode, keep=keep)
    except EffectError:
        return False  # the killed owner's socket is not closed yet
    assert gate.adopt().epochs == {}
    _disown(gate)
    return True


def _wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(300):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("did not happen within 15 s")


@pytest.mark.parametrize(("first", "second"), [("bpf", "nftables"), ("nftables", "bpf"), ("bpf", "off")])
def test_another_tier_leaves_nothing_of_the_first(wire: Wire, first: str, second: str) -> None:
    _disown(_opened(wire, first))
    gate = _opened(wire, second)
    with inside(wire.a):
        mechanisms = {one.mechanism for one in inspect().hanging}
    assert mechanisms == {"bpf": {"tcx"}, "nftables": {"nftables"}, "off": set()}[second]
    if second != "off":
        _disown(gate)


def test_tcx_takes_over_from_clsact(wire: Wire, ends: tuple) -> None:
    with inside(wire.a):
        old = BpfGate([WEB], keep=False, mechanism=Mechanism.CLSACT)
        old.extend(boot_now() + 30 * SECOND)
        old.open("web", 5)
        old.disown()
        new = BpfGate([WEB], keep=True, mechanism=Mechanism.TCX)
        assert {one.mechanism for one in inspect().hanging} == {"tcx"}
    assert new.adopt().epochs == {"web": 5}
    assert arrives(FROM_VIP, *ends)
    new.disown()


@pytest.mark.parametrize("mode", MODES)
def test_reconfiguring_keeps_what_stays_without_a_gap(wire: Wire, ends: tuple, mode: str) -> None:
    here, _ = ends
    gate = _opened(wire, mode)
    gate.extend(boot_now() + 30 * SECOND)
    gate.open("web", 3)
    with inside(wire.a):
        for guards in ([WEB, SECOND_GUARD], [WEB]) * 5:
            sending, started = os.pipe()
            pid = os.fork()
            if not pid:  # the child only sends; it never returns into pytest
                os._exit(_refused_during(here, 0.06, started))
            os.read(sending, 1)
            gate.reconfigure(guards)
            os.close(sending)
            os.close(started)
            _, status = os.waitpid(pid, 0)
            assert os.waitstatus_to_exitcode(status) == 0
            assert not arrives(FROM_SECOND, *ends) or "db" not in gate.status().claims
            assert gate.status().claims["web"].epoch == 3
        gate.reconfigure([SECOND_GUARD])
        assert arrives(FROM_VIP, *ends)
        assert not arrives(FROM_SECOND, *ends)
        gate.reconfigure([WEB, SECOND_GUARD])
        assert not arrives(FROM_VIP, *ends)
    _disown(gate)


def _refused_during(here: socket.socket, seconds: float, started: int) -> int:
    end, refused = time.monotonic() + seconds, 0
    os.write(started, b"1")
    while time.monotonic() < end:
        try:
            here.send(FROM_VIP)
        except OSError:
            refused += 1
    return min(refused, 100)


@pytest.mark.parametrize("mode", MODES)
def test_an_interface_that_comes_back_is_guarded_again(wire: Wire, mode: str) -> None:
    there = guard(interface="g3")
    gate = _opened(wire, mode, there)
    with inside(wire.a):
        run("ip", "-n", wire.a, "link", "del", "g3")
        assert any("g3 does not exist" in problem for problem in gate.status().problems)
        wire.join("g3")
        assert any("g3" in problem for problem in gate.status().problems)
        gate.reconfigure([there])
        assert not any("g3" in problem for problem in gate.status().problems)
    with wire.raw(wire.a, "g3") as near, wire.raw(wire.b, "g3") as far:
        assert not arrives(FROM_VIP, near, far)
        gate.extend(boot_now() + 30 * SECOND)
        gate.open("web", 1)
        assert arrives(FROM_VIP, near, far)
    _disown(gate)


@pytest.mark.parametrize("mode", MODES)
def test_removing_lets_everything_pass_and_leaves_nothing(wire: Wire, ends: tuple, mode: str) -> None:
    gate = _opened(wire, mode)
    assert not arrives(FROM_VIP, *ends)
    with inside(wire.a):
        gate.remove()
        gate.remove()
        assert inspect().hanging == ()
    assert arrives(FROM_VIP, *ends)


@pytest.mark.parametrize("mode", MODES)
def test_a_deadline_in_the_past_closes(wire: Wire, ends: tuple, mode: str) -> None:
    gate = _opened(wire, mode)
    gate.open("web", 1)
    gate.extend(boot_now() + 30 * SECOND)
    assert arrives(FROM_VIP, *ends)
    gate.extend(boot_now() - 1)
    assert not arrives(FROM_VIP, *ends)
    _disown(gate)


def test_an_nftables_deadline_that_passed_on_the_way_closes_at_once(
    wire: Wire, ends: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stall window: the process stood still between reading the clock and the kernel taking the timeout."""
    gate = _opened(wire, "nftables")
    gate.open("web", 1)
    stalled, write = [], NftablesGate._write_lease

    def stall_once(self: NftablesGate, transaction: object, until: int, *rest: object) -> None:
        write(self, transaction, until, *rest)  # type: ignore[arg-type]
        if not stalled:
            stalled.append(True)
            time.sleep(0.3)

    monkeypatch.setattr(NftablesGate, "_write_lease", stall_once)
    gate.extend(boot_now() + 200 * MILLISECOND)
    assert not arrives(FROM_VIP, *ends)
    _disown(gate)


def test_a_flushed_ruleset_is_noticed_and_installed_again_closed(wire: Wire, ends: tuple) -> None:
    with inside(wire.a):
        gate = NftablesGate([WEB], keep=False, owned=False)
        gate.extend(boot_now() + 30 * SECOND)
        gate.open("web", 1)
        run("nft", "flush", "ruleset")
        assert any("not what was installed" in problem for problem in gate.status().problems)
        with pytest.raises(EffectError, match="installed again, closed"):
            gate.extend(boot_now() + 30 * SECOND)
        assert not gate.status().claims["web"].open
        gate.extend(boot_now() + 30 * SECOND)
        assert not arrives(FROM_VIP, *ends)
        gate.open("web", 2)
        assert arrives(FROM_VIP, *ends)
        run("nft", "flush", "chain", "netdev", "haagent", "out_g0")
        with pytest.raises(EffectError, match="installed again, closed"):
            gate.extend(boot_now() + 30 * SECOND)
        assert not arrives(FROM_VIP, *ends)
        gate.remove()


def test_another_program_may_change_its_own_ruleset(wire: Wire, ends: tuple) -> None:
    with inside(wire.a):
        gate = NftablesGate([WEB], keep=False)
        gate.open("web", 1)
        for number in range(3):
            run("nft", "add", "table", "ip", f"other{number}")
            gate.extend(boot_now() + 30 * SECOND)
        assert arrives(FROM_VIP, *ends)
        gate.remove()
        run("nft", "flush", "ruleset")


def test_an_owned_table_survives_a_flush(wire: Wire, ends: tuple) -> None:
    with inside(wire.a):
        gate = NftablesGate([WEB], keep=False)
        if any("does not protect" in problem for problem in gate.status().problems):
            gate.remove()
            pytest.skip("this kernel has no persistent owned tables")
        run("nft", "flush", "ruleset")
        assert not arrives(FROM_VIP, *ends)
        assert "chain outgoing" in run("nft", "list", "ruleset")
        gate.remove()


def test_a_program_detached_by_somebody_is_a_problem_until_reconfigured(wire: Wire) -> None:
    with inside(wire.a):
        gate = open_gate([WEB], mode="bpf")
        assert gate.status().problems == ()
        opening._remove_bpf()
        assert len(gate.status().problems) == 2
        gate.reconfigure([WEB])
        assert gate.status().problems == ()
        gate.remove()


def test_required_says_what_is_missing(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    with inside(wire.a):
        monkeypatch.setattr(opening, "effective_capabilities", lambda: 0)
        with pytest.raises(EffectError) as refusal:
            open_gate([WEB], mode="required")
        assert "BPF gate: CAP_NET_ADMIN is missing, CAP_SYS_ADMIN is missing" in str(refusal.value)
        assert "nftables gate: CAP_NET_ADMIN is missing" in str(refusal.value)
        gate = open_gate([WEB], mode="auto")
        assert gate.tier is Tier.LIFETIME
        assert any("CAP_SYS_ADMIN is missing" in problem for problem in gate.status().problems)


def test_required_is_refused_by_the_kernel_itself(wire: Wire) -> None:
    """A process without capabilities is really refused, and told by the same words."""
    code = "from haagent.effects.gate import open_gate\nopen_gate([], mode='required')"
    bare = ["setpriv", "--inh-caps=-all", "--bounding-set=-all", "--ambient-caps=-all"]
    command = ["ip", "netns", "exec", wire.a, *bare, sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode != 0
    assert "CAP_SYS_ADMIN is missing" in done.stderr


@pytest.mark.parametrize("mode", MODES)
def test_cost(wire: Wire, mode: str) -> None:
    """Prints what the documentation quotes; the limits only catch a change of kind."""
    guards = [
        guard(f"claim{number}", interface=f"g{number % 4}", vrid=number + 1, octet=number + 1)
        for number in range(250)
    ]
    guards = [type(one)(one.claim, (one.routers[0],)) for one in guards]
    start = time.perf_counter()
    gate = _opened(wire, mode, *guards)
    install = time.perf_counter() - start
    extend = _each(300, lambda _: gate.extend(boot_now() + 30 * SECOND))
    opened = _each(250, lambda number: gate.open(f"claim{number}", 1))
    closed = _each(250, lambda number: gate.close(f"claim{number}"))
    with inside(wire.a):
        reconfigure = _each(1, lambda _: gate.reconfigure(guards))
    print(
        f"{mode}: install 4x250 {install * 1e3:.1f} ms, extend {extend * 1e6:.2f} us, open {opened * 1e6:.2f} us, "
        f"close {closed * 1e6:.2f} us, reconfigure {reconfigure * 1e3:.1f} ms"
    )
    assert install < 2
    assert extend < {"bpf": 1e-4, "nftables": 5e-3}[mode]
    _disown(gate)


def _each(count: int, call: Callable[[int], object]) -> float:
    """Return what one call takes, in s: the median, for now and then another program has the processor."""
    taken = []
    for number in range(count):
        start = time.perf_counter()
        call(number)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)
