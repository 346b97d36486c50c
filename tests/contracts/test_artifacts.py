"""The committed artifacts are what the sources compile to, fit a chain's limits, and say all that users need."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import contracts
from contracts.addresses import COUNCIL, KEYS, LEDGER, REGISTRY, SIGNATURES, TOKEN, VERIFIER
from contracts.artifacts import DIRECTORY, VERSIONS, initcode, load, newest, place
from contracts.build import build, main
from contracts.errors import LengthError, UnknownContractError
from contracts.layout import slot

SOURCES = Path(contracts.__file__).parent
EIP_170_BYTES = 24_576
EIP_3860_BYTES = 2 * EIP_170_BYTES
ALL = [(name, version) for version, names in VERSIONS.items() for name in names]
LATER = [(name, version) for name, version in ALL if any(name in VERSIONS[older] for older in range(1, version))]


@pytest.mark.parametrize(("name", "version"), ALL)
def test_artifact_is_what_the_source_compiles_to(name: str, version: int) -> None:
    assert build(name, version) == (DIRECTORY / f"{place(name, version)}.json").read_text()


@pytest.mark.parametrize(("name", "version"), LATER)
def test_later_version_keeps_storage_and_everything_that_the_one_before_offers(name: str, version: int) -> None:
    older = load(name, max(known for known, names in VERSIONS.items() if name in names and known < version))
    later = load(name, version)
    assert {variable: later.layout[variable] for variable in older.layout} == older.layout
    assert {struct: later.structs[struct] for struct in older.structs} == older.structs
    assert [entry for entry in older.abi if entry not in later.abi] == []
    assert newest(name) >= version


def test_check_names_stale_artifacts_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    committed = {known: (DIRECTORY / f"{place(*known)}.json").read_text() for known in ALL}
    monkeypatch.setattr("contracts.build.build", lambda *known: committed[known])
    assert main(["--check"]) == 0
    monkeypatch.setattr("contracts.build.build", lambda *known: committed[known] + " " * (known[0] == "Token"))
    assert main(["--check"]) == 1
    assert capsys.readouterr().err == "stale artifacts: Token, v2/Token; run python -m contracts.build\n"
    assert (DIRECTORY / "Token.json").read_text() == committed["Token", 1]


def test_build_does_not_depend_on_the_working_directory(tmp_path: Path) -> None:
    code = "from contracts.build import build; import sys; sys.stdout.write(build('Token'))"
    command = [sys.executable, "-c", code]
    environment = {"PYTHONPATH": str(SOURCES.parent)}
    output = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True, text=True)  # noqa: S603 - our own interpreter
    assert output.stdout == (DIRECTORY / "Token.json").read_text()


@pytest.mark.parametrize(("name", "version"), ALL)
def test_contract_fits_the_size_limits_of_a_chain(name: str, version: int) -> None:
    artifact = load(name, version)
    assert len(artifact.deployed_bytecode) < EIP_170_BYTES
    arguments = {"Registry": 2, "Token": 1, "Ledger": 3, "Council": 1, "Vesting": 3}[name]
    assert len(initcode(name, *[bytes(20)] * arguments, version=version)) < EIP_3860_BYTES


def test_unknown_name_and_wrong_arguments_are_refused() -> None:
    with pytest.raises(UnknownContractError, match="no contract is called 'Bank'"):
        load("Bank")
    with pytest.raises(UnknownContractError, match="no contract is called 'v2/Registry'"):
        load("Registry", 2)
    with pytest.raises(LengthError, match="constructor of Ledger has 2 arguments, not 3"):
        initcode("Ledger", REGISTRY, TOKEN)
    with pytest.raises(LengthError, match="address for Token has 2 bytes, not 20"):
        initcode("Token", b"\x4d\x01")


def test_fixed_addresses_are_twenty_bytes_and_distinct() -> None:
    addresses = (REGISTRY, TOKEN, LEDGER, COUNCIL, VERIFIER, KEYS, SIGNATURES)
    assert {len(address) for address in addresses} == {20}
    numbers = [0x4D01, 0x4D02, 0x4D03, 0x4D04, 0x4D10, 0x4D11, 0x4D12]
    assert [int.from_bytes(address) for address in addresses] == numbers


def test_artifacts_name_no_path_of_the_machine_that_built_them() -> None:
    for known in ALL:
        text = (DIRECTORY / f"{place(*known)}.json").read_text()
        assert str(SOURCES.parent) not in text
        assert set(json.loads(text)) == {
            "abi", "bytecode", "compiler", "deployed_bytecode", "layout", "name", "source_sha256", "structs",
        }  # fmt: skip


def test_records_and_layouts_load_without_web3_eth_abi_or_vyper() -> None:
    code = (
        "import sys, contracts.records, contracts.layout, contracts.bindings; "
        "contracts.layout.slot('Ledger', '_jobs', 1, 'head'); "
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'web3', 'eth_abi', 'vyper', 'eth', 'boa'}))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)  # noqa: S603 - our own interpreter
    assert output.stdout.strip() == "[]"


def functions(text: str) -> list[tuple[str, list[str], bool, str]]:
    """Return name, parameters, whether something is returned, and docstring of every function in a Vyper source."""
    found = []
    pattern = re.compile(r"^def (\w+)\((.*?)\)( -> [^\n]+)?:\n    \"\"\"(.*?)\"\"\"", re.MULTILINE | re.DOTALL)
    for name, parameters, returns, doc in pattern.findall(text):
        names = re.findall(r"(\w+): ", parameters)
        found.append((name, names, bool(returns), doc))
    return found


@pytest.mark.parametrize("known", ALL)
def test_everything_has_natspec(known: tuple[str, int]) -> None:
    text = (SOURCES / f"{place(*known)}.vy").read_text()
    assert re.search(r'^"""\n@title .+\n@license Apache-2.0\n@notice ', text, re.MULTILINE)
    documented = functions(text)
    interfaces = len(re.findall(r"^    def ", text, re.MULTILINE))
    assert len(documented) == len(re.findall(r"\bdef ", text)) - interfaces, "a function has no docstring"
    for function, parameters, returns, doc in documented:
        assert "@notice" in doc or (function.startswith("_") and "@dev" in doc), function
        assert re.findall(r"@param (\w+) ", doc) == parameters, function
        assert ("@return" in doc) == returns, function


