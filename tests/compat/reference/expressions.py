"""Strategies for expressions, as source text, that make values of every kind."""

from __future__ import annotations

import math

from hypothesis import strategies as st

Expressions = st.SearchStrategy[str]


def call(function: str, *arguments: Expressions) -> Expressions:
    """A call with these arguments."""
    return st.tuples(*arguments).map(lambda parts: f"{function}({', '.join(parts)})")


def source(values: st.SearchStrategy[object]) -> Expressions:
    """Values whose `repr` makes them again."""
    return values.map(ascii)


def _float(number: float) -> str:
    if math.isnan(number):
        return "-float('nan')" if math.copysign(1, number) < 0 else "float('nan')"
    return f"float.fromhex({number.hex()!r})"


ints = source(
    st.integers()
    | st.integers(-300, 300)
    | st.sampled_from(
        [s * 2**n + d for n in (7, 8, 15, 31, 63, 64) for s in (1, -1) for d in (-1, 0, 1)]
    )
)
floats = st.floats().map(_float) | source(st.integers(-9, 9).map(float))
text = source(st.text(max_size=20))
keys = source(st.text("abcxyz_", min_size=1, max_size=3))
short_bytes = source(st.binary(max_size=20))
hexes = source(st.text("0123456789abcdef", min_size=64, max_size=64))
digests = call("Digest", hexes | source(st.text("0123456789abcdef", max_size=12)))

numbers = st.one_of(
    ints,
    floats,
    call("complex", floats, floats),
    source(st.decimals(allow_nan=False) | st.just(None)).map(
        lambda inner: inner.replace("Decimal", "decimal.Decimal")
    ),
    st.sampled_from(
        ["decimal.Decimal('nan')", "decimal.Decimal('-nan7')", "decimal.Decimal('inf')"]
    ),
    source(st.fractions()).map(lambda inner: inner.replace("Fraction", "fractions.Fraction")),
    call("IntSub", ints),
    call("FloatSub", floats),
    call("ComplexSub", floats),
)

texts = st.one_of(
    text,
    short_bytes,
    call("StrSub", text),
    call("BytesSub", short_bytes),
    call("bytearray", short_bytes),
    call("memoryview", short_bytes),
    source(st.integers(50, 130)).map(lambda count: f"'a' * {count}"),
)

_minutes = source(st.integers(-23 * 60, 23 * 60)).map(
    lambda minutes: f"datetime.timezone(datetime.timedelta(minutes={minutes}))"
)
_zones = st.one_of(
    st.just("None"),
    st.just("datetime.timezone.utc"),
    _minutes,
    st.sampled_from(["zoneinfo.ZoneInfo('Europe/Berlin')", "zoneinfo.ZoneInfo('UTC')"]),
)
_folds = st.sampled_from(["0", "1"])
times = st.one_of(
    source(st.dates()),
    source(st.timedeltas()),
    st.tuples(
        source(st.datetimes(min_value=__import__("datetime").datetime(2, 1, 1))), _zones, _folds
    ).map(lambda parts: f"{parts[0]}.replace(tzinfo={parts[1]}, fold={parts[2]})"),
    st.tuples(source(st.times()), _minutes).map(
        lambda parts: f"{parts[0]}.replace(tzinfo={parts[1]})"
    ),
    _minutes,
    source(st.integers(0, 2**62)).map(lambda nanoseconds: f"pd.Timestamp({nanoseconds})"),
    source(st.integers(0, 2**62)).map(lambda nanoseconds: f"pd.Timedelta({nanoseconds})"),
    st.just("pd.NaT"),
)

constants = st.sampled_from(
    [
        *(
            "None",
            "True",
            "False",
            "int",
            "str",
            "dict",
            "type(None)",
            "object",
            "type",
            "ValueError",
        ),
        *(
            "Colour.RED",
            "Colour.BLUE",
            "Rights.READ | Rights.WRITE",
            "Mode.FAST",
            "Colour",
            "Numbers",
        ),
        *("pd.NA", "np.bool_(True)", "np.bool_(False)", "digest_class(Plain)", "D('abc1')"),
        *(
            "Kind.SOME",
            "Plain()",
            "Plain",
            "...",
            "len",
            "object()",
            "slice(1)",
            "functools.partial(int)",
        ),
    ]
)

