"""`python -m xds_server.cli`."""

from __future__ import annotations

import sys

from xds_server.cli import main

sys.exit(main())
