"""Settings that were changed are put back, as far as nobody else has changed them since."""

from __future__ import annotations

from pathlib import Path

import pytest

from datapath.kernel.sysctls import Sysctls, reserved


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "sysctls.json"


@pytest.fixture
def setting(tmp_path: Path) -> Path:
    path = tmp_path / "rp_filter"
    path.write_text("1\n")
    return path


def test_what_was_changed_is_put_back_by_who_comes_after(memory: Path, setting: Path) -> None:
    """The file remembers it, for root alone."""
    Sysctls(memory, memory.parent).write(setting, "2")
    changed, mode = setting.read_text(), memory.stat().st_mode & 0o777
    restored = Sysctls(memory, memory.parent).restore()

    assert ("2", 0o600, ["net.rp_filter"]) == (changed, mode, restored)
    assert "1" == setting.read_text()


def test_what_was_so_before_is_left(memory: Path, setting: Path) -> None:
    """It was not changed."""
    Sysctls(memory, memory.parent).write(setting, "1")

    assert (False, []) == (memory.exists(), Sysctls(memory, memory.parent).restore())


def test_what_somebody_else_has_set_since_is_left(memory: Path, setting: Path) -> None:
    """It is his."""
    Sysctls(memory, memory.parent).write(setting, "2")
    setting.write_text("0")

    assert ([], "0") == (Sysctls(memory, memory.parent).restore(), setting.read_text())


def test_what_is_set_again_is_put_back_to_what_it_was_last(memory: Path, setting: Path) -> None:
    """Somebody has set it meanwhile, and knew why."""
    for value in ("1", "0"):
        setting.write_text(value)
        Sysctls(memory, memory.parent).write(setting, "2")
    Sysctls(memory, memory.parent).restore()

    assert "0" == setting.read_text()


def test_a_setting_that_has_gone_is_no_fault(memory: Path, setting: Path, tmp_path: Path) -> None:
    """Links go, and their settings with them; then nothing is remembered of them either."""
    sysctls = Sysctls(memory, memory.parent)
    sysctls.write(setting, "2")
    setting.unlink()
    other = tmp_path / "other"
    other.write_text("1")
    sysctls.write(other, "2")

    remembered = memory.read_text()

    assert ("rp_filter" in remembered, ["net.other"]) == (False, sysctls.restore())


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', "null", "[" * 200_000])
def test_a_memory_that_cannot_be_read_is_none(memory: Path, text: str) -> None:
    """Nothing is put back, which is told; and it stays, for who can read it."""
    memory.write_text(text)
    sysctls = Sysctls(memory, memory.parent)
    damaged = memory.with_name("sysctls.json.damaged")

    assert ([], f"{damaged} has what could not be read", text) == (sysctls.restore(), sysctls.lost, damaged.read_text())


def test_what_is_changed_after_a_damage_is_put_back(memory: Path, setting: Path) -> None:
    """And what was damaged is told of by who comes after, too."""
    memory.write_text("{")
    Sysctls(memory, memory.parent).write(setting, "2")
    after = Sysctls(memory, memory.parent)

    assert (["net.rp_filter"], True) == (after.restore(), bool(after.lost))


@pytest.mark.parametrize(("text", "ports"), [("", set()), ("80", {80}), ("80,90-92\n", {80, 90, 91, 92})])
def test_reserved_ports_are_read_as_the_kernel_writes_them(text: str, ports: set[int]) -> None:
    """Single ones and ranges."""
    assert ports == reserved(text)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """Settings as a daemon makes them, and others."""
    settings = {
        "conf/lo/accept_local": "1",
        "conf/default/rp_filter": "0",
        "conf/lo/rp_filter": "0",
        "conf/eth0.7/rp_filter": "2",
        "tcp_migrate_req": "1",
        "ip_local_reserved_ports": "50000,61000-65535",
    }
    for name, text in settings.items():
        path = tmp_path / "net/ipv4" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return tmp_path / "net"


def test_what_may_be_a_daemons_is_told_where_its_memory_is_lost(memory: Path, network: Path) -> None:
    """By what sysctl(8) names it, with what it likely was; none of it is put back, also not by who comes after."""
    lost = Sysctls(memory, network, follows=True)
    lost.keep()
    after = Sysctls(memory, network)

    assert {
        "net.ipv4.conf.lo.accept_local": "0",
        "net.ipv4.tcp_migrate_req": "0",
        "net.ipv4.conf.eth0/7.rp_filter": "1",
        "net.ipv4.ip_local_reserved_ports": "50000",
    } == lost.unknown
    assert (lost.unknown, []) == (after.unknown, after.restore())


def test_who_sets_it_right_has_told_what_it_was(memory: Path, network: Path) -> None:
    """It is set again as it is needed, and put back by a clean-up."""
    sysctls, path = Sysctls(memory, network, follows=True), network / "ipv4/tcp_migrate_req"
    path.write_text("0")
    sysctls.write(path, "1")

    assert "net.ipv4.tcp_migrate_req" not in sysctls.unknown
    assert ["net.ipv4.tcp_migrate_req"] == Sysctls(memory, network).restore()


def test_what_was_so_before_any_daemon_is_the_nodes_own(memory: Path, network: Path) -> None:
    """That nothing was changed is remembered, too: so the daemon after it does not take it for lost."""
    Sysctls(memory, network).keep()

    assert {} == Sysctls(memory, network, follows=True).unknown


def test_what_every_link_has_from_its_beginning_is_no_daemons(memory: Path, network: Path) -> None:
    """As many a distribution has it."""
    (network / "ipv4/conf/default/rp_filter").write_text("2")

    assert not [name for name in Sysctls(memory, network, follows=True).unknown if "rp_filter" in name]
