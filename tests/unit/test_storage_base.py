"""`fleche.storage.base`, `thread_safe` and `void`: what a user-written storage is made of."""

import contextlib
import copy
import pickle
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleche.digest import Digest, digest
from fleche.storage import (
    AmbiguousDigestError,
    CallMixin,
    CallVoid,
    Intent,
    PerKeyLockMixin,
    SaveError,
    SerializingMixin,
    StorageBackend,
    ValueMixin,
    ValueVoid,
    get_storage_constructor,
    is_registered_storage,
    register_storage,
)


class DictBackend(StorageBackend):
    def __init__(self):
        self.objects = {}

    def put(self, value, key):
        self.objects[key] = value
        return key

    def get(self, key):
        return self.objects[key]

    def _evict(self, key):
        del self.objects[key]

    def list(self):
        return self.objects.keys()


class Values(DictBackend, ValueMixin):
    pass


class Calls(DictBackend, CallMixin):
    pass


class Record:
    """What a call storage needs of a record."""

    def __init__(self, name, key):
        self.name = name
        self.key = key

    def to_lookup_key(self):
        return self.key


class Named:
    def __init__(self, name):
        self.name = name

    def matches(self, record):
        return record.name == self.name


def key(start):
    return Digest(f"{start:0<64}")


def storage_of(*starts):
    storage = Values()
    for start in starts:
        storage.save(start, key(start))
    return storage


class TestKeys:
    def test_saving_gives_the_digest(self):
        storage = Values()
        saved = storage.save([1, 2])
        assert saved == digest([1, 2])
        assert type(saved) is Digest
        assert storage.load(saved) == [1, 2]
        assert storage.save(3, key("ab")) == key("ab")

    def test_every_method_takes_a_prefix(self):
        storage = storage_of("abcd1", "abcd2", "ffff")
        assert storage.load("abcd1") == "abcd1"
        assert storage.contains("abcd2")
        assert storage.expand("ffff") == key("ffff")
        assert type(storage.expand("ffff")) is Digest
        assert storage.shrink("abcd10") == "abcd1"
        storage.evict("abcd1")
        assert storage.load("abcd") == "abcd2"

    @pytest.mark.parametrize("prefix", ["", "abc", "dead", "ABCD"])
    def test_unknown_and_short_prefixes_are_missing(self, prefix):
        storage = storage_of("abcd1")
        assert not storage.contains(prefix)
        for method in (storage.load, storage.expand, storage.shrink, storage.evict):
            with pytest.raises(KeyError) as caught:
                method(prefix)
            assert caught.value.args == (prefix,)

    def test_an_ambiguous_prefix_says_how_many_characters_are_needed(self):
        storage = storage_of("abcd1", "abcd2")
        for method in (
            storage.load,
            storage.expand,
            storage.shrink,
            storage.evict,
            storage.contains,
        ):
            with pytest.raises(AmbiguousDigestError, match="need at least 5 characters"):
                method("abcd")
        assert issubclass(AmbiguousDigestError, ValueError)

    def test_full_keys_come_back_unchecked(self):
        assert Values().expand("f" * 64) == "f" * 64
        assert type(Values().expand("f" * 64)) is Digest

    def test_missing_full_keys(self):
        storage = Values()
        with pytest.raises(KeyError):
            storage.load(key("ab"))
        storage.evict(key("ab"))
        assert not storage.contains(key("ab"))

    def test_a_key_is_a_string(self):
        with pytest.raises(TypeError):
            Values().load(3)

    def test_shrinking_one_several_and_none(self):
        storage = storage_of("abcd1", "abcd200", "abcd2011")
        assert storage.shrink(key("abcd1")) == "abcd1"
        short = storage.shrink(key("abcd1"), key("abcd200"), key("abcd2011"))
        assert short == ("abcd1", "abcd200", "abcd201")
        with pytest.raises(TypeError, match="at least one key"):
            storage.shrink()

    def test_shrinking_several_lists_once(self):
        storage = storage_of("abcd1", "abcd200", "ffff")
        listed = []
        storage.list = lambda: listed.append(1) or storage.objects.keys()
        storage.shrink(*storage.objects)
        assert len(listed) == 1

    @given(st.sets(st.text("ab", min_size=6, max_size=6), min_size=1, max_size=12))
    def test_what_is_shrunk_expands_again(self, names):
        storage = Values()
        for name in names:
            storage.save(name, key(name))
        for full in list(storage.list()):
            assert storage.expand(storage.shrink(full)) == full

    def test_a_storage_may_find_candidates_itself(self):
        class Indexed(Values):
            def _prefix_candidates(self, prefix):
                return [key("abcd1")]

        assert Indexed().expand("abcd") == key("abcd1")


class TestInterfaces:
    def test_missing_methods_are_refused_at_construction(self):
        class Half(StorageBackend):
            def put(self, value, key):
                return key

        with pytest.raises(TypeError, match="abstract"):
            Half()

        class Storage(Half, ValueMixin):
            pass

        with pytest.raises(TypeError, match="_evict"):
            Storage()

    def test_errors_pickle(self):
        for error in (SaveError("why"), AmbiguousDigestError("which")):
            again = pickle.loads(pickle.dumps(error))
            assert type(again) is type(error)
            assert again.args == error.args

    def test_operations_run_in_their_context(self):
        seen = []

        class Watched(Values):
            @contextlib.contextmanager
            def _operation_context(self, key, *, intent=Intent.WRITE):
                with super()._operation_context(key, intent=intent):
                    seen.append((key, intent))
                    yield

        storage = Watched()
        full = storage.save(1)
        storage.load(full)
        storage.contains(full)
        storage.expand(full[:6])
        storage.evict(full)
        assert seen == [
            (full, "write"),
            (full, "read"),
            (full, "read"),
            (full[:6], "read"),
            (full, "write"),
        ]

    def test_registering(self):
        @register_storage("test-registered", "value")
        class Registered(Values):
            pass

        class Derived(Registered):
            pass

        @register_storage("test-factory", "call", factory=lambda: "made")
        class Other(Calls):
            pass

        assert get_storage_constructor("test-registered", "value") is Registered
        assert get_storage_constructor("test-registered", "call") is None
        assert get_storage_constructor("test-factory", "call")() == "made"
        assert is_registered_storage(Registered)
        assert is_registered_storage(Other)
        assert not is_registered_storage(Derived)
        assert get_storage_constructor("void", "value") is ValueVoid