@pytest.mark.parametrize("known", ALL)
def test_every_storage_variable_says_why_it_is_there(known: tuple[str, int]) -> None:
    lines = (SOURCES / f"{place(*known)}.vy").read_text().splitlines()
    for variable in load(*known).layout:
        at = next(at for at, line in enumerate(lines) if re.match(rf"{variable}: ", line))
        assert lines[at - 1].startswith("# "), variable


def test_limits_of_the_python_side_are_those_of_the_contract() -> None:
    text = (SOURCES / "Ledger.vy").read_text()
    found = dict(re.findall(r"^(\w+): constant\(\w+\) = ([^#\n]+)", text, re.MULTILINE))
    constants = {name: int(value) for name, value in found.items() if re.fullmatch(r"\d+ *", value)}
    from contracts import digests, records  # noqa: PLC0415 - read beside the source that they mirror

    assert constants["BODY_BYTES"] == records.BODY_BYTES
    assert constants["ENTRY_HEAD_BYTES"] == records.ENTRY_HEAD_BYTES
    assert constants["HEADER_BYTES"] == records.UPDATE_HEADER_BYTES
    assert constants["MAX_ENTRIES"] == records.MAX_ENTRIES
    assert constants["ML_DSA_44_SIGNATURE_BYTES"] == records.SIGNATURE_BYTES[44]
    assert constants["ML_DSA_65_SIGNATURE_BYTES"] == records.SIGNATURE_BYTES[65]
    longest = records.ENTRY_HEAD_BYTES + max(records.SIGNATURE_BYTES.values())
    assert constants["MAX_BATCH_BYTES"] == records.MAX_ENTRIES * longest
    assert constants["CHUNK"] == digests.CHUNK
    assert constants["MAX_CHUNKS"] * digests.CHUNK == digests.MAX_PHI == constants["MAX_PHI"]
    assert constants["MAX_PARTS"] == digests.MAX_PARTS
    assert constants["MAX_EXCEPTIONS"] == digests.MAX_EXCEPTIONS


def test_reasons_of_the_codec_and_of_the_contract_have_the_same_words() -> None:
    from contracts.records import REASONS  # noqa: PLC0415 - read beside the source that it mirrors

    text = (SOURCES / "Ledger.vy").read_text()
    for number in range(2, 10):
        assert ast.literal_eval(f'"Ledger: {REASONS[number]}"') in text


def test_guide_states_the_sizes_and_the_slot_of_today() -> None:
    guide = (SOURCES / "README.md").read_text()
    for name, version in ALL:
        label = name if version == 1 else f"{name}, contracts version {version}"
        assert f"| {label} | {len(load(name, version).deployed_bytecode):,} |" in guide
    assert f"'{hex(slot('Ledger', '_jobs', 1, 'head'))}'" in guide
