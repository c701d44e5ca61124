"""How a stage or a command ends: what a user can mend is told in one sentence, and with a status that says so."""

from __future__ import annotations

import errno
import os
import pwd
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from pipelines.errors import VSRError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}
_TOO_MANY = {errno.EMFILE, errno.ENFILE}
_ENDED = {128 + number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
_INTERRUPTED = "interrupted: what is finished is kept, nothing is left half-written; the same command goes on from there."


@contextmanager
def translate_errors() -> Iterator[None]:
    """End the process with one sentence for what a user can mend, in place of a traceback.

    `kill` and a closed terminal end the block as Ctrl-C does, so that what is half-written is taken away.

    Raises:
        SystemExit: with status 1 and the sentence of a `VSRError` or of the operating system, or 128 and the number of the
            signal that ended the block. Other errors pass, with their traceback.
    """
    _have_a_name()
    with _signals_end_the_block():
        try:
            yield
        except KeyboardInterrupt:
            print(_INTERRUPTED, file=sys.stderr)
            raise SystemExit(128 + signal.SIGINT) from None
        except SystemExit as ended:
            if ended.code in _ENDED:  # by a signal, or by typer, which makes this of Ctrl-C without a word
                print(_INTERRUPTED, file=sys.stderr)
            raise
        except VSRError as error:
            raise SystemExit(f"error: {error}") from error
        except OSError as error:
            sentence = _sentence(error)
            if sentence is None:
                raise
            raise SystemExit(f"error: {sentence}") from error


def excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """`translate_errors` for what is raised before a block can begin, while modules are imported; a `sys.excepthook`."""
    try:
        with translate_errors():
            raise error.with_traceback(trace)
    except SystemExit:
        raise
    except BaseException:
        sys.__excepthook__(kind, error, trace)


def _sentence(error: OSError) -> str | None:
    """What is said of an error of the operating system; None for one that is no user's to mend."""
    where = str(error.filename) if error.filename else None
    if error.errno in _FULL:
        return f"the disk is full ({where or 'while writing'}): free some space and run again; what is finished is kept."
    if error.errno in _TOO_MANY:
        return f"too many files are open ({where or error.strerror}): raise the limit, e.g. by `ulimit -n 65536`, and run again."
    if "AF_UNIX path" in str(error):
        return (
            f"the path of a socket is too long ({str(error).rpartition(' ')[2]}): "
            "set RAY_TMPDIR to a folder with a short path, e.g. /tmp, and run again."
        )
    home = os.path.expanduser("~")
    if where and (error.errno in _REFUSED or (error.errno == errno.ENOENT and where == home)):
        at_home = home in (where, os.path.dirname(where)) or (home != os.sep and where.startswith(home + os.sep))
        mend = f"set HOME, which is {home}, to a folder of yours" if at_home else "check its path and permissions"
        return f"{where} cannot be used ({error.strerror}): {mend}, and run again; what is finished is kept."
    return None


def _have_a_name() -> None:
    """Give the user a name where the system knows none, as in a container run under any number: DVC asks for it."""
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        os.environ.setdefault("USER", f"user{os.getuid()}")


@contextmanager
def _signals_end_the_block() -> Iterator[None]:
    """Raise SystemExit on SIGTERM and SIGHUP, unless they are ignored, as under nohup."""

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    main = threading.current_thread() is threading.main_thread()
    taken = [number for number in (signal.SIGTERM, signal.SIGHUP) if main and signal.getsignal(number) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
