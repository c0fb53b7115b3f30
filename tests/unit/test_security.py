"""`fleche.security`: keys in every form, signatures that hold or do not."""

import copy
import hashlib
import hmac
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleche.security import SignatureError, SignedBytes, get_secret_key, normalize_secret_key

payloads = st.binary(max_size=200).map(lambda start: start + b".")


class TestKeys:
    @pytest.mark.parametrize(
        ("given_key", "keys"),
        [
            (b"key", [b"key"]),
            ("00ff", [b"\x00\xff"]),
            ("00FF:ab", [b"\x00\xff", b"\xab"]),
            (["00ff", b"key"], [b"\x00\xff", b"key"]),
            (("00:ff",), [b"\x00", b"\xff"]),
            ([], []),
            ("ab:", [b"\xab"]),
        ],
    )
    def test_forms(self, given_key, keys):
        assert normalize_secret_key(given_key) == keys

    @pytest.mark.parametrize("wrong", [3, None, {"a"}, [3], object()])
    def test_other_types(self, wrong):
        with pytest.raises(TypeError, match="secret_key must be bytes, str, or sequence, got"):
            normalize_secret_key(wrong)

    @pytest.mark.parametrize("wrong", ["xyz", "abc", ["xyz"], "", ":", b"", [b""]])
    def test_what_is_no_key(self, wrong):
        with pytest.raises(ValueError, match=r"hex|empty"):
            normalize_secret_key(wrong)

    def test_from_the_environment(self, monkeypatch):
        monkeypatch.delenv("FLECHE_SECRET_KEY", raising=False)
        assert get_secret_key() == []
        monkeypatch.setenv("FLECHE_SECRET_KEY", "")
        assert get_secret_key() == []
        monkeypatch.setenv("FLECHE_SECRET_KEY", "00ff:ab")
        assert get_secret_key() == [b"\x00\xff", b"\xab"]
        monkeypatch.setenv("FLECHE_SECRET_KEY", "secret")
        with pytest.raises(ValueError, match="FLECHE_SECRET_KEY") as caught:
            get_secret_key()
        assert "secret" not in str(caught.value).replace("FLECHE_SECRET_KEY", "").replace(
            "secret key", ""
        )


class TestSignatures:
    @given(payloads, st.binary(min_size=1))
    def test_round_trip(self, payload, key):
        signed = SignedBytes([key])
        assert signed.loads(signed.dumps(payload)) == payload

    @given(payloads, st.binary(min_size=1))
    def test_as_hmac_of_the_standard_library(self, payload, key):
        signature = hmac.new(key, payload, hashlib.sha256).hexdigest()
        assert SignedBytes([key]).dumps(payload) == payload + signature.encode()

    def test_the_first_key_signs_and_any_verifies(self):
        old, new = SignedBytes([b"old"]), SignedBytes([b"new", b"old"])
        assert new.loads(old.dumps(b"data.")) == b"data."
        with pytest.raises(SignatureError):
            old.loads(new.dumps(b"data."))

    @given(payloads, st.data())
    def test_any_change_is_refused(self, payload, data):
        signed = SignedBytes([b"key"])
        content = bytearray(signed.dumps(payload))
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= data.draw(st.integers(1, 255))
        with pytest.raises(SignatureError):
            signed.loads(bytes(content))

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "No STOP opcode found"),
            (b"no stop", "No STOP opcode found"),
            (b"data.", "has no signature"),
            (b"data." + b"0" * 63, "has no signature"),
            (b"data." + b"0" * 64, "Invalid signature"),
        ],
    )
    def test_refusals_say_why_and_are_logged(self, content, reason, caplog):
        with pytest.raises(SignatureError, match=reason):
            SignedBytes([b"key"]).loads(content)
        [record] = caplog.records
        assert (record.name, record.levelname) == ("fleche.security", "ERROR")
        assert reason in record.getMessage()

    def test_without_keys(self):
        signed = SignedBytes([b"key"]).dumps(b"data.")
        for content in (b"", b"data.", signed):
            assert SignedBytes([]).dumps(content) == SignedBytes([]).loads(content) == content

    def test_keys_travel_and_do_not_show(self):
        signed = SignedBytes((b"secret",))
        assert "secret" not in repr(signed)
        for again in (pickle.loads(pickle.dumps(signed)), copy.deepcopy(signed)):
            assert again == signed
            assert again.loads(signed.dumps(b"data.")) == b"data."
