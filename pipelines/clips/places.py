"""Where footage lies: a folder, or a prefix of an S3 bucket, behind the same few calls.

A place is small and holds no connection, so it travels to workers; each process makes its own client.
S3 is asked at boto3's usual endpoint, or at `AWS_ENDPOINT_URL`, with credentials from boto3's usual
chain (`AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, `AWS_PROFILE`, an instance's role).
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from pipelines import files
from pipelines.errors import VSRError

T = TypeVar("T")
U = TypeVar("U")

_AT_ONCE = 16
_ATTEMPTS = 3


@dataclass(frozen=True)
class Entries:
    """The names directly in a place, in natural order, without hidden ones."""

    folders: list[str]
    files: list[str]


@dataclass(frozen=True)
class Folder:
    """A folder on disk. A link in it may be followed only to what is in the same folder."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def __truediv__(self, name: str) -> Folder:
        return Folder(self.path / name)

    def exists(self) -> bool:
        return self.path.is_dir()

    def entries(self) -> Entries:
        """What is directly in the folder.

        Raises:
            VSRError: the folder is missing or cannot be read, or a link leads out of it.
        """
        folders, files = [], []
        try:
            with os.scandir(self.path) as found:
                for entry in found:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(self.path.resolve()):
                        raise VSRError(
                            f"{entry.path} is a link that leads out of its folder: copy what it points to, or link the whole folder."
                        )
                    if entry.is_dir():
                        folders.append(entry.name)
                    elif entry.is_file():
                        files.append(entry.name)
        except (FileNotFoundError, NotADirectoryError):
            reason = "is not a folder" if self.path.exists() else "does not exist"
            raise VSRError(f"{self.path} {reason}: give a folder of clips.") from None
        except OSError as error:
            raise VSRError(f"{self.path} cannot be read ({error.strerror}): check its permissions.") from error
        return Entries(sorted(folders, key=natural), sorted(files, key=natural))

    def tree(self) -> dict[str, list[str]]:
        """The files of each folder directly in this one, both in natural order.

        Raises:
            VSRError: see `entries`.
        """
        return {name: (self / name).entries().files for name in self.entries().folders}

    def read(self, name: str) -> bytes:
        """A file's bytes.

        Raises:
            VSRError: it cannot be read.
        """
        return self.head(name, -1)

    def head(self, name: str, count: int) -> bytes:
        """The first `count` bytes of a file, or all where it has fewer.

        Raises:
            VSRError: it cannot be read.
        """
        path = self.path / name
        try:
            return files.head(path, count)
        except OSError as error:
            raise VSRError(f"{path} cannot be read ({error.strerror}): check the path and its permissions.") from error

    @contextlib.contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """A file as a path, for tools that take nothing else."""
        yield files.local(self.path / name)


@dataclass(frozen=True)
class Bucket:
    """What lies below a prefix of an S3 bucket, its keys taken as paths; `prefix` has no slash at its ends."""

    name: str
    prefix: str = ""

    def __str__(self) -> str:
        return f"s3://{self.name}/{self.prefix}".rstrip("/")

    def __truediv__(self, name: str) -> Bucket:
        return Bucket(self.name, self._key(name))

    def exists(self) -> bool:
        """Whether there is an object below the prefix.

        Raises:
            VSRError: see `entries`.
        """
        return next(self._keys(PaginationConfig={"PageSize": 2}), None) is not None

    def entries(self) -> Entries:
        """What is directly below the prefix.

        Raises:
            VSRError: there is nothing, the bucket is missing or may not be read, the endpoint does not
                answer, there are no credentials, or a key leads out of its folder.
        """
        names = list(self._keys(Delimiter="/"))
        if not names:
            raise self._empty()
        shown = [name for name in names if not name.startswith(".")]
        folders = {name.rstrip("/") for name in shown if name.endswith("/")}
        files = {name for name in shown if not name.endswith("/")}
        return Entries(sorted(folders, key=natural), sorted(files, key=natural))

    def tree(self) -> dict[str, list[str]]:
        """The files of each folder directly below the prefix, both in natural order.

        Raises:
            VSRError: see `entries`.
        """
        found: dict[str, list[str]] = {}
        empty = True
        for name in self._keys():
            empty = False
            folder, slash, file = name.partition("/")
            if slash and not folder.startswith("."):
                files = found.setdefault(folder, [])
                if file and "/" not in file and not file.startswith("."):
                    files.append(file)
        if empty:
            raise self._empty()
        return {folder: sorted(found[folder], key=natural) for folder in sorted(found, key=natural)}

    def read(self, name: str) -> bytes:
        """An object's bytes.

        Raises:
            VSRError: it is missing or may not be read, or the connection broke more than once.
        """
        return self._get(name)

    def head(self, name: str, count: int) -> bytes:
        """The first `count` bytes of an object, or all where it has fewer.

        Raises:
            VSRError: see `read`.
        """
        return self._get(name, Range=f"bytes=0-{count - 1}")

    @contextlib.contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """An object as a path, for tools that take nothing else: a temporary file that lives as long as the context.

        Errors that name the file name the object instead.

        Raises:
            VSRError: see `read`; or the disk is full.
        """
        with tempfile.TemporaryDirectory(prefix="vsr-s3-") as folder:
            path = Path(folder) / f"object{PurePosixPath(name).suffix}"
            with _faults(self, name):
                try:
                    _client().download_file(self.name, self._key(name), str(path))
                except OSError as error:
                    raise VSRError(
                        f"{self / name} cannot be fetched to {folder} ({error.strerror}): free some space, or set TMPDIR to a larger disk."
                    ) from error
            try:
                yield path
            except VSRError as error:
                raise VSRError(str(error).replace(str(path), str(self / name))) from error

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    def _keys(self, **options: Any) -> Iterator[str]:
        """Names below the prefix, page after page; folders, where a delimiter asks for them, end with a slash."""
        below = f"{self.prefix}/" if self.prefix else ""
        with _faults(self):
            pages = _client().get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=below, **options)
            for page in pages:
                keys = [item["Key"] for item in page.get("Contents", [])]
                for key in keys + [item["Prefix"] for item in page.get("CommonPrefixes", [])]:
                    name = key[len(below) :]
                    if not name:  # an object that stands for the folder itself
                        continue
                    if not {"", ".", ".."}.isdisjoint(name.removesuffix("/").split("/")):
                        raise VSRError(f"{self} has a key {key!r}, which is no path in it: rename or remove that object.")
                    yield name

    def _get(self, name: str, **options: Any) -> bytes:
        from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError

        left = _ATTEMPTS
        with _faults(self, name):
            while True:
                left -= 1
                try:
                    body = _client().get_object(Bucket=self.name, Key=self._key(name), **options)["Body"]
                except ClientError as error:
                    if error.response.get("Error", {}).get("Code") == "InvalidRange":
                        return b""  # a range of an empty object
                    raise
                try:
                    return bytes(body.read())
                except (HTTPClientError, IncompleteReadError):
                    # botocore asks again where no answer comes, but not where it breaks off.
                    if not left:
                        raise

    def _empty(self) -> VSRError:
        return VSRError(f"{self} has no objects: check the bucket and the prefix, e.g. with `aws s3 ls {self}/`.")


