"""Configuration files: what is wrong is named in one line, whatever a stranger writes."""

import contextlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.configuration import MAX_DOTS_PER_LINE, MAX_TOML_BYTES, read_toml
from node.errors import ConfigError
from node.jobs import AllocationSpec, JobFile, ModelSpec, VestingSpec, decode_job_file
from node.run.config import allocation_of, override, preset, vesting_of

JOB = JobFile(title="t", model=ModelSpec(name="softmax", features=2, classes=2, dimension=6))


def refusal(text: bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        decode_job_file(text)
    message = str(caught.value)
    assert "\n" not in message
    return message


def changed(old: str, new: str) -> bytes:
    text = JOB.encode().decode()
    assert old in text
    return text.replace(old, new).encode()


def test_a_job_file_decodes_to_what_was_encoded() -> None:
    assert decode_job_file(JOB.encode()) == JOB
    assert decode_job_file(JOB.encode().replace(b"\n", b"\r\n")) == JOB


@pytest.mark.parametrize(
    ("old", "new", "nearest"),
    [
        ("title", "titel", "title"),
        ("dimension", "dimensions", "model.dimension"),
        ("max_wait", "maxwait", "round.max_wait"),
        ("records_per_base", "record_per_bases", "round.records_per_base"),
        ("[rules]", "[rule]", "rules"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_valid_one(old: str, new: str, nearest: str) -> None:
    message = refusal(changed(old, new))
    assert "unknown key" in message
    assert message.endswith(f"the nearest valid one is {nearest}")


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "0.0", "-1.0", '"64"'])
def test_a_norm_bound_that_is_no_positive_number_is_refused_with_its_place(number: str) -> None:
    assert "numerics.norm_bound" in refusal(changed("norm_bound = 64.0", f"norm_bound = {number}"))


@pytest.mark.parametrize("number", ["nan", "inf", "0"])
def test_a_learning_rate_that_is_no_positive_number_is_refused_with_its_place(number: str) -> None:
    assert "training.learning_rate" in refusal(changed("learning_rate = 0.01", f"learning_rate = {number}"))


@pytest.mark.parametrize("opening", [b"x = " + b"[" * 100_000, b"x = " + b"{a=" * 100_000])
def test_a_file_nested_without_end_is_refused_in_one_line(opening: bytes) -> None:
    assert "nested too deeply" in refusal(opening)


def test_a_key_of_very_many_parts_is_refused_before_it_is_parsed() -> None:
    assert "dots in line 2" in refusal(b"\n" + b"a." * 100_000 + b"b = 1")
    assert "dots in line 1" in refusal(b"a." * (MAX_DOTS_PER_LINE + 1) + b"b = 1")
    assert "dots" not in refusal(b"a." * MAX_DOTS_PER_LINE + b"b = 1")


def test_a_file_beyond_the_limit_is_refused_by_its_size() -> None:
    padded = JOB.encode() + b"#" * (MAX_TOML_BYTES - len(JOB.encode()))
    assert decode_job_file(padded) == JOB
    assert f"{MAX_TOML_BYTES + 1} bytes" in refusal(padded + b"#")


@given(st.binary(max_size=200), st.integers(0, len(JOB.encode())), st.integers(0, 40))
def test_whatever_stands_in_a_job_file_it_decodes_or_is_refused(noise: bytes, at: int, gone: int) -> None:
    text = JOB.encode()
    with contextlib.suppress(ConfigError):
        assert isinstance(decode_job_file(text[:at] + noise + text[at + gone :]), JobFile)


def test_a_missing_file_and_one_that_is_no_text_are_named(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    with pytest.raises(ConfigError, match=r"run\.toml: no such file"):
        read_toml(path)
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"run\.toml: 'utf-8' codec"):
        read_toml(path)


def test_a_run_allocates_nothing_unless_told_and_then_within_the_clients_interval() -> None:
    plain = preset("digits")
    assert allocation_of(plain) is None
    told = override(plain, {"allocation.rule": "exact"})
    assert allocation_of(told) == AllocationSpec(rule="exact", cycle_us=4_000_000, most_samples=80)
    other = override(told, {"allocation.cycle": 2.5, "allocation.most_samples": 50})
    assert allocation_of(other) == AllocationSpec(rule="exact", cycle_us=2_500_000, most_samples=50)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"allocation.rule": "fastest"}, "flags"),
        ({"allocation.most_samples": 5}, "samples is 20: choose 1 to 5"),
        ({"allocation.most_epochs": 70_000}, "most_epochs is 70000: choose 1 to 65535"),
        ({"clients.interval": 0.0}, "allocation.cycle is 0"),
        ({"rules.version": 2}, "allocation rule"),
    ],
)
def test_an_allocation_that_cannot_be_is_refused_with_the_reason(changes: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        override(preset("digits"), {"allocation.rule": "exact"} | changes)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"vesting.rounds": -1}, "vesting.rounds"),
        ({"vesting.rounds": 1025}, "vesting.rounds"),
        ({"clients.label_flippers": 21}, "label_flippers is 21, but there are only 20 clients"),
    ],
)
def test_a_run_that_cannot_be_is_refused_with_the_reason(changes: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        override(preset("digits"), changes)


def test_pay_vests_where_it_is_asked_for_and_other_job_files_say_nothing_of_it() -> None:
    assert vesting_of(preset("digits")) is None
    assert b"vesting" not in JOB.encode()
    spec = vesting_of(override(preset("digits"), {"vesting.rounds": 7}))
    assert spec == VestingSpec(rounds=7)
    file = msgspec.structs.replace(JOB, vesting=spec)
    assert decode_job_file(file.encode()) == file
    assert (file.vests, JOB.vests) == (7, 0)


def test_a_job_file_with_an_allocation_decodes_to_what_was_encoded() -> None:
    spec = AllocationSpec(rule="equal", cycle_us=1, least_samples=2, most_samples=40, most_epochs=9)
    file = JobFile(title="t", model=ModelSpec(name="softmax", features=2, classes=2, dimension=6), allocation=spec)
    assert decode_job_file(file.encode()) == file
