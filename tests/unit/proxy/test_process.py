from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xds_server.proxy.process import EnvoyNotFoundError, delay_s, failures_after, find, last_words, opened_log


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_named_envoy_comes_first(tmp_path: Path) -> None:
    """Named, then of the environment, then installed by make, then on PATH."""
    named, told, made, on_path = (
        program(tmp_path / name) for name in ("named", "told", ".envoy/envoy/_bin/envoy", "bin/envoy")
    )
    environ = {"TIDEGATE_ENVOY": str(told), "PATH": str(tmp_path / "bin")}

    assert named == find(named, environ, tmp_path)
    assert told == find(None, environ, tmp_path)
    assert made == find(None, {"PATH": environ["PATH"]}, tmp_path)
    assert on_path == find(None, {"PATH": environ["PATH"]}, tmp_path / "elsewhere")


def test_a_wrong_name_is_not_replaced_by_another_envoy(tmp_path: Path) -> None:
    """Who names an Envoy gets that one or an error that repeats the name."""
    program(tmp_path / ".envoy/envoy/_bin/envoy")

    with pytest.raises(EnvoyNotFoundError, match=r"--envoy names .*missing"):
        find(tmp_path / "missing", {}, tmp_path)
    with pytest.raises(EnvoyNotFoundError, match=r"TIDEGATE_ENVOY names .*missing"):
        find(None, {"TIDEGATE_ENVOY": str(tmp_path / "missing")}, tmp_path)


def test_without_an_envoy_every_way_out_is_named(tmp_path: Path) -> None:
    """The error is the manual."""
    with pytest.raises(EnvoyNotFoundError) as error:
        find(None, {"PATH": str(tmp_path)}, tmp_path)

    assert [] == [way for way in ("--envoy", "TIDEGATE_ENVOY", "make envoy", "PATH") if way not in str(error.value)]


@given(failures=st.integers(1, 10_000), chance=st.floats(0, 1, exclude_max=True))
def test_the_delay_grows_to_a_ceiling_and_is_spread(failures: int, chance: float) -> None:
    """Each failure doubles the wait to thirty seconds at most, and chance moves it within the upper half."""
    ceiling = min(30.0, 0.2 * 2 ** min(failures - 1, 20))

    assert ceiling / 2 <= delay_s(failures, chance) < ceiling or ceiling == pytest.approx(delay_s(failures, chance))


def test_a_long_life_forgives() -> None:
    """Failures in a row are those of short lives."""
    assert 4 == failures_after(3, lived_s=1)
    assert 1 == failures_after(3, lived_s=60)


def test_a_large_log_is_kept_aside(tmp_path: Path) -> None:
    """A start finds a log that is not large, and the one before is still there."""
    log = tmp_path / "envoy.log"
    with log.open("wb") as file:
        file.truncate((10 << 20) + 1)

    opened_log(log).close()

    assert 0 == log.stat().st_size
    assert (10 << 20) + 1 == (tmp_path / "envoy.log.1").stat().st_size
    assert 0o600 == log.stat().st_mode & 0o777


def test_last_words_are_short_and_printable(tmp_path: Path) -> None:
    """What an exit is reported with cannot steer a terminal, nor fill a screen."""
    log = tmp_path / "envoy.log"
    log.write_bytes(b"first\n\x1b[31m" + b"x" * 1000 + b"\xff\n\n")

    assert " [31m" + "x" * 395 == last_words(log)


def test_a_log_that_was_removed_has_no_last_words(tmp_path: Path) -> None:
    """Who cleans the directory does not end the supervision."""
    assert "" == last_words(tmp_path / "envoy.log")
