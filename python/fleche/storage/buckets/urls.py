"""URLs of buckets."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["Where", "where"]

# What people write, and which service that is.
_SERVICES = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gs",
    "gcs": "gs",
    "az": "az",
    "azure": "az",
    "abfs": "az",
    "abfss": "az",
    "file": "file",
}


@dataclass(frozen=True)
class Where:
    """Where a bucket is.

    Args:
        service: `"s3"`, `"gs"`, `"az"` or `"file"`.
        bucket: its name, that of the container, or the path of a folder.
        prefix: what the names of all objects begin with, without slashes around; may be empty.
    """

    service: str
    bucket: str
    prefix: str

    @property
    def url(self) -> str:
        """The URL, always written in one way.

        >>> where("s3a://results/team//a/").url
        's3://results/team/a'
        """
        if self.service == "file":
            return Path(self.bucket).as_uri()
        return f"{self.service}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")


def where(url: str) -> Where:
    """Reads a URL.

    Raises:
        ValueError: if it is none of a bucket.

    >>> where("s3://results/team")
    Where(service='s3', bucket='results', prefix='team')
    """
    parts = urlsplit(url)
    service = _SERVICES.get(parts.scheme.lower())
    example = "write s3://bucket/folder, gs://bucket/folder, az://container/folder or file:///path"
    if "@" in parts.netloc:
        # It may be a secret: it is not shown.
        raise ValueError(
            f"the url of a bucket ({parts.scheme}://...@...) holds credentials, which whoever "
            f"sees it would see. Set them in the environment or in the files of the service"
        )
    if service is None:
        shown = url if not parts.query else url.partition("?")[0]
        raise ValueError(f"{shown!r} is no URL of a bucket: {example}")
    if parts.query or parts.fragment:
        raise ValueError(
            f"the url of a bucket has no part behind '?' or '#': {url.partition('?')[0]!r}. Give "
            f"`endpoint` and `region` as keys of their own"
        )
    path = unquote(parts.path)
    if service == "file":
        if parts.netloc not in ("", "localhost") or not path.startswith("/"):
            raise ValueError(f"{url!r} names no folder: write file:///path, with three slashes")
        if "\0" in path:
            raise ValueError(f"{url!r} is no path: it has a NUL character")
        if os.name == "nt":
            path = path.lstrip("/")
        return Where("file", str(Path(path).resolve()), "")
    if not parts.netloc:
        raise ValueError(f"{url!r} names no bucket: {example}")
    prefix = "/".join(part for part in path.split("/") if part)
    return Where(service, parts.netloc, prefix)
