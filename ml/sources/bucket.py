"""Source `bucket`: folders of runs, each with a manifest.json, below a prefix of S3, GCS, Azure or a file system.

Objects are listed, the manifests among them say which run and attempt they are, and only what is new is downloaded.
https://arrow.apache.org/docs/python/filesystems.html
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import parse_qsl, urlsplit

import pyarrow as pa
from pyarrow import fs
from pydantic import AfterValidator

from ml.errors import RefusedPayload, SourceError
from ml.sources import manifest
from ml.sources.ci_server import CiServer, Downloaded, ServerRun
from ml.sources.refusals import Refusal, as_value, printable
from ml.sources.rest_api import checked_secret
from ml.sources.run_folders import OUTSIDE, SUFFIXES
from ml.sources.source import Finding, SourceOptions, Surroundings
from ml.sources.unpacking import new_file, safe_parts
from ml.spec import Interval

CHUNK = 1 << 20
SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss", "file")
S3_OPTIONS = {"region", "endpoint_override", "scheme"}
MAX_OBJECTS = 2_000_000
# A manifest is written once its run began, by a clock that may be off by so much.
CLOCKS = timedelta(days=1)
CONNECT_S, REQUEST_S = 10, 60


def _checked_url(value: str) -> str:
    try:
        url = urlsplit(value)
        has_secret = url.password is not None or (url.scheme == "s3" and url.username is not None)
    except ValueError:
        raise ValueError("is no URL") from None
    if url.scheme not in SCHEMES:
        raise ValueError(f"begins with no scheme that is known; right would be one of {', '.join(SCHEMES)}")
    if has_secret or "secret" in url.query.lower():
        raise ValueError("holds a secret; right would be the URL without it")
    unknown = sorted({name for name, _ in parse_qsl(url.query)} - S3_OPTIONS)
    if url.scheme == "s3" and unknown:
        raise ValueError(f"has the option {unknown[0]!r}; right would be one of {', '.join(sorted(S3_OPTIONS))}")
    return value


class Options(SourceOptions):
    """A prefix with runs below it.

    Attributes:
        kind: Always bucket.
        url: As ``s3://bucket/prefix?region=eu-central-1``, also with endpoint_override and scheme; ``gs://``,
            ``abfss://`` or ``file:///`` as Arrow reads them.
        anonymous: Whether to ask S3 without any credentials.
    """

    needs_secret: ClassVar[bool] = False  # the cloud's own configuration may do

    kind: Literal["bucket"]
    url: Annotated[str, AfterValidator(_checked_url)]
    anonymous: bool = False


def open_source(options: Options, secret: str, around: Surroundings) -> CiServer:
    """The bucket as a source of `fourgate.toml`."""
    return CiServer(Bucket(options, secret, around.limits.max_payload_bytes), around)


@dataclass(frozen=True, slots=True)
class _Listed:
    """Everything below the prefix: manifests and other objects by their folder, which is a path of the file system."""

    manifests: Mapping[str, fs.FileInfo]
    others: Mapping[str, list[fs.FileInfo]]


class Bucket:
    """Runs below a prefix; `secret` is ``access_key:secret_key`` of S3; if empty, the cloud's usual environment."""

    kind = "bucket"

    def __init__(self, options: Options, secret: str, max_bytes: int) -> None:
        self.project = options.project
        self._options = options
        self._secret = checked_secret(secret)
        self._max_bytes = max_bytes
        self._opened: tuple[fs.FileSystem, str] | None = None
        self._others: Mapping[str, list[fs.FileInfo]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._opened = None

    def find(self, interval: Interval) -> Iterator[ServerRun]:
        """Every run with a manifest that started in `interval`, in the order of their start.

        A manifest that cannot be read counts by when it was written; `download` says what is wrong with it.

        Raises:
            SourceError: the prefix cannot be listed, or holds more objects than anybody would list each hour.
        """
        listed = self._list()
        self._others = listed.others
        runs = []
        for folder, info in listed.manifests.items():
            if interval.start is not None and info.mtime is not None and info.mtime < interval.start - CLOCKS:
                continue
            run = self._describe(folder, info)
            if interval.contains(run.started_at):
                runs.append(run)
        yield from sorted(runs, key=lambda run: (run.started_at, run.run_id, run.detail["folder"]))

    def download(self, run: ServerRun, folder: Path, max_bytes: int) -> Downloaded:
        """Put the reports of a run below `folder`: files that end as reports do, and those that its manifest lists.

        Raises:
            SourceError: the bucket cannot be reached or refuses.
        """
        document = {**run.detail["document"], "project": self.project}
        refused = list(run.detail["refused"])
        listed = manifest.variants_of(document)
        for info in self._others.get(run.detail["folder"], []):
            inner = info.path[len(run.detail["folder"]) + 1 :]
            if not inner.lower().endswith((*SUFFIXES, ".json")) and inner not in listed:
                continue
            try:
                self._copy(info, inner, folder, max_bytes)
            except RefusedPayload as problem:
                refused.append(Refusal(problem.reason, as_value(problem), payload=printable(inner)))
        return Downloaded(document, refused)

    def test(self) -> Iterator[Finding]:
        """Whether the prefix can be listed, its newest manifest read, and how many runs there are since when."""
        try:
            listed = self._list()
            count = len(listed.manifests) + sum(map(len, listed.others.values()))
            yield Finding("listing", True, f"{count} objects of {len(listed.manifests)} runs")
            if not listed.manifests:
                yield Finding("history", False, f"no {manifest.NAME} below {self._options.url}")
                return
            newest = self._describe(*max(listed.manifests.items(), key=lambda item: (item[1].mtime_ns or 0, item[0])))
            problem = next((refusal.reason for refusal in newest.detail["refused"]), None)
            yield Finding("newest manifest", problem is None, problem or f"run {newest.run_id}")
            moments = [info.mtime for info in listed.manifests.values() if info.mtime]
            written = f", written {min(moments):%F} to {max(moments):%F}" if moments else ""
            yield Finding("history", True, f"{len(listed.manifests)} runs{written}")
        except SourceError as error:
            yield Finding("access", False, str(error))

    def _list(self) -> _Listed:
        with self._asking():
            try:
                system, root = self._open()
                found = system.get_file_info(fs.FileSelector(root, recursive=True))
            except (FileNotFoundError, pa.ArrowInvalid) as error:
                raise SourceError(f"{self._options.url} is not there: {self._told(error)}") from None
        if len(found) > MAX_OBJECTS:
            raise SourceError(f"{self._options.url} holds {len(found)} objects; right would be a longer prefix")
        start = len(root.rstrip("/")) + 1
        files = [info for info in found if info.is_file and not _is_hidden(info.path[start:])]
        manifests = {_parent(info.path): info for info in files if info.base_name == manifest.NAME}
        others: dict[str, list[fs.FileInfo]] = {}
        for info in files:
            owner = _owner(info.path, manifests)
            if owner is not None and info.base_name != manifest.NAME:
                others.setdefault(owner, []).append(info)
        return _Listed(manifests, others)

    def _describe(self, folder: str, info: fs.FileInfo) -> ServerRun:
        detail: dict[str, Any] = {"folder": folder, "document": {}, "refused": []}
        try:
            document = manifest.parse(self._read(info))
        except RefusedPayload as problem:
            refusal = Refusal(problem.reason, as_value(problem), contract="runs", payload=manifest.NAME)
            document, detail["refused"] = {}, [refusal]
        attempt = document.get("attempt", 1)
        return ServerRun(
            run_id=str(document.get("run_id", "")),
            attempt=attempt if isinstance(attempt, int) else 1,
            started_at=manifest.started_at_of(document) or info.mtime or datetime.min.replace(tzinfo=UTC),
            is_finished=True,
            detail={**detail, "document": document},
        )

    def _read(self, info: fs.FileInfo) -> bytes:
        with self._asking(), self._stream(info) as stream:
            content: bytes = stream.read(self._max_bytes + 1)
        if len(content) > self._max_bytes:
            raise RefusedPayload("payload_too_large", f"at most {self._max_bytes} bytes")
        return content

    def _copy(self, info: fs.FileInfo, inner: str, folder: Path, max_bytes: int) -> None:
        parts = _safe(inner)
        if (info.size or 0) > max_bytes:
            raise RefusedPayload("payload_too_large", f"{info.size} bytes; at most {max_bytes}")
        with self._asking(), self._stream(info) as stream, new_file(folder.joinpath(*parts)) as copy:
            written = 0
            while chunk := stream.read(CHUNK):
                written += len(chunk)
                if written > max_bytes:
                    break
                copy.write(chunk)
        if written > max_bytes:
            folder.joinpath(*parts).unlink()
            raise RefusedPayload("payload_too_large", f"more than {max_bytes} bytes")

    def _stream(self, info: fs.FileInfo) -> pa.NativeFile:
        system, root = self._open()
        if isinstance(system, fs.LocalFileSystem) and not Path(info.path).resolve().is_relative_to(
            Path(root).resolve()
        ):
            raise RefusedPayload(OUTSIDE, "a link that leads out of the prefix")
        return system.open_input_stream(info.path)

    def _open(self) -> tuple[fs.FileSystem, str]:
        if self._opened is None:
            is_s3 = urlsplit(self._options.url).scheme == "s3"
            if self._secret and not is_s3:
                raise SourceError(f"{self._options.url} takes no secret; right would be the cloud's usual environment")
            self._opened = self._open_s3() if is_s3 else fs.FileSystem.from_uri(self._options.url)
        return self._opened

    def _open_s3(self) -> tuple[fs.FileSystem, str]:
        url = urlsplit(self._options.url)
        access, _, key = self._secret.partition(":")
        if self._secret and not (access and key):
            raise SourceError("the secret of an S3 bucket is access_key:secret_key; this one has no colon within")
        options: dict[str, Any] = {name: value for name, value in parse_qsl(url.query) if name in S3_OPTIONS}
        if not options.get("region") and not options.get("endpoint_override"):
            options["region"] = fs.resolve_s3_region(url.netloc)
        system = fs.S3FileSystem(
            access_key=access or None,
            secret_key=key or None,
            anonymous=self._options.anonymous,
            connect_timeout=CONNECT_S,
            request_timeout=REQUEST_S,
            **options,
        )
        return system, f"{url.netloc}{url.path}".rstrip("/")

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Turns what a file system raises into errors of this project.

        Raises:
            RefusedPayload: the object is gone since it was listed (`artifact_gone`), or has a name that Arrow asks no
                store for (`unreadable`).
            SourceError: the bucket cannot be reached or refuses; the message holds no secret.
        """
        try:
            yield
        except FileNotFoundError:
            raise RefusedPayload("artifact_gone", "gone since it was listed") from None
        except pa.ArrowInvalid as error:
            raise RefusedPayload("unreadable", str(error)) from None
        except (OSError, pa.ArrowException) as error:
            raise SourceError(f"{self._options.url} cannot be read: {self._told(error)}") from None

    def _told(self, error: Exception) -> str:
        key = self._secret.partition(":")[2]
        return printable(str(error).replace(key, "***") if key else str(error), 500)


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _is_hidden(inner: str) -> bool:
    return any(part.startswith(".") and part not in (".", "..") for part in inner.split("/")[:-1])


def _owner(path: str, manifests: Mapping[str, object]) -> str | None:
    """The nearest folder above with a manifest."""
    while path:
        path = _parent(path)
        if path in manifests:
            return path
    return None


def _safe(inner: str) -> list[str]:
    try:
        parts = safe_parts(inner)
    except RefusedPayload as problem:
        raise RefusedPayload(OUTSIDE if problem.reason == "path_outside_archive" else problem.reason, inner) from None
    if manifest.NAME in parts:
        raise RefusedPayload(OUTSIDE, f"{inner} takes the place of the manifest")
    return parts
