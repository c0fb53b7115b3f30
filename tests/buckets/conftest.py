"""Buckets for the tests: on SeaweedFS, on moto's server, and in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleche.caches import BaseCache
from fleche.config import cache_from_config
from fleche.storage.buckets import place as places
from tests.buckets.proxy import Proxy, proxy_before
from tests.s3_servers import ACCESS, SECRET, S3Server, running_moto


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The credentials of the tests, and nothing of the user's own."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "FLECHE_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")


@pytest.fixture(scope="session")
def moto() -> Iterator[S3Server]:
    """Moto's server."""
    with running_moto() as server:
        yield server


@pytest.fixture(params=["seaweedfs", "moto", "file"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """The settings of an empty bucket of each kind."""
    if request.param == "file":
        return {"url": (tmp_path / "a bucket").as_uri()}
    server: S3Server = request.getfixturevalue(request.param)
    return {"url": f"s3://{server.new_bucket()}/team/a", "endpoint": server.endpoint}


@pytest.fixture
def on_seaweedfs(seaweedfs: S3Server) -> dict[str, Any]:
    """The settings of an empty bucket on SeaweedFS."""
    return {"url": f"s3://{seaweedfs.new_bucket()}", "endpoint": seaweedfs.endpoint}


@pytest.fixture
def bucket(settings: dict[str, Any]) -> BaseCache:
    """An empty cache in a bucket of each kind."""
    return cache_from_config({"template": "bucket", **settings})


@pytest.fixture
def asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that failed is asked again without a rest."""
    monkeypatch.setattr(places, "_REST", 0.0)


@pytest.fixture
def proxy(seaweedfs: S3Server) -> Iterator[Proxy]:
    """What stands between a client and the server."""
    with proxy_before(seaweedfs.port) as made:
        yield made
