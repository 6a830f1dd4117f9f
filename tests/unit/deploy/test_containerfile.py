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

    assert copied == admitted
    assert [] == [name for name in copied if not (project / name).exists()]


def test_both_images_end_as_nobody_in_particular(project: Path) -> None:
    """The stages that become images run as a user that is not root, and stages that install do not become images."""
    text = (project / "deploy" / "Containerfile").read_text()
    stages = dict(re.findall(r"(?ms)^FROM \S+ AS (\w+)\n(.*?)(?=^FROM|\Z)", text))

    assert ["build", "envoy", "controller", "proxy"] == list(stages)
    assert "USER 65532:65532" in stages["controller"]
    assert [] == [name for name in ("controller", "proxy") if "RUN" in stages[name]]


def test_versions_come_from_the_constraints(project: Path) -> None:
    """Every pip install is constrained, and none names an address."""
    text = (project / "deploy" / "Containerfile").read_text().replace("\\\n", " ")
    installs = re.findall(r"pip install ([^&\n]+)", text)

    assert installs
    assert [] == [line for line in installs if "--constraint constraints.txt" not in line]
    assert "://" not in text
