"""All cases on the kernel that runs this, one after the other: a line of JSON for each, and one for what was found.

`python -m tests.kernels.inside OUT BPFFS CGROUP`
pytest takes longer to start in an emulated machine than all of them.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from pathlib import Path
from typing import TextIO

from tests.kernels.inside.cases import CASES
from tests.kernels.inside.rig import Rig


def main(out: TextIO, rig: Rig) -> None:
    for name, case in CASES.items():
        begun = time.monotonic()
        told = ""
        try:
            case(rig)
        except Exception as error:  # noqa: BLE001  (whatever it is, it is told, and the others run)
            told = account(error)
        tell(out, case=name, failed=told, seconds=round(time.monotonic() - begun, 2))
    tell(out, found=rig.found)
    rig.close()
    tell(out, ended=True)


def account(error: BaseException) -> str:
    """Where it failed, and with which values there."""
    *_, last = traceback.TracebackException.from_exception(error, capture_locals=True).stack
    known = [f"    {name} = {value}" for name, value in (last.locals or {}).items()]
    return "\n".join(["".join(traceback.format_exception(error)).rstrip(), *known])


def tell(out: TextIO, **what: object) -> None:
    print(json.dumps(what), file=out, flush=True)


if __name__ == "__main__":
    with Path(sys.argv[1]).open("w") as out:
        main(out, Rig(Path(sys.argv[2]), Path(sys.argv[3])))
