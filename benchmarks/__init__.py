"""Speed, measured as ratios within one run: `make bench`."""

from pipelines.threads import wait_passively

wait_passively()  # as in the command `vsr`
