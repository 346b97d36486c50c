"""Evidence is believed only if it proves a fault by this chain's own validators, times and headers."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from chain import light
from chain.light import errors
from tests.chain.light.test_comet_vectors import CHAIN_ID, VECTORS, header, validators

BLOCKS, NIL, ATTACK = (light.decode_evidence(bytes.fromhex(raw)) for raw in VECTORS["evidence"]["evidence"])
assert isinstance(BLOCKS, light.DuplicateVote)
assert isinstance(NIL, light.DuplicateVote)
assert isinstance(ATTACK, light.LightClientAttack)
AGE = light.EvidenceAge(heights=100, nanoseconds=10**9)
LAST = light.Height(9)


@dataclass
class Chain:
    """What the chain of a test was like."""

    moment: light.Timestamp
    members: light.ValidatorSet
    hash: bytes = bytes(32)

    def validators(self, _: int) -> light.ValidatorSet:
        return self.members

    def time(self, _: int) -> light.Timestamp:
        return self.moment

    def header_hash(self, _: int) -> bytes:
        return self.hash


def judge(evidence: light.Evidence, *, height: int = LAST, later_ns: int = 5, **chain: Any) -> None:
    """Verify evidence in the block after `height`, in a chain that has its time and its validators."""
    past = Chain(**({"moment": evidence.timestamp, "members": validators()} | chain))
    time = light.Timestamp.from_ns(evidence.timestamp.to_ns() + later_ns)
    last = replace(header(VECTORS["headers"][0]), height=light.Height(height), time=time)
    light.verify_evidence(evidence, last, past, CHAIN_ID, AGE)


@pytest.mark.parametrize("evidence", [BLOCKS, NIL, ATTACK], ids=["two blocks", "nil and a block", "attack"])
def test_what_comet_made_proves_a_fault(evidence: light.Evidence) -> None:
    judge(evidence)


@pytest.mark.parametrize("evidence", [BLOCKS, ATTACK])
def test_evidence_is_judged_by_this_chain(evidence: light.Evidence) -> None:
    fewer = light.ValidatorSet(validators().validators[:1])
    for what, wrong in (
        ("time", {"moment": light.Timestamp(5)}),
        ("total power", {"members": fewer}),
        ("height of the fault", {"height": 1}),
        ("age", {"height": 500, "later_ns": 2 * 10**9}),
    ):
        with pytest.raises(errors.EvidenceError) as caught:
            judge(evidence, **wrong)
        assert caught.value.what == what


def test_evidence_is_too_old_only_when_both_bounds_are_passed() -> None:
    judge(BLOCKS, height=500)
    judge(BLOCKS, later_ns=2 * 10**9)


def test_a_header_of_this_chain_is_no_attack() -> None:
    with pytest.raises(errors.EvidenceError, match="false header"):
        judge(ATTACK, hash=light.header_hash(ATTACK.header))


SLOTS = ATTACK.commit.signatures
SILENT = next(one for one, slot in zip(ATTACK.validators, SLOTS, strict=True) if slot.flag == light.BlockIdFlag.ABSENT)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"byzantine": (SILENT,)}, "accused validators"),
        ({"byzantine": (replace(ATTACK.byzantine[0], power=29),)}, "power of"),
        ({"byzantine": (replace(ATTACK.byzantine[0], address=bytes(20)),)}, "address of an accused validator"),
        ({"header": replace(ATTACK.header, app_hash=b"x")}, "block of its commit"),
        ({"header": replace(ATTACK.header, chain_id="another")}, "chain of the false header"),
        ({"validators": ATTACK.validators[:3]}, "validators of the false header"),
        (
            {"commit": replace(ATTACK.commit, signatures=(light.ABSENT, *SLOTS[1:]))},
            "signers",
        ),
        (
            {"commit": replace(ATTACK.commit, signatures=(SLOTS[1], SLOTS[0], *SLOTS[2:]))},
            "signer in slot 0",
        ),
        ({"commit": replace(ATTACK.commit, round=3)}, "slot 0"),
    ],
)
def test_an_attack_must_be_certified_and_signed_by_whom_it_accuses(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(errors.EvidenceError) as caught:
        judge(replace(ATTACK, **changes))
    assert caught.value.what.startswith(what)


def test_validators_change_as_comet_changes_them() -> None:
    first, second, *others = validators()
    added = bytes(1952)
    changed = validators().updated([(first.public_key, 0), (second.public_key, 90), (added, 1)])
    assert changed.validators[0] == light.Validator(second.public_key, 90)
    assert changed.validators[-1] == light.Validator(added, 1)
    assert set(changed) == {light.Validator(second.public_key, 90), *others, light.Validator(added, 1)}
    with pytest.raises(errors.InvalidValidatorSetError, match="not in it"):
        validators().updated([(added, 0)])
    with pytest.raises(errors.InvalidValidatorSetError, match="empty"):
        validators().updated([(one.public_key, 0) for one in validators()])