Place = Folder | Bucket


def find(source: str, root: Path) -> Place:
    """The place that a `source` of params.yaml names: a folder, relative to `root` or absolute, or `s3://bucket/prefix`.

    Raises:
        VSRError: the address names no bucket.
    """
    if not source.startswith("s3://"):
        return Folder(root.resolve() / source)
    name, _, prefix = source.removeprefix("s3://").partition("/")
    if not name:
        raise VSRError(f"the source {source!r} names no bucket: write it as `s3://bucket/prefix`.")
    return Bucket(name, prefix.strip("/"))


@lru_cache(maxsize=4096)
def natural(name: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """A key that orders runs of digits by their value, `9.png` before `10.png`; the name itself decides between 1 and 01."""
    parts = re.split(r"(\d+)", name)
    return tuple((1, int(part), "") if index % 2 else (0, 0, part) for index, part in enumerate(parts)), name


def at_once(function: Callable[[T], U], items: Iterable[T]) -> list[U]:
    """`function` of every item, in order, several at once: what takes time is waiting for answers."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(function, items))


def _client() -> Any:
    """This process's S3 client."""
    settings = tuple(sorted((key, value) for key, value in os.environ.items() if key.startswith("AWS_")))
    return _connect(os.getpid(), settings)


@lru_cache(maxsize=1)
def _connect(process: int, settings: tuple[tuple[str, str], ...]) -> Any:
    """A client for the environment as it is: a forked process, or a changed endpoint, gets its own."""
    import boto3  # here, because it is slow to import and most corpora are folders
    from botocore.config import Config

    return boto3.session.Session().client(
        "s3",
        config=Config(
            connect_timeout=3,
            read_timeout=20,
            retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
            max_pool_connections=_AT_ONCE,
        ),
    )


@contextlib.contextmanager
def _faults(bucket: Bucket, name: str = "") -> Iterator[None]:
    """Tell what goes wrong with S3 in one sentence, without what the request held."""
    from boto3.exceptions import Boto3Error
    from botocore import exceptions as fault

    where = str(bucket / name) if name else str(bucket)
    try:
        yield
    except fault.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", "unknown"))
        raise VSRError(f"{where} cannot be read: {_answer(bucket, name, code)}") from error
    except (fault.NoCredentialsError, fault.PartialCredentialsError, fault.CredentialRetrievalError) as error:
        raise VSRError(
            f"{where} cannot be read without credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
        ) from error
    except (fault.ConnectionError, fault.HTTPClientError, fault.IncompleteReadError) as error:
        raise VSRError(
            f"{where} cannot be read, {_endpoint()} does not answer ({type(error).__name__}): "
            "check AWS_ENDPOINT_URL and the connection."
        ) from error
    except (fault.BotoCoreError, Boto3Error, ValueError) as error:
        raise VSRError(
            f"{where} cannot be read, the S3 settings are not valid ({type(error).__name__}): "
            "check the bucket's name, AWS_ENDPOINT_URL and the AWS configuration."
        ) from error


def _answer(bucket: Bucket, name: str, code: str) -> str:
    if code == "NoSuchBucket":
        return f"{_endpoint()} has no bucket {bucket.name!r}: check its name and AWS_ENDPOINT_URL."
    if name and code in {"NoSuchKey", "404"}:
        return "it is not there any more: list the bucket and run again."
    if code in {"AccessDenied", "AllAccessDisabled", "403"}:
        return (
            f"these credentials have no permission for the bucket {bucket.name!r} ({code}): grant s3:ListBucket and s3:GetObject."
        )
    if code in {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "InvalidClientTokenId"}:
        return f"{_endpoint()} does not accept the credentials ({code}): check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
    return (
        f"{_endpoint()} answered {code}: check the bucket {bucket.name!r}, its region (AWS_DEFAULT_REGION) and AWS_ENDPOINT_URL."
    )


def _endpoint() -> str:
    """The endpoint as it may be shown: without a user's name and password."""
    parts = urllib.parse.urlsplit(_client().meta.endpoint_url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
