"""docs/cli.md has every flag of every command, and no other: its tables are compared with what `--help` says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from xds_server.cli import main

FLAG = re.compile(r"(?<![\w-])(--[a-z][a-z-]*|-[A-Za-z])(?![\w-])")
# Sections for several commands -> a flag that a command has for which one is.
SHARED = {
    "Flags that all commands with manifests share": "--filename",
    "Flags of commands that may read an API server instead": "--kubernetes",
    "Flags of commands that serve": "--admin",
}


def helped(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *command: str) -> str:
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit):
        main([*command, "--help"])
    return capsys.readouterr().out


def options(text: str) -> list[set[str]]:
    """The spellings of each flag."""
    lines = re.findall(r"(?m)^  (-\S.*?)(?:  |$)", text)
    return [found for line in lines if "--help" not in (found := set(FLAG.findall(line)))]


def sections(page: str) -> dict[str, str]:
    """By title, of a command the command."""
    found = {}
    for section in re.split(r"(?m)^## ", re.sub(r"(?ms)^```.*?^```", "", page))[1:]:
        title, _, body = section.partition("\n")
        command = re.match(r"`tidegate (\w+)", title)
        found[command[1] if command else title] = f"{title}\n{body}"
    return found


def named(section: str) -> set[str]:
    """Flags in the title, in the text, and in the tables: all that is in backticks."""
    return {flag for code in re.findall(r"`([^`]+)`", section) for flag in FLAG.findall(code)}


def in_tables(section: str) -> set[str]:
    """Flags that the first column of a table is about."""
    return {flag for row in re.findall(r"(?m)^\| (`-.*?) \|", section) for flag in named(row)}


def test_every_command_has_its_flags_on_the_page(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each flag by one of its spellings, in the command's section or in one that several share."""
    page = sections((project / "docs" / "cli.md").read_text())
    commands = re.findall(r"(?m)^    (\w+)  ", helped(monkeypatch, capsys))
    missing, strange = {}, {}
    for command in commands:
        known = options(helped(monkeypatch, capsys, command))
        spellings = set[str]().union(*known)
        shared = [page[title] for title, flag in SHARED.items() if flag in spellings]
        told = named("\n".join([page.get(command, ""), *shared]))
        missing[command] = [max(flag, key=len) for flag in known if not flag & told]
        strange[command] = sorted(in_tables(page.get(command, "")) - spellings)

    assert {} == {command: flags for command, flags in missing.items() if flags}
    assert {} == {command: flags for command, flags in strange.items() if flags}
    assert {"up", "serve", "status"} <= set(commands)
