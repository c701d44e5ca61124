"""Speed, measured as ratios within one run: `make bench`."""

import os

# Before torch is imported: threads that wait for each other sleep, as in every process of the pipeline (`pipelines/cli.py`).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
