"""One thin module per DVC stage.

The stages' commands say `python`, whichever that is: one without the project's packages hands over to
the environment that `make setup` made, so that `.venv/bin/dvc repro` works in any shell.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from pathlib import Path

STARTED = time.time()
"""When the first line of the project's code ran here, in seconds since the epoch: all other modules are imported later."""

if importlib.util.find_spec("cv2") is None:
    _python = Path(__file__).resolve().parent.parent / ".venv" / "bin" / "python"
    if not _python.exists() or Path(sys.executable) == _python:
        sys.exit("error: this Python lacks the project's packages: run `make setup`, then `source .venv/bin/activate`.")
    os.execv(_python, [str(_python), *sys.orig_argv[1:]])

if sys.argv[0] == "-m":  # Python looks for the stage to run: what its imports meet is told as what its work does
    from pipelines.faults import excepthook

    sys.excepthook = excepthook
