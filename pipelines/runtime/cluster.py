"""The Ray cluster that the work runs on: the one RAY_ADDRESS names, else one of this process's own."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayError

from pipelines.errors import VSRError

os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # CPU tasks keep CUDA_VISIBLE_DEVICES: Ray's coming default


@contextmanager
def connect() -> Iterator[None]:
    """Join the cluster of `RAY_ADDRESS`, or start one on this machine's cores for the time of the block.

    `VSR_WORKERS` bounds the cores of an own cluster.

    Raises:
        VSRError: the cluster of `RAY_ADDRESS` does not answer, an own one does not start, `VSR_WORKERS` is not a number, or
            the cluster fails during the block.
    """
    address = os.environ.get("RAY_ADDRESS")
    preflight()
    # Asked for by name, an own cluster is never one that someone else has started on this machine.
    own = {} if address else {"address": "local", "num_cpus": cores(), "include_dashboard": False}
    _init({"address": address, "logging_level": logging.ERROR, "log_to_driver": False, **own})
    try:
        yield
    except RayError as error:
        reason = str(error).strip().partition("\n")[0]
        raise VSRError(
            f"the Ray cluster failed ({type(error).__name__}: {reason}): run again to go on, what is finished is kept."
        ) from error
    finally:
        ray.shutdown()


def _init(options: dict[str, Any]) -> None:
    """`ray.init`, with SIGTERM left to who has it: Ray would end the process without a word."""
    address = options["address"]
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**options)
    except (ConnectionError, ValueError) as error:
        if address == "local":
            raise _not_started(error) from error
        raise VSRError(f"no Ray cluster answers at RAY_ADDRESS={address}: start it, or unset RAY_ADDRESS to run here.") from error
    except (RuntimeError, RayError) as error:
        raise _not_started(error) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _not_started(error: Exception) -> VSRError:
    reason = str(error).strip().partition("\n")[0]
    return VSRError(
        f"Ray does not start ({reason}): see that the disk of its folder (RAY_TMPDIR, else /tmp) has room, and that the limits of "
        "open files and processes (`ulimit -n`, `ulimit -u`) are not low, and run again; what is finished is kept."
    )


def preflight() -> None:
    """Make sure that something listens at `RAY_ADDRESS`, if it is set: where nothing does, Ray asks for minutes and
    then ends the process.

    Raises:
        VSRError: nothing does.
    """
    address = os.environ.get("RAY_ADDRESS", "")
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():  # `auto` and `local` have none
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise VSRError(
            f"no Ray cluster answers at RAY_ADDRESS={address} ({error}): start it, or unset RAY_ADDRESS to run here."
        ) from error


def cores() -> int:
    """The cores that an own cluster has: `VSR_WORKERS`, else all that this process may use."""
    setting = os.environ.get("VSR_WORKERS")
    if not setting:
        return len(os.sched_getaffinity(0))
    if not setting.isdigit() or int(setting) < 1:
        raise VSRError(f"VSR_WORKERS is {setting!r}: give a whole number of workers, at least 1.")
    return int(setting)


def gpu_share() -> float:
    """The share of a GPU that a worker of an actor pool takes: `VSR_GPU_SHARE`, else a whole one; 0 where
    the cluster has none. Ray has to be connected.

    Raises:
        VSRError: `VSR_GPU_SHARE` is not above 0 and at most 1.
    """
    setting = os.environ.get("VSR_GPU_SHARE", "1")
    try:
        share = float(setting)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise VSRError(f"VSR_GPU_SHARE is {setting!r}: give a number above 0 and at most 1.")
    return share if ray.cluster_resources().get("GPU") else 0.0
