"""What can be said of the Containerfile without building it."""

from __future__ import annotations

import re
from pathlib import Path


def test_what_is_copied_is_there_and_admitted(project: Path) -> None:
    """Each source of a COPY exists, and .containerignore lets it into the build."""
    text = (project / "deploy" / "Containerfile").read_text()
    admitted = set(re.findall(r"(?m)^!(.+)$", (project / ".containerignore").read_text()))
    copied = {
        source.removeprefix("./")
        for line in re.findall(r"(?m)^COPY (?!--from)(.+)$", text)
        for source in line.split()[:-1]
    }
    roots = {name.partition("/")[0] for name in copied}

    assert roots == admitted
    assert [] == [name for name in copied if not (project / name).exists()]


def test_images_end_as_nobody_in_particular(project: Path) -> None:
    """The stages that become images run as a user that is not root, and stages that install do not become images."""
    text = (project / "deploy" / "Containerfile").read_text()
    stages = dict(re.findall(r"(?ms)^FROM \S+ AS (\w+)\n(.*?)(?=^FROM|\Z)", text))

    assert ["packages", "build", "programs", "daemon", "envoy", "controller", "proxy", "node"] == list(stages)
    assert "USER 65532:65532" in stages["controller"]
    assert [] == [name for name in ("controller", "proxy", "node") if "RUN" in stages[name] or "USER 0" in stages[name]]


def test_the_daemon_has_the_programs_and_what_loads_them(project: Path) -> None:
    """They are built in a stage with clang, as `make bpf` builds them, and put where the daemon looks for them."""
    text = (project / "deploy" / "Containerfile").read_text()
    stages = dict(re.findall(r"(?ms)^FROM \S+ AS (\w+)\n(.*?)(?=^FROM|\Z)", text))

    assert "RUN make bpf" in stages["programs"]
    assert {"clang", "libbpf-dev", "make"} <= set(stages["programs"].split())
    assert "COPY --from=programs /src/datapath/bpf/build" in stages["daemon"]
    assert "'.[node]'" in stages["daemon"]
    assert "COPY --from=daemon /opt/tidegate" in stages["node"]
    assert "datapath/bpf/build" in (project / ".containerignore").read_text().splitlines()


def test_versions_come_from_the_constraints(project: Path) -> None:
    """Every pip install is constrained, and none names an address."""
    text = (project / "deploy" / "Containerfile").read_text().replace("\\\n", " ")
    installs = re.findall(r"pip install ([^&\n]+)", text)

    assert installs
    assert [] == [line for line in installs if "--constraint constraints.txt" not in line]
    assert "://" not in text