class TestCalls:
    def test_saving_replaces(self):
        calls = Calls()
        calls.save(Record("old", key("aaaa")))
        assert calls.save(Record("new", key("aaaa"))) == key("aaaa")
        assert calls.load("aaaa").name == "new"

    def test_querying_skips_what_does_not_load(self, caplog):
        calls = Calls()
        calls.save(Record("f", key("aaaa")))
        calls.save(Record("g", key("bbbb")))
        calls.put("no record", key("cccc"))
        assert [record.key for record in calls.query(Named("g"))] == [key("bbbb")]
        assert key("cccc") in caplog.text
        with pytest.raises(KeyError):
            calls.load(key("cccc"))

    def test_transforming_files_changed_records_anew(self):
        calls = Calls()
        for start in ("aaaa", "bbbb"):
            calls.save(Record(start, key(start)))

        def change(record):
            at = key("cccc") if record.name == "aaaa" else record.key
            return Record(record.name.upper(), at)

        calls.transform(change)
        assert {full: record.name for full, record in calls.objects.items()} == {
            key("bbbb"): "BBBB",
            key("cccc"): "AAAA",
        }

    def test_a_transformed_record_is_there_at_any_time(self):
        class Watched(Calls):
            def _evict(self, old):
                assert any(record.name == "moved" for record in self.objects.values())
                super()._evict(old)

        calls = Watched()
        calls.save(Record("f", key("aaaa")))
        calls.transform(lambda record: Record("moved", key("bbbb")))
        assert list(calls.list()) == [key("bbbb")]

    def test_transforming_without_a_function_corrects_keys(self):
        calls = Calls()
        calls.put(Record("f", key("aaaa")), key("ffff"))
        calls.transform()
        assert list(calls.list()) == [key("aaaa")]


class TestThreadSafety:
    def test_one_lock_a_key_that_does_not_stay(self):
        class Locked(PerKeyLockMixin, Values):
            pass

        storage = Locked()
        taken = []

        def take(name, lock):
            with lock:
                taken.append(name)

        def threaded(name, lock):
            thread = threading.Thread(target=take, args=(name, lock))
            thread.start()
            return thread

        with storage._get_key_lock("a"):
            waiting = threaded("the same", storage._get_key_lock("a"))
            threaded("another key", storage._get_key_lock("b")).join()
            threaded("another storage", Locked()._get_key_lock("a")).join()
            for number in range(100):
                storage.save(number)
            assert len(storage._key_locks) == 1
            assert taken == ["another key", "another storage"]
        waiting.join()
        assert taken[2:] == ["the same"]
        assert len(storage._key_locks) == 0
        with pytest.raises(RuntimeError, match="cannot release"):
            storage._get_key_lock("a").release()

    @pytest.mark.parametrize("mixin", [PerKeyLockMixin, SerializingMixin])
    def test_operations_exclude_each_other(self, mixin):
        inside = []

        class Slow(DictBackend):
            def put(self, value, key):
                inside.append(value)
                assert len(inside) == 1
                for _ in range(1000):
                    pass
                inside.remove(value)
                return super().put(value, key)

        class Locked(mixin, Slow, ValueMixin):
            def __init__(self):
                if mixin is SerializingMixin:
                    SerializingMixin.__init__(self)
                object.__setattr__(self, "objects", {})

        storage = Locked()

        def work(number):
            for _ in range(50):
                storage.save(number, key("aaaa"))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not inside
        assert storage.contains("aaaa")

    def test_a_thread_may_take_its_lock_again(self):
        class Locked(PerKeyLockMixin, Values):
            pass

        storage = Locked()
        with storage._operation_context(key("aaaa")):
            storage.save(1, key("aaaa"))
        assert storage.load("aaaa") == 1

    def test_locks_travel_free(self):
        lock = SerializingMixin()
        with lock._operation_context("k"):
            for again in (pickle.loads(pickle.dumps(lock)), copy.deepcopy(lock)):
                taken = threading.Thread(target=again._lock._lock.acquire)
                taken.start()
                taken.join(10)
                assert not taken.is_alive()


class TestVoid:
    def test_nothing_is_kept(self):
        values = ValueVoid()
        saved = values.save([1])
        assert saved == digest([1])
        assert list(values.list()) == []
        assert not values.contains(saved)
        values.evict(saved)
        with pytest.raises(KeyError):
            values.load(saved)
        calls = CallVoid()
        assert calls.save(Record("f", key("aaaa"))) == key("aaaa")
        assert list(calls.query(Named("f"))) == []
        calls.transform()

    def test_equal_hashable_picklable_configured(self):
        for made in (ValueVoid(), CallVoid()):
            assert made == type(made)()
            assert hash(made) == hash(type(made)())
            assert pickle.loads(pickle.dumps(made)) == made
            assert repr(made) == f"{type(made).__name__}()"
            assert made.to_config() == {"type": "void"}
