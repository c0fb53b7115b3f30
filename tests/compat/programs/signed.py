"""A shared store of signed entries: keys of two sources, their rotation, and tampering."""

import os
from pathlib import Path

from laboratory import Material, describe, energy, sample, total
from observed import Log, drain, outcome, report, shown

from fleche import cache
from fleche.caches import BaseCache, ReadOnlyCache
from fleche.config import cache_from_config, cache_to_config, load_cache_config, storage_from_config
from fleche.digest import Digest
from fleche.security import SignatureError, SignedBytes, get_secret_key, normalize_secret_key
from fleche.storage import CallPickleFile, ValuePickleFile

OLD, NEW, STRANGE = "00ff10", "ab" * 32, "777777"

CONFIG = f"""
[default]
cache = "shared"

[shared]
values = {{type = "pickle", root = "store/values", remaining_depth = 1, secret_key = ["{OLD}"]}}
calls = {{type = "pickle", root = "store/calls", secret_key = ["{OLD}"]}}

[keyless]
values = {{type = "pickle", root = "store/values", remaining_depth = 1}}
calls = {{type = "pickle", root = "store/calls"}}

[packed]
values = {{type = "cloudpickle", root = "packed/values", remaining_depth = 1}}
calls = {{type = "cloudpickle", root = "packed/calls"}}

[templated]
template = "pickle"
root = "templated"
read_only = true
"""


def with_keys(*keys: str, compress: bool = False) -> BaseCache:
    """The same store under other keys."""
    both = {"type": "pickle", "secret_key": list(keys), "compress": compress}
    values = {**both, "root": str(Path("store/values").resolve()), "remaining_depth": 1}
    return cache_from_config(
        {"values": values, "calls": {**both, "root": str(Path("store/calls").resolve())}}
    )


def file_of(digest: str, kind: str) -> Path:
    return Path("store") / kind / digest


def change(path: Path, action: str) -> None:
    """Tamper with an entry."""
    content = path.read_bytes()
    if action == "flip":
        content = bytes([content[0], content[1], content[2] ^ 1]) + content[3:]
    elif action == "resign":
        content = content[:-64] + b"0" * 64
    elif action == "strip":
        content = content[:-64]
    elif action == "append":
        content = content + b"x"
    path.write_bytes(content)


def filled() -> dict[str, object]:
    steel = Material("steel", 7.5, [1, 2, 3])
    return {
        "energy": [shown(energy(temperature)) for temperature in (100.5, 200.5)],
        "total": shown(total([100.5, 200.5, 300.5])),
        "describe": describe(steel, "hot", alpha=1),
        "sample": shown(sample(4, seed=3)),
    }


def read_by(other: BaseCache, log: Log) -> list[object]:
    """What another reader of the store finds, without computing anything."""
    with cache(other):
        found = [
            energy.contains(100.5),
            outcome(energy.load, 100.5),
            outcome(sample.load, 4, seed=3),
            outcome(lambda: energy.query(100.5).count()),
        ]
    return [*found, log.drain()]


def tampered(log: Log) -> dict[str, object]:
    """A changed entry is a miss: it is computed anew and replaced."""
    seen: dict[str, object] = {}
    record = sample.digest(4, seed=3)
    value = sample.query(4, seed=3).only()._result
    for action in ("flip", "resign", "strip", "append"):
        for kind, key in (("calls", record), ("values", value)):
            path = file_of(key, kind)
            change(path, action)
            storage = getattr(cache(), kind)
            seen[f"{action} {kind}"] = [
                outcome(storage.load, key),
                outcome(sample.load, 4, seed=3),
                log.drain(),
                shown(sample(4, seed=3)),
                drain(),
                shown(sample(4, seed=3)),
                drain(),
                log.drain(),
            ]
    return seen


def rotated(log: Log) -> dict[str, object]:
    """New keys sign, old ones still open what they signed, until everything is signed anew."""
    both = with_keys(NEW, OLD)
    seen: dict[str, object] = {"old entries": read_by(both, log)}
    with cache(both):
        seen["new entry"] = [shown(energy(700.5)), drain()]
        key = energy.digest(700.5)
    seen["by the new key"] = outcome(lambda: with_keys(NEW).load(key).result)
    seen["by the old key"] = outcome(lambda: with_keys(OLD).load(key).result)
    with cache(with_keys(OLD)):
        seen["anew"] = [shown(energy(700.5)), drain()]
        energy.query(700.5).evict()
        seen["evicted"] = energy.contains(700.5)
    seen["log"] = log.drain()
    return seen


