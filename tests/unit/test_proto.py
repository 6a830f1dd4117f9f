"""The classes of our own messages are those of proto/."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def test_the_generated_messages_are_current(tmp_path: Path) -> None:
    """What `make proto` would write is what is there, and nothing besides."""
    sources = sorted(str(path) for path in (PROJECT / "proto").rglob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROJECT / 'proto'}"]
    command += [f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", *sources]
    subprocess.run(command, check=True)
    made = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*.py*") if path.is_file()}
    kept = PROJECT / "xds_server/proto"
    found = {path.relative_to(kept): path.read_text() for path in (kept / "tidegate").rglob("*_pb2.py*")}
    found = {path: text for path, text in found.items() if "__pycache__" not in path.parts}

    assert sources
    assert made == found
