"""`docs/remote.md`: its configurations are valid, and its errors are those that one sees."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from fleche.config import cache_from_config
from fleche.remote import RemoteConnectionError

from .conftest import Remote
from .test_faults import bare_python

PAGE = (Path(__file__).parents[2] / "docs" / "remote.md").read_text()


@pytest.mark.parametrize("source", re.findall(r"^```toml\n(.*?)^```$", PAGE, re.M | re.S))
def test_configurations(source: str) -> None:
    config = tomllib.loads(source)
    config.pop("default", None)
    assert config
    for section in config.values():
        cache_from_config(section)


def test_the_error_that_is_shown(remote: Remote) -> None:
    [shown] = re.findall(r"^```text\n(Remote cache.*?)\n```$", PAGE, re.M | re.S)
    python = bare_python(remote)
    with pytest.raises(RemoteConnectionError) as caught:
        remote.cache(python=python).info()
    seen = str(caught.value).replace(python, "python3").replace(remote.server.host, "bigpc")
    seen = re.sub(r"^.*(?=: No module named)", "/usr/bin/python3", seen, flags=re.M)
    assert seen == shown


def test_the_shell_is_none_of_a_login(remote: Remote) -> None:
    commands = ("case $- in *i*) false;; esac", "! shopt -q login_shell 2>&1 || false")
    assert remote.cache(setup_commands=commands).info()["pid"]
