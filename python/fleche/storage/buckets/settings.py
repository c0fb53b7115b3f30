"""How a bucket is spoken to: options of the client, and credentials from where people keep them.

The client reads the environment (`AWS_*`, `GOOGLE_*`, `AZURE_*`), the files of Google's tools, and
what machines in a cloud are told. Here are the files of the AWS tools, which it does not read. What
is found is handed to the client and kept nowhere else.
"""

from __future__ import annotations

import configparser
import os
from dataclasses import dataclass
from pathlib import Path

from fleche.storage.buckets.urls import Where

__all__ = ["Access", "options_of"]

_FROM_FILES = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
# In the environment these stand for credentials that are to be taken instead of a file's.
_FROM_ENVIRONMENT = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)


@dataclass(frozen=True)
class Access:
    """How a bucket is spoken to; no secret is in it.

    Args:
        endpoint: the server, for others than the services' own: `"http://localhost:8333"`.
        region: the region; with Azure nothing.
        profile: a section of the files of the AWS tools.
        account: the storage account of Azure.
        anonymous: whether to sign no request, for buckets that everybody may read.
        timeout: how long to wait for a server that gives nothing, in seconds.
    """

    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None
    account: str | None = None
    anonymous: bool = False
    timeout: float = 20.0


def options_of(where: Where, access: Access) -> list[tuple[str, str]]:
    """What the client is told besides the environment, credentials of files among it.

    Raises:
        ValueError: if there is no such profile.

    >>> from fleche.storage.buckets.urls import where
    >>> options_of(where("gs://results"), Access(endpoint="http://localhost:4443"))
    [('google_base_url', 'http://localhost:4443')]
    """
    options: dict[str, str] = {}
    if where.service == "s3":
        options = _of_s3(access)
    elif where.service == "gs":
        if access.endpoint is not None:
            options["google_base_url"] = access.endpoint
        if access.anonymous:
            options["google_skip_signature"] = "true"
    elif where.service == "az":
        if access.endpoint is not None:
            options["azure_endpoint"] = access.endpoint
        if access.account is not None:
            options["azure_storage_account_name"] = access.account
        if access.anonymous:
            options["azure_skip_signature"] = "true"
    return [*options.items()]


def _of_s3(access: Access) -> dict[str, str]:
    options = {}
    named = access.profile or os.environ.get("AWS_PROFILE")
    section = _section(named)
    has_own = any(os.environ.get(name) for name in _FROM_ENVIRONMENT)
    if not access.anonymous and (access.profile is not None or not has_own):
        options.update({name: section[name] for name in _FROM_FILES if section.get(name)})
    region = access.region
    if region is None and not (
        os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    ):
        region = section.get("region")
    if region is not None:
        options["aws_region"] = region
    endpoint = access.endpoint
    given = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    if endpoint is None and not any(os.environ.get(name) for name in given):
        endpoint = section.get("endpoint_url")
    if endpoint is not None:
        # The more specific one counts.
        options["aws_endpoint_url_s3"] = endpoint
    if access.anonymous:
        options["aws_skip_signature"] = "true"
    return options


def _section(named: str | None) -> dict[str, str]:
    """What the files of the AWS tools say of a profile; credentials count before the other file."""
    name = named or "default"
    home = Path("~/.aws").expanduser()
    found: dict[str, str] = {}
    files = (
        (os.environ.get("AWS_CONFIG_FILE") or home / "config", ("profile " + name, name)),
        (os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or home / "credentials", (name,)),
    )
    seen = False
    for path, sections in files:
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read(Path(path).expanduser(), encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError, OSError):
            # Its text may be secret.
            raise ValueError(f"{str(path)!r} cannot be read as a file of the AWS tools") from None
        for section in sections:
            if parser.has_section(section):
                seen = True
                found.update(parser.items(section))
                break
    if named is not None and not seen:
        raise ValueError(
            f"there is no profile {named!r} in the files of the AWS tools (~/.aws/config and "
            f"~/.aws/credentials): run `aws configure --profile {named}`, or correct `profile` or "
            f"AWS_PROFILE"
        )
    return found
