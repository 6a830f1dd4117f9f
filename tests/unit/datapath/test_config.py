"""The daemon's configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from datapath.app import dialled
from datapath.client import CannotDial
from datapath.config import Config, ConfigError, bootstrap_options, load, load_places, parse
from xds_server.proxy.bootstrap import XdsHost, XdsSocket

SMALLEST = "node: n1\nserver: unix:/run/xds.sock\nstate: /run/tidegate\n"
REMOTE = "node: n1\nserver: xds.example:15010\nstate: /run/tidegate\n"
TLS = "tls: {certificate: /c/tls.crt, privateKey: /c/tls.key, authority: /c/ca.crt}\n"


def test_three_fields_are_enough() -> None:
    """The rest has an opinion of ours."""
    assert Config(node="n1", server="unix:/run/xds.sock", state=Path("/run/tidegate")) == parse(SMALLEST, "file")


def test_another_machine_is_reached_by_certificates() -> None:
    """Envoy and the daemon show the same files."""
    options = bootstrap_options(parse(REMOTE + TLS, "file"), Path("/run/a.sock"))

    assert isinstance(options.xds, XdsHost)
    assert options.xds.tls is not None
    assert ("xds.example", 15010, "xds.example") == (options.xds.host, options.xds.port, options.xds.tls.server_name)


def test_a_socket_needs_none() -> None:
    """Its mode says who may connect."""
    options = bootstrap_options(parse(SMALLEST, "file"), Path("/run/a.sock"))

    assert XdsSocket(Path("/run/xds.sock")) == options.xds


def test_all_nodes_can_have_one_file() -> None:
    """What is a node's own comes from the environment, wherever a text is; what else has a dollar stays."""
    text = "node: $(NODE)\nserver: unix:/run/$x.sock\nstate: /run/$(NODE)\naddresses: [$(IP)]\nmetrics: $(IP):1\n"
    found = parse(text, "file", {"NODE": "n1", "IP": "192.0.2.1"})

    assert ("n1", "unix:/run/$x.sock", Path("/run/n1")) == (found.node, found.server, found.state)
    assert (("192.0.2.1",), "192.0.2.1:1") == (found.addresses, found.metrics)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "f: it has no fields: give at least node, server and state"),
        ("node: [", "f: line 1 is no YAML"),
        (SMALLEST + "node: n2\n", "f: line 4 is no YAML: node is there twice"),
        ("state: &a [*a]\n", "f: something in it has itself as a part: write it out"),
        ("node: n1\nserver: unix:/x\n", "f: state: it is missing: give it"),
        (REMOTE + "tls: {certificate: /c}\n", "f: tls.authority: it is missing: give it"),
        (
            SMALLEST + "envoy: {colour: red}\n",
            "f: envoy.colour: there is no such field: there are binary, concurrency,",
        ),
        (SMALLEST + "metric: '1'\n", "f: metric: there is no such field: did you mean `metrics`?"),
        (SMALLEST + "logLevel: loud\n", "f: logLevel: 'loud': give debug or info or warning or error"),
        (
            SMALLEST + "envoy: {concurrency: many}\n",
            "f: envoy.concurrency: expected `int | null`, got `str`: correct it",
        ),
        (SMALLEST + "envoy: {concurrency: 9}\n", "f: envoy.concurrency: 9: give a number from 1 to 8"),
        (SMALLEST + "envoy: {silenceSeconds: 5}\n", "f: envoy.silenceSeconds: 5: give a number from 10 to 3600"),
        (SMALLEST + "envoy: {drainSeconds: -1}\n", "f: envoy.drainSeconds: -1: give a number from 0 to 3600"),
        (SMALLEST + "envoy: {metrics: here}\n", "f: envoy.metrics: 'here': give ADDRESS:PORT"),
        (SMALLEST + "metrics: '9100'\n", "f: metrics: '9100': give HOST:PORT"),
        (
            SMALLEST + "metrics: 0.0.0.0:9100\nenvoy: {metrics: 127.0.0.1:9100}\n",
            "f: envoy.metrics: 127.0.0.1:9100: `metrics` has this port, 0.0.0.0:9100: give another one",
        ),
        (
            SMALLEST + "metrics: '[::1]:9100'\nenvoy: {metrics: '[::]:9100'}\n",
            "f: envoy.metrics: [::]:9100: `metrics` has this port, [::1]:9100: give another one",
        ),
        (SMALLEST.replace("/run/xds", "xds"), "f: server: unix:xds.sock: give its path from / on"),
        (SMALLEST + "bpffs: bpf\n", "f: bpffs: bpf: give it from / on"),
        (SMALLEST + "devices: [eth0, a/b]\n", "f: devices[1]: 'a/b': give the name of a link, as `ip link` shows it"),
        (SMALLEST + "addresses: [127.0.0.1]\n", "f: addresses[0]: 127.0.0.1: give one that others reach the node by"),
        (SMALLEST + "addresses: [here]\n", "f: addresses[0]: 'here': give an IPv4 or IPv6 address"),
        (SMALLEST.replace("n1", "a/b"), "f: node: 'a/b': give the node's name, as Kubernetes has it"),
        (SMALLEST.replace("/run/tidegate", "/" + "s" * 100), "too long for the sockets in it"),
        (SMALLEST.replace("unix:/run/xds.sock", "xds"), "f: server: 'xds': give it as unix:PATH or HOST:PORT"),
        (SMALLEST + TLS, "f: tls: a Unix socket has none: leave it out, or give server as HOST:PORT"),
        (SMALLEST.replace("n1", "$(NOBODY)"), "f: $(NOBODY) is not in the environment: set it, or write its value"),
        (REMOTE, "f: tls: xds.example:15010 is not on this machine: give certificate, privateKey and authority"),
    ],
)
def test_a_fault_names_file_field_and_way_out(text: str, words: str) -> None:
    """Nothing begins with a configuration that is not understood whole."""
    with pytest.raises(ConfigError) as raised:
        parse(text, "f")

    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("own", "envoys"), [("127.0.0.1:9100", "[::]:9100"), ("[::1]:9100", "0.0.0.0:9100"), ("0.0.0.0:9100", "[::]:9100")]
)
def test_metrics_may_have_one_port_at_addresses_of_two_families(own: str, envoys: str) -> None:
    """A socket at every address of IPv6 has none of IPv4."""
    found = parse(SMALLEST + f"metrics: '{own}'\nenvoy: {{metrics: '{envoys}'}}\n", "f")

    assert (own, envoys) == (found.metrics, found.envoy.metrics)