def beginnings() -> list[str]:
    """How the entries begin: `1f8b` is gzip."""
    entries = [path for path in Path("packed").rglob("*") if len(path.name) == 64]
    return sorted({path.read_bytes()[:2].hex() for path in entries})


def packed() -> dict[str, object]:
    """Compressed, unsigned and back."""
    previous = cache()
    cache("packed")
    active = cache()
    first = shown(energy(100.5))
    drain()
    for storage in (active.values, active.calls):
        storage.compress_all()
    second = [outcome(energy, 100.5), drain()]
    packed = beginnings()
    for storage in (active.values, active.calls):
        storage.decompress_all()
    third = [outcome(energy, 100.5), drain()]
    plain = beginnings()
    cache(previous)
    return {
        "first": first,
        "second": second,
        "packed": packed,
        "third": third,
        "plain": plain,
        "config": [cache_to_config(active)["calls"][name] for name in ("type", "compress")],
    }


def keys() -> dict[str, object]:
    """Where keys come from, and the helpers of `fleche.security`."""
    os.environ["FLECHE_SECRET_KEY"] = f"{NEW}:{OLD}"
    from_environment = [
        [key.hex() for key in get_secret_key()],
        [key.hex() for key in ValuePickleFile("elsewhere").secret_key],
        [key.hex() for key in CallPickleFile("elsewhere", secret_key=b"own").secret_key],
    ]
    del os.environ["FLECHE_SECRET_KEY"]
    signer = SignedBytes([bytes.fromhex(NEW), bytes.fromhex(OLD)])
    signed = signer.dumps(b"content.")
    return {
        "from the environment": from_environment,
        "none": [get_secret_key(), ValuePickleFile("elsewhere").secret_key],
        "argument": [key.hex() for key in ValuePickleFile("x", secret_key="ab:cd").secret_key],
        "normalized": [shown(normalize_secret_key(key)) for key in (b"k", "ab:cd", [b"k", "ef"])],
        "bad": [outcome(normalize_secret_key, key) for key in (1, "zz", [1], None)],
        "bad in a config": outcome(
            storage_from_config, {"type": "pickle", "root": "x", "secret_key": ["zz"]}, "call"
        ),
        "signed": signed.decode(),
        "back": shown(signer.loads(signed)),
        "by the second key": shown(signer.loads(SignedBytes([bytes.fromhex(OLD)]).dumps(b"c."))),
        "refused": [
            outcome(signer.loads, b"content." + b"0" * 64),
            outcome(signer.loads, b"content."),
            outcome(signer.loads, b"content"),
            issubclass(SignatureError, Exception),
        ],
        "without keys": shown(SignedBytes([]).dumps(b"content.")),
    }


def main() -> None:
    Path("fleche.toml").write_text(CONFIG)
    log = Log()
    active = cache()
    document: dict[str, object] = {"results": filled()}
    document["computed"] = drain()
    document["twice"] = [filled() == document["results"], drain(), log.drain()]
    document["signatures"] = len(file_of(sample.digest(4, seed=3), "calls").read_bytes()) > 64
    document["config"] = [
        cache_to_config(active)["values"]["secret_key"],
        cache_to_config(active)["calls"]["secret_key"],
        cache_from_config(cache_to_config(active)) == active,
        load_cache_config("shared") is active,
    ]
    document["readers"] = {
        "same key": read_by(with_keys(OLD), log),
        "several keys": read_by(with_keys(STRANGE, OLD), log),
        "no key": read_by(load_cache_config("keyless"), log),
        "absent": outcome(active.values.load, Digest("ab" * 32)),
    }
    strange = with_keys(STRANGE)
    with cache(strange):
        document["stranger"] = [
            outcome(energy.load, 100.5),
            outcome(strange.load, energy.digest(100.5)),
            energy.contains(100.5),
            log.drain(),
        ]
    os.environ["FLECHE_SECRET_KEY"] = OLD
    environment = cache_from_config(
        {
            "values": {"type": "pickle", "root": "store/values", "remaining_depth": 1},
            "calls": {"type": "pickle", "root": "store/calls"},
        }
    )
    del os.environ["FLECHE_SECRET_KEY"]
    document["environment"] = [read_by(environment, log), environment == active]
    document["tampered"] = tampered(log)
    document["rotated"] = rotated(log)
    document["still"] = [filled() == document["results"], drain(), log.drain()]
    document["packed"] = packed()
    templated = load_cache_config("templated")
    assert isinstance(templated, ReadOnlyCache)
    inner = cache_to_config(templated.cache)
    document["templated"] = [inner[kind]["type"] for kind in ("values", "calls")]
    document["keys"] = keys()
    report(document)


if __name__ == "__main__":
    main()
