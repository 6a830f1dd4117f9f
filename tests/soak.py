"""Whether the tests run for longer than they do in `make test`: the same code, with larger numbers (`make soak`)."""

from __future__ import annotations

import os
from typing import Final

SOAK: Final = bool(os.environ.get("TIDEGATE_SOAK"))
