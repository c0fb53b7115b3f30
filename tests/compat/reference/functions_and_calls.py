"""Strategies for expressions that make functions, what holds functions, and call records."""

from __future__ import annotations

from expressions import Expressions, call, containers, digests, keys, leaves, source, text
from hypothesis import strategies as st

_values = st.recursive(leaves, containers, max_leaves=3)
_which = source(st.integers(0, 1))

_made = st.one_of(
    st.sampled_from(
        ["plain", "coroutine", "generator_function", "empty_cell()", "len", "int.__add__"]
    ),
    st.sampled_from(["WithDigest.who", "WithDigest.twice", "WithDigest.method", "Plain.__init__"]),
    call("defaults", _values),
    call("closure", _values, _values),
    call("everything", _values, _values, _values),
    call("recursive", _values),
    call("mutual", _values, _which),
    call("three", _values, source(st.integers(0, 2))),
    call("through_list", _values),
    call("answering", text | source(st.text("0123456789abcdef", min_size=64, max_size=64))),
    # Bodies of their own: constants, names, operators, nested functions.
    _values.map(lambda value: f"(lambda x, k={value}: (x, k))"),
    source(
        st.integers() | st.text("ab'\\\n", max_size=5) | st.floats(0, 9) | st.binary(max_size=3)
    ).map(lambda constant: f"(lambda x: x == {constant})"),
    keys.map(lambda name: f"(lambda self: self.{name[1:-1]} + len)"),
    st.sampled_from(
        [
            *("(lambda: (yield))", "(lambda *a, b=1, **c: (a, b, c))", "(lambda x, /, y: x @ y)"),
            *(
                "(lambda x: [y for y in x if y])",
                "(lambda x: f'{x!r:>{5}}')",
                "(lambda x: x in {1, 2})",
            ),
            *(
                "(lambda: (lambda: 1))",
                "(lambda x: x[1:2, ...])",
                "(lambda x: -x if x else (1, 2))",
            ),
        ]
    ),
)


def _holders(function: Expressions) -> Expressions:
    return st.one_of(
        call("wrapped", function),
        call("fleche", _made),
        call("closure", function, function),
        call("defaults", function),
        call("recursive", function),
        call("mutual", function, _which),
        call("staticmethod", function),
        call("classmethod", function),
        call("property", function, function),
        call("types.MethodType", function, _values),
        call("types.MethodType", function, st.sampled_from(["int", "Plain", "WithDigest"])),
        call("functools.partial", function),
        call("functools.lru_cache", function),
        call("Point", function),
        st.lists(function, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
    )


_methods = st.one_of(
    _values.map(lambda value: f"WithDigest({value}).method"),
    st.sampled_from(["WithDigest.of", "WithDigest(1).of", "WithDigest(1).who", "Plain().__init__"]),
    st.sampled_from(["'a'.join", "[].append", "dict.fromkeys"]),
)

_codes = st.sampled_from(["plain", "coroutine", "mutual(1, 0)", "(lambda x: x + 1)"]).map(
    lambda function: f"{function}.__code__"
)

functions = st.recursive(_made | _methods | _codes, _holders, max_leaves=3)

# A key is made of whole digests: ours refuses an argument whose digest is some other text.
_passed = _values.filter(
    lambda value: not value.startswith(("SaysText", "Digest", "D(", "digest("))
)

_arguments = st.dictionaries(keys, _passed, max_size=3).map(
    lambda items: "{" + ", ".join(f"{name}: {value}" for name, value in items.items()) + "}"
)
_optional_text = st.just("None") | text
_versions = st.one_of(_optional_text, source(st.integers(0, 9)))
_metadata = st.sampled_from(
    ["{}", "{'tags': {'a': 'b'}}", "{'runtime': {'timestart': 1.5, 'n': None}}"]
)

_records = st.tuples(
    text,
    _arguments,
    _metadata,
    _optional_text,
    _versions,
    st.just("None") | digests,
    st.just("None") | _passed,
).map(
    lambda p: (
        f"Call(name={p[0]}, arguments={p[1]}, metadata={p[2]}, module={p[3]}, version={p[4]}, "
        f"code_digest={p[5]}, result={p[6]})"
    )
)
_bound = st.one_of(
    call("Call.from_call", st.just("plain"), _passed, _passed, st.just("k=1")),
    call("Call.from_call", st.just("defaults(1)"), _passed, _passed.map("z={}".format)),
    call("Call.from_call", st.just("everything(1, 2, 3)"), _passed),
    call("Call.from_call", st.just("WithDigest(1).method"), _passed),
)
# Of a function of its own each time: `version=` is remembered on the function.
_decorated = st.tuples(
    st.sampled_from(["", "version=3, ", "hash_code=True, ", "hash_module=False, ", "ignore='x', "]),
    _passed,
    _passed,
).map(lambda parts: f"fleche({parts[0]}meta=())(defaults({parts[1]})).digest({parts[2]}, 2)")

calls = (
    st.tuples(
        _records | _bound,
        st.sampled_from(["{}", "{}.to_lookup_key()", "{}.digest()", "{}.digest().to_lookup_key()"]),
    ).map(lambda parts: parts[1].replace("{}", parts[0]))
    | _decorated
)
