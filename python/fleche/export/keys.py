"""Who signs, and who is trusted: Ed25519 keys in the user's configuration folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from fleche import _core
from fleche._foundation.paths import expanded_home

__all__ = [
    "YOU",
    "SigningKey",
    "fingerprint",
    "key_folder",
    "make_key",
    "own_key",
    "read_public",
    "shown_public",
    "trust",
    "trusted_keys",
    "untrust",
]

_PREFIX = "ed25519:"
_PUBLIC = re.compile(r"(?:ed25519:)?([0-9a-fA-F]{64})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_OWN = "signing.key"

#: What the user's own key is called.
YOU = "you"


@dataclass(frozen=True)
class SigningKey:
    """A private key; it signs what is handed on.

    Args:
        document: the key, in PKCS#8.

    Raises:
        ValueError: if this is no such key.

    >>> key = SigningKey.generate()
    >>> len(key.public), key
    (32, SigningKey())
    """

    document: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _core.public_key(self.document)

    @classmethod
    def generate(cls) -> SigningKey:
        """A new key."""
        return cls(_core.generate_signing_key())

    @property
    def public(self) -> bytes:
        """The public key, by which others know what this one signed."""
        return _core.public_key(self.document)

    def sign(self, message: bytes) -> bytes:
        """The signature of a message."""
        return _core.sign_message(self.document, message)


def shown_public(public: bytes) -> str:
    """A public key as people hand it to each other.

    >>> shown_public(bytes(32))[:16]
    'ed25519:00000000'
    """
    return _PREFIX + public.hex()


def read_public(text: str) -> bytes:
    """The public key that `shown_public` wrote.

    Raises:
        ValueError: if it is none.

    >>> read_public(shown_public(bytes(32))) == bytes(32)
    True
    """
    found = _PUBLIC.fullmatch(text.strip())
    if found is None:
        raise ValueError(
            f"{text!r} is no public key: it is what `fleche key` prints, {_PREFIX} and 64 "
            f"hexadecimal digits"
        )
    return bytes.fromhex(found[1])


def fingerprint(public: bytes) -> str:
    """A public key, short enough to be compared over the phone.

    >>> fingerprint(bytes(32))
    '6668-7aad-f862-bd77-6c8f-c18b-8e9f-8e20'
    """
    text = hashlib.sha256(public).hexdigest()[:32]
    return "-".join(text[at : at + 4] for at in range(0, 32, 4))


def key_folder() -> Path:
    """Where the keys of this user are: `fleche/keys` in `$XDG_CONFIG_HOME`, else in `~/.config`."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(base) if os.path.isabs(base) else expanded_home("~/.config")) / "fleche" / "keys"


def own_key() -> SigningKey:
    """The key of this user.

    Raises:
        FileNotFoundError: if there is none yet.
        PermissionError: if others may read it.
        ValueError: if the file holds no key.
    """
    path = key_folder() / _OWN
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            document = file.read()
    except FileNotFoundError:
        raise FileNotFoundError(
            "there is no key to sign with: `fleche key` makes one, once for each user"
        ) from None
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise PermissionError(
            f"{str(path)!r} is the key that signs in your name, and others may read it: "
            f"`chmod 600` it, or make another one"
        )
    try:
        return SigningKey(document)
    except ValueError as error:
        raise ValueError(f"{str(path)!r} holds no key: {error}") from None


def make_key() -> tuple[SigningKey, bool]:
    """The key of this user, and whether it was made now.

    Raises:
        OSError: if it cannot be written.
    """
    with contextlib.suppress(FileNotFoundError):
        return own_key(), False
    key, folder = SigningKey.generate(), _made_folder()
    try:
        _write_new(folder / _OWN, key.document)
    except FileExistsError:
        return own_key(), False
    return key, True


def trusted_keys() -> dict[str, bytes]:
    """The public keys whose files are taken, by the names that the user gave them.

    Raises:
        ValueError: if one of the files holds no key.
    """
    found = {}
    for path in sorted((key_folder() / "trusted").glob("*.pub")):
        try:
            found[path.stem] = read_public(path.read_text("ascii"))
        except ValueError as error:
            raise ValueError(f"{str(path)!r}: {error}") from None
    return found


def trust(name: str, public: bytes) -> None:
    """Take files that this key signed from now on.

    Args:
        name: what the user calls its owner.
        public: the public key.

    Raises:
        ValueError: if the name is no name, or stands for another key.
    """
    _check_name(name)
    known = trusted_keys()
    if known.get(name) == public:
        return
    if name in known:
        raise ValueError(
            f"{name!r} is another key already ({fingerprint(known[name])}): `fleche key --remove "
            f"{name}` first, or choose another name"
        )
    if len(public) != 32:
        raise ValueError(f"a public key has 32 bytes, not {len(public)}")
    _write_new(_made_folder("trusted") / f"{name}.pub", shown_public(public).encode() + b"\n")


def untrust(name: str) -> None:
    """Take no more files of a key.

    Raises:
        ValueError: if there is none of this name.
    """
    _check_name(name)
    try:
        (key_folder() / "trusted" / f"{name}.pub").unlink()
    except FileNotFoundError:
        raise ValueError(
            f"no trusted key is called {name!r}: `fleche key --list` shows them"
        ) from None


def _check_name(name: str) -> None:
    if name == YOU:
        raise ValueError(f"{name!r} is what your own key is called: choose another name")
    if _NAME.fullmatch(name) is None:
        raise ValueError(
            f"{name!r} cannot be the name of a key: it takes letters, digits, '.', '_' and '-'"
        )


def _made_folder(*below: str) -> Path:
    folder = key_folder().joinpath(*below)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _write_new(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all.

    Raises:
        FileExistsError: if there is one already.
    """
    # Only the user may read what `mkstemp` makes.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    finally:
        os.unlink(temporary)
