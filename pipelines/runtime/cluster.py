"""The Ray cluster that the work runs on: the one RAY_ADDRESS names, else one of this process's own."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from types import FrameType
from typing import Any

import psutil
import ray
from ray.exceptions import RayError

from pipelines.checkout import CODE
from pipelines.errors import VSRError
from pipelines.runtime.fork_server import ADDRESS as FORK_SERVER
from pipelines.runtime.fork_server import forked_workers

_VITAL = ("raylet", "gcs_server")

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
    carried = {} if own or FORK_SERVER in os.environ else {"runtime_env": _code()}
    with forked_workers() if own else nullcontext():
        _init({"address": address, "logging_level": logging.ERROR, "log_to_driver": False, **own, **carried})
        try:
            with _watched() if own else nullcontext():
                yield
        except RayError as error:
            reason = str(error).strip().partition("\n")[0]
            raise VSRError(
                f"the Ray cluster failed ({type(error).__name__}: {reason}): run again to go on, what is finished is kept."
            ) from error
        finally:
            ray.shutdown()


def _code() -> dict[str, Any]:
    """This project's packages, for nodes that do not see the checkout: Ray keeps them by what they hold, and brings them once."""
    packages = [str(CODE / name) for name in ("models", "pipelines", "stages")]
    return {"py_modules": packages, "excludes": ["__pycache__", "sources/"]}


@contextmanager
def _watched() -> Iterator[None]:
    """End the block when the own cluster's `raylet` or `gcs_server` ends: Ray waits for the first for ever, and ends the program
    without a word when it misses the second.

    Raises:
        VSRError: one has ended; so are the other processes of the cluster then.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    began = psutil.Process().children(recursive=True)
    vital = {process: process.name() for process in began if process.name() in _VITAL}
    lost: list[str] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(1.0):
            lost.extend(name for process, name in vital.items() if not _runs(process))
            if lost:
                os.kill(os.getpid(), signal.SIGUSR2)  # again until the block has ended: Ray may be in the middle of something

    def end(number: int, frame: FrameType | None) -> None:
        if not over.is_set():
            raise KeyboardInterrupt  # nothing else ends Ray's own waiting

    before = signal.signal(signal.SIGUSR2, end)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    except BaseException as error:
        over.set()
        if not lost:
            raise
        for process in began:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        raise VSRError(
            f"Ray's {lost[0]} has ended on this machine, killed from outside or for want of memory: run again to go on, what is "
            "finished is kept."
        ) from error
    finally:
        over.set()
        watcher.join()
        signal.signal(signal.SIGUSR2, before)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


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
