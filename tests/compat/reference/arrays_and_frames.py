"""Strategies for expressions that make numpy arrays and pandas frames."""

from __future__ import annotations

from expressions import Expressions, call, containers, floats, keys, leaves, source, text
from hypothesis import strategies as st

_DTYPES = [
    *("i1", "u1", "i2", "<i4", ">i4", "i8", "u8", "f2", "f4", ">f8", "f8", "g", "c8", "c16", "b1"),
    *("M8[D]", "M8[ns]", "m8[s]", "U3", ">U2", "S4", "V3", "V0", "U0"),
]
_FIELDS = [
    "[('a', 'i4'), ('b', 'f8')]",
    "[('a', 'i2', (2,)), ('b', [('c', 'U2'), ('d', '>i4')])]",
    "np.dtype([('a', 'i1'), ('b', 'f8')], align=True)",
]
_shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)
_data = source(st.binary(min_size=1, max_size=24))

_raw = st.tuples(st.sampled_from([repr(dtype) for dtype in _DTYPES] + _FIELDS), _data, _shapes).map(
    lambda parts: f"raw_array({parts[0]}, {parts[1]}, {parts[2]})"
)

_objects = st.lists(st.recursive(leaves, containers, max_leaves=3), min_size=4, max_size=4).flatmap(
    lambda items: st.sampled_from(["(4,)", "(2, 2)", "(1, 4)", "(4, 1)"]).map(
        lambda shape: f"object_array([{', '.join(items)}], {shape})"
    )
)
_views = st.sampled_from(
    [
        *("{}", "{}.T", "{}[...]", "np.asfortranarray({})", "{}.ravel()[::2]", "{}.ravel()[::-1]"),
        *("np.broadcast_to({}, (2, *{}.shape))", "{}.copy()", "{}.view(np.recarray)"),
    ]
)

arrays = st.one_of(
    st.tuples(_views, _raw | _objects).map(lambda parts: parts[0].replace("{}", parts[1])),
    call("np.array", source(st.integers(-5, 5) | st.booleans() | st.floats(0, 1))),
    st.tuples(st.lists(st.integers(-9, 9), min_size=4, max_size=4), st.integers(0, 15)).map(
        lambda parts: f"np.ma.array({parts[0]}, mask={[bool(parts[1] >> i & 1) for i in range(4)]})"
    ),
    st.lists(st.integers(-9, 9), min_size=4, max_size=4).map(
        lambda items: f"np.matrix([{items[:2]}, {items[2:]}])"
    ),
    st.just("np.ma.array([1, 'a'], mask=[0, 1], dtype=object)"),
    st.just("np.matrix([[1, 'a'], [None, 2.5]], dtype=object)"),
    st.lists(text, max_size=3).map(lambda items: f"np.array([{', '.join(items)}], dtype=str)"),
    st.just("np.arange(3).flat"),
)

ROWS = 3


def _rows(cells: Expressions) -> Expressions:
    return st.lists(cells, min_size=ROWS, max_size=ROWS).map(", ".join).map("[{}]".format)


