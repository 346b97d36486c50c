"""The genesis document: one text per document, strict reading, one line per mistake."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from chain.crypto.schemes import Scheme, SigningKey
from chain.errors import GenesisError, VersionError
from chain.genesis import Genesis, Hex, MemberEntry, ValidatorEntry, Versions, decode_genesis, load_genesis
from tests.chain.ledger import EDGES, edge, genesis, key

VALIDATOR = ValidatorEntry(name="one", public_key=Hex(key("validator").public_key))


def test_a_document_comes_back_from_its_canonical_text() -> None:
    document = genesis(validators=(VALIDATOR,), balances={"0x" + "11" * 20: str(10**30)})
    assert decode_genesis(document.encode()) == document
    assert decode_genesis(document.encode()).encode() == document.encode()


def test_canonical_text_has_sorted_keys_and_no_spaces() -> None:
    text = genesis().encode()
    assert b" " not in text
    assert list(msgspec.json.decode(text)) == sorted(msgspec.json.decode(text))


def test_layout_does_not_matter_but_content_does() -> None:
    document = genesis()
    loose = msgspec.json.format(document.encode(), indent=4)
    assert decode_genesis(loose).digest() == document.digest()
    assert genesis(time=document.time + 1).digest() != document.digest()


def test_a_file_comes_back(tmp_path: Path) -> None:
    genesis().save(tmp_path / "genesis.json")
    assert load_genesis(tmp_path / "genesis.json") == genesis()
    with pytest.raises(GenesisError, match="name the genesis file"):
        load_genesis(tmp_path / "other.json")


MEMBER = MemberEntry(role=1, scheme=65, key=Hex(edge(1).public_key))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"gas_limit": 1_000_000}, "gas_limit: 1000000 is not within"),
        ({"governor": Hex(bytes(19))}, "governor: an address has 20 bytes"),
        ({"deployers": (Hex(b"x"),)}, "deployers"),
        ({"validators": (VALIDATOR, VALIDATOR)}, "public key stands twice"),
        ({"validators": (ValidatorEntry(name="a", public_key=Hex(bytes(1312))),)}, "1952 bytes"),
        ({"members": (MEMBER, MEMBER)}, "members: a key stands twice"),
        ({"members": (MemberEntry(role=1, scheme=44, key=MEMBER.key),)}, "member 1 has no key of scheme 44"),
        ({"members": (MemberEntry(role=1, scheme=7, key=MEMBER.key),)}, "schemes are 0, 44 and 65"),
        ({"members": (MemberEntry(role=1, scheme=0, key=MEMBER.key),)}, "no key of scheme 0"),
        ({"edge_sets": ((1, 1),)}, "set 1 is not a list of different edge servers"),
        ({"edge_sets": ((),)}, "set 1"),
        ({"edge_sets": ((EDGES + 1,),)}, "set 1"),
        ({"edge_sets": ((99,),)}, "set 1"),
        ({"balances": {"0x12": "1"}}, "balances: 0x12 is not a lower-case 0x-address"),
        ({"tokens": {"0x" + "11" * 20: "-1"}}, "expected a decimal number"),
        ({"tokens": {"0x" + "11" * 20: "01"}}, "expected a decimal number"),
        ({"tokens": {"0x" + "11" * 20: str(2**128)}}, "below 2\\^128"),
    ],
)
def test_each_mistake_is_named(changes: dict[str, Any], reason: str) -> None:
    values = {name: getattr(genesis(), name) for name in Genesis.__struct_fields__}
    with pytest.raises(GenesisError, match=reason):
        Genesis(**(values | changes)).check()


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (b'"time":', b'"tyme":', "tyme"),
        (b'"classical":false', b'"classical":0', "classical"),
        (b'"role":1', b'"role":5', "role"),
        (b'"governor":"0x', b'"governor":"0X', "hexadecimal"),
        (b'"name":"merit-4d45"', b'"name":"no spaces"', "name"),
        (b"{", b"", "genesis document"),
        (b"members", b"m\xe3mbers", "genesis document: .*utf-8"),
    ],
)
def test_a_malformed_text_is_refused_in_one_line(before: bytes, after: bytes, reason: str) -> None:
    text = genesis().encode()
    assert before in text
    with pytest.raises(GenesisError, match=reason) as caught:
        decode_genesis(text.replace(before, after, 1))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["execution", "contracts"])
def test_a_version_that_is_not_here_stops_with_a_clear_line(field: str) -> None:
    values = {name: getattr(genesis(), name) for name in Genesis.__struct_fields__}
    document = Genesis(**(values | {"versions": Versions(**{field: 9})}))
    with pytest.raises(VersionError, match=f"{field} version 9, this program has 1"):
        document.check()


def test_validators_sign_with_ml_dsa_65_only() -> None:
    small = SigningKey.from_seed(Scheme.ML_DSA_44, bytes(32))
    with pytest.raises(GenesisError, match="ML-DSA-65"):
        Genesis(
            time=0,
            governor=Hex(bytes(20)),
            validators=(ValidatorEntry(name="a", public_key=Hex(small.public_key)),),
        ).check()