_scalar_types = st.sampled_from(
    ["np.int8", "np.uint8", "np.int16", "np.int32", "np.int64", "np.uint64", "np.float16"]
)
scalars = st.one_of(
    st.tuples(_scalar_types, source(st.integers(0, 100))).map(
        lambda parts: f"{parts[0]}({parts[1]})"
    ),
    st.tuples(
        st.sampled_from(["np.float16", "np.float32", "np.float64", "np.longdouble"]), floats
    ).map(lambda parts: f"{parts[0]}({parts[1]})"),
    st.tuples(st.sampled_from(["np.complex64", "np.complex128"]), floats, floats).map(
        lambda parts: f"{parts[0]}(complex({parts[1]}, {parts[2]}))"
    ),
    call("np.str_", text),
    call("np.bytes_", short_bytes),
    st.sampled_from(["np.datetime64('2020-01-01')", "np.timedelta64(5, 's')"]),
)

leaves = st.one_of(numbers, texts, times, constants, scalars, digests, keys)

_hashable = st.one_of(ints, text, keys, digests, call("Frozen", ints, text), st.just("None"))


def _items(children: Expressions, most: int = 4) -> Expressions:
    return st.lists(children, max_size=most).map(lambda parts: ", ".join(parts))


def _dict(children: Expressions) -> Expressions:
    pairs = st.lists(st.tuples(_hashable, children), max_size=4)
    return pairs.map(lambda items: "{" + ", ".join(f"{k}: {v}" for k, v in items) + "}")


_SEQUENCES = [
    *("list([{}])", "tuple([{}])", "ListSub([{}])", "TupleSub([{}])", "collections.deque([{}])"),
    "dict(enumerate([{}])).values()",
]
_ITERATORS = [
    *("iter([{}])", "(item for item in [{}])", "map(lambda item: item, [{}])", "zip([{}], [{}])"),
    *("enumerate([{}])", "reversed([{}])"),
]
_MAPPINGS = [
    *("{}", "DictSub({})", "collections.OrderedDict({})", "collections.defaultdict(list, {})"),
    *(
        "types.MappingProxyType({})",
        "collections.ChainMap({}, {{1: 2}})",
        "{}.keys()",
        "{}.items()",
    ),
    *("KeysOnly({})", "collections.UserDict({})"),
]


def containers(children: Expressions) -> Expressions:
    """Containers and records of children."""
    return st.one_of(
        st.tuples(st.sampled_from(_SEQUENCES), _items(children)).map(
            lambda parts: parts[0].replace("{}", parts[1])
        ),
        st.tuples(st.sampled_from(_MAPPINGS), _dict(children)).map(
            lambda parts: parts[0].replace("{}", parts[1]).replace("{{1: 2}}", "{1: 2}")
        ),
        call("Pair", children, children),
        call("Point", children, children),
        call("Frozen", children),
        call("Slotted", children, children),
        call("Hidden", children, children),
        call("Attrs", children, children),
        call("WithDigest", children),
        call("SaysText", text),
        call("digest", children),
        call("staticmethod", children),
        st.tuples(keys, children).map(lambda parts: f"module({{{parts[0]}: {parts[1]}}})"),
    )


flat_containers = st.one_of(
    st.lists(st.integers(-1000, 1000), max_size=5).map(lambda items: f"set({items})"),
    st.lists(st.integers(-1000, 1000), max_size=5).map(lambda items: f"frozenset({items})"),
    call("range", *[source(st.integers(-5, 5))] * 2),
    # Of what always digests: the reference starts again after a failure, with what is left.
    st.tuples(st.sampled_from(_ITERATORS), _items(ints | text | floats)).map(
        lambda parts: parts[0].replace("{}", parts[1])
    ),
    st.lists(st.integers(-1000, 1000), max_size=5).map(lambda items: f"array.array('q', {items})"),
    source(st.text("abc", max_size=5)).map(lambda inner: f"collections.Counter({inner})"),
)

values = st.recursive(leaves | flat_containers, containers, max_leaves=12)