_instants = source(st.integers(0, 2**60))
_columns = st.one_of(
    _rows(source(st.integers(-(2**63), 2**63 - 1))),
    _rows(floats),
    _rows(source(st.booleans())),
    _rows(text),
    _rows(text | st.just("None") | st.just("float('nan')")),
    _rows(st.recursive(leaves, containers, max_leaves=2)).map(lambda c: f"object_array({c}, (3,))"),
    _rows(source(st.integers(-5, 5)) | st.just("None")).map(
        lambda c: f"pd.array({c}, dtype='Int64')"
    ),
    _rows(st.sampled_from(["True", "False", "None"])).map(
        lambda c: f"pd.array({c}, dtype='boolean')"
    ),
    _rows(text | st.just("None")).map(lambda c: f"pd.Series({c}, dtype='string')"),
    _rows(source(st.integers(-5, 5))).map(lambda c: f"np.array({c}, dtype='f4')"),
    _rows(_instants).map(lambda c: f"pd.to_datetime({c}, utc=True)"),
    _rows(_instants).map(lambda c: f"pd.to_datetime({c}).tz_localize('Asia/Tokyo')"),
    _rows(_instants).map(lambda c: f"pd.to_timedelta({c})"),
    _rows(st.sampled_from(["'x'", "'y'", "None"])).map(lambda c: f"pd.Categorical({c})"),
    _rows(st.sampled_from(["1", "2", "None"])).map(lambda c: f"categories({c}, [1, 2, 'x'])"),
    _rows(st.sampled_from(["'x'", "None"])).map(lambda c: f"categories({c}, ['x', 'y'], True)"),
    _rows(st.sampled_from(["(1,)", "(2,)"])).map(lambda c: f"pd.Categorical({c})"),
    st.just("pd.period_range('2020', periods=3, freq='M')"),
    st.just("pd.interval_range(0, 3)"),
    st.just("pd.arrays.SparseArray([0, 1, 0])"),
    st.just("[object(), 1, 2]"),
    st.just("[1 + 2j, 3, 4]"),
)

_names = st.one_of(keys, source(st.integers(0, 3)), st.just("None"), st.just("('a', 1)"))
_indexes = st.one_of(
    st.just("None"),
    st.just("pd.RangeIndex(3, name='r')"),
    st.just("pd.RangeIndex(0, 6, 2)"),
    st.just("[0, 0, 1]"),
    st.tuples(_columns, _names).map(lambda parts: f"pd.Index({parts[0]}, name={parts[1]})"),
    st.tuples(_rows(keys), _rows(source(st.integers(0, 2))), _names).map(
        lambda parts: (
            f"pd.MultiIndex.from_arrays([{parts[0]}, {parts[1]}], names=['one', {parts[2]}])"
        )
    ),
    st.just("pd.date_range('2020', periods=3, tz='Europe/Berlin')"),
    st.just("pd.CategoricalIndex(['a', 'b', 'a'])"),
    st.just("categories([1, 'x', 1], [1, 'x'])"),
)


def _frame(parts: tuple[list[str], str, list[str]]) -> str:
    columns, index, labels = parts
    made = ", ".join(f"pd.Series({column})" for column in columns)
    frame = f"pd.concat([{made}], axis=1)" if columns else "pd.DataFrame(index=range(3))"
    labels = (labels * len(columns))[: len(columns)]
    return f"{frame}.set_axis([{', '.join(labels)}], axis=1).set_axis({index}, axis=0)".replace(
        ".set_axis(None, axis=0)", ""
    )


_labels = st.one_of(keys, source(st.integers(0, 3)), st.just("('a', 1)"), st.just("1.5"))

frames = st.one_of(
    st.tuples(
        st.lists(_columns, max_size=4), _indexes, st.lists(_labels, min_size=1, max_size=4)
    ).map(_frame),
    st.tuples(_columns, _indexes, _names).map(
        lambda parts: f"pd.Series({parts[0]}, name={parts[2]}).set_axis({parts[1]})".replace(
            ".set_axis(None)", ""
        )
    ),
    _indexes,
    st.tuples(_columns).map(lambda parts: f"pd.Index({parts[0]})"),
    st.sampled_from(
        [
            *(
                "pd.DataFrame()",
                "pd.Series(dtype=object)",
                "pd.DataFrame({'a': []})",
                "pd.Index([])",
            ),
            *("pd.DataFrame({'a': [1, 2]}).groupby('a')", "pd.array([1, 2])", "pd.Period('2020')"),
            *(
                "pd.Interval(0, 1)",
                "pd.CategoricalDtype()",
                "pd.DataFrame([[1, [2]]], columns=['a', 'a'])",
            ),
        ]
    ),
)