def test_a_missing_file_of_tls_is_told_by_its_field(tmp_path: Path) -> None:
    """It may be the wrong name: nobody is told to renew what was never there."""
    there = tmp_path / "tls.crt"
    there.touch()
    found = parse(REMOTE + TLS.replace("/c/tls.crt", str(there)), "f")

    with pytest.raises(CannotDial, match=r"^tls\.privateKey: there is no /c/tls\.key: name a file that is there"):
        dialled(found)


def test_all_faults_are_told_at_once() -> None:
    """Who corrects a file needs no second try to find the next."""
    with pytest.raises(ConfigError) as raised:
        parse(SMALLEST + "metrics: '9100'\nbpffs: bpf\ncolour: red\nlogFormat: xml\n", "f")

    fields = [line.split(": ")[1] for line in str(raised.value).splitlines()]
    assert ["colour", "logFormat", "bpffs", "metrics"] == fields


def test_all_that_is_of_another_type_is_told_at_once() -> None:
    """Wherever it is; a whole that is to have fields, too."""
    with pytest.raises(ConfigError) as raised:
        parse(SMALLEST + "tls: 7\ndevices: [1, eth0]\nenvoy: {concurrency: many, drainSeconds: soon}\n", "f")

    fields = [line.split(": ")[1] for line in str(raised.value).splitlines()]
    assert ["tls", "devices[0]", "envoy.concurrency", "envoy.drainSeconds"] == fields


def test_all_that_is_missing_is_told_at_once() -> None:
    """With what is wrong besides."""
    with pytest.raises(ConfigError) as raised:
        parse("nod: n1\nbpffs: 7\n", "f")

    told = [line.removeprefix("f: ") for line in str(raised.value).splitlines()]
    missing = [f"{field}: it is missing: give it" for field in ("state", "node", "server")]
    assert [*missing, "nod: there is no such field: did you mean `node`?"] == told[:4]


def test_who_only_asks_needs_no_more_than_where_things_are(tmp_path: Path) -> None:
    """Whatever else is wrong with the file, or missing in the environment."""
    file = tmp_path / "node.yaml"
    file.write_text("node: $(NOBODY)\nserver: nonsense\nstate: /run/tidegate\ncolour: red\n")

    assert Path("/run/tidegate/control.sock") == load_places(file).control


@pytest.mark.parametrize("read", [load, load_places])
def test_what_everybody_may_write_is_not_believed(tmp_path: Path, read: Callable[[Path], object]) -> None:
    """It names what root runs, and what it removes."""
    file = tmp_path / "node.yaml"
    file.write_text(SMALLEST)
    file.chmod(0o666)

    with pytest.raises(ConfigError) as raised:
        read(file)

    why = "everybody may write it (mode 0666), and it says what root runs"
    assert f"{file}: {why}: take that away, `chmod o-w {file}`" == str(raised.value)
