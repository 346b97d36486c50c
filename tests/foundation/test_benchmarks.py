"""The benchmarks of the repository run and name what they measured; no test looks at a time."""

from functools import cache
from pathlib import Path

import pytest

from chain.crypto.addresses import Address
from chain.crypto.schemes import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, Scheme, backends, verifying_backend
from chain.execution import evm, records
from chain.execution.evm import MeritComputation, MeritState
from contracts.addresses import VERIFIER
from learner.simulation.scenario import IID, Asynchronous, Scenario, Training
from node.cli.bench import benchmarks
from node.errors import ConfigError
from tests.benchmarks import allocation, audit, consensus, execution, peers, rpc, signatures, snapshots
from tests.conftest import ROOT

SIGNATURES = ("ML-DSA-44", "ML-DSA-65", "RSA-2048 PSS", "RSA-3072 PSS", "Ed25519", "ECDSA secp256k1", "Falcon-512")


@cache
def signature_rows() -> list[dict[str, object]]:
    return signatures.run(rounds=1)


def test_bench_finds_the_benchmarks_and_not_what_they_share() -> None:
    assert {
        "allocation",
        "audit",
        "consensus",
        "execution",
        "gram",
        "peers",
        "signatures",
        "simulation",
        "snapshots",
    } <= set(benchmarks())
    assert not any(name.startswith("_") for name in benchmarks())


def test_every_scheme_has_a_row_with_the_same_columns() -> None:
    rows = signature_rows()
    assert {row["scheme"] for row in rows} == set(SIGNATURES)
    assert {tuple(row) for row in rows} == {tuple(rows[0])}


def test_every_backend_of_ours_is_measured_at_both_levels_with_the_sizes_of_fips_204() -> None:
    measured = {(row["scheme"], row["library"]): row for row in signature_rows()}
    for scheme in Scheme:
        for backend in backends():
            row = measured[scheme.name.replace("_", "-"), backend.name]
            assert row["public_key_bytes"] == PUBLIC_KEY_BYTES[scheme]
            assert row["signature_bytes"] == SIGNATURE_BYTES[scheme]


def test_ratios_are_to_the_backends_that_sign_and_verify_here() -> None:
    ours = {row["library"]: row for row in signature_rows() if row["scheme"] == "ML-DSA-44"}
    assert ours[backends()[0].name]["sign_ratio"] == 1.0
    assert ours[verifying_backend().name]["verify_ratio"] == 1.0


def test_a_signatures_share_of_a_round_is_of_the_training_beside_it(tmp_path: Path) -> None:
    rows = [row for row in signature_rows() if row["sign_us"] is not None]
    for row in rows:
        shares = [float(str(row[f"percent_of_{name}"])) for name in signatures.ROUNDS_OF_CLIENTS]
        assert all(0 <= share < 100 for share in shares)
        spent = float(str(row["sign_us"])) + float(str(row["verify_us"]))
        assert float(str(row["energy_mj"])) == pytest.approx(spent * signatures.WATTS / 1000, abs=0.002)
    signatures.draw(rows, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_without_liboqs_its_rows_name_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signatures, "liboqs_library", lambda: None)
    monkeypatch.setattr(signatures, "backends", lambda: backends()[-1:])
    monkeypatch.setattr(signatures, "verifying_backend", lambda: backends()[-1])
    rows = signatures.run(rounds=1)
    missing = [row for row in rows if row["sign_us"] is None]
    assert [row["scheme"] for row in missing] == ["ML-DSA-44", "ML-DSA-65", "Falcon-512"]
    assert all("scripts/install-liboqs" in str(row["library"]) for row in missing)
    assert {tuple(row) for row in rows} == {tuple(rows[0])}


def test_verification_that_accepts_anything_is_not_timed() -> None:
    careless = signatures.Contestant("none", "none", "none", 0, bytes, lambda message: message, lambda *_: True)
    with pytest.raises(RuntimeError, match="right from wrong"):
        signatures._checked(careless)  # noqa: SLF001 - the guard itself


@pytest.fixture
def few_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "RECORDS", 4)
    monkeypatch.setattr(execution, "BATCHES", (1, 4))


@pytest.mark.usefixtures("few_records")
def test_steps_of_execution_make_up_the_whole_for_every_batch_and_path() -> None:
    rows = execution.run(rounds=1)
    cases = [f"{batch} {path}" for batch in (1, 4) for path in execution.PATHS]
    assert all(list(row) == ["measure", *cases] for row in rows)
    shares = [row for row in rows if str(row["measure"]).startswith("% ")]
    assert len(shares) == len(execution.STEPS) + 1
    for case in cases:
        assert sum(float(str(row[case])) for row in shares) == pytest.approx(100, abs=1)
    named = {row["measure"]: row for row in rows}
    assert named["% transaction's signature"]["1 checked"] == 0  # remembered since check_tx
    assert all(float(str(named[f"% {step}"]["4 new"])) > 0 for step in execution.STEPS)
    for case in cases:  # ours beside py-evm's, of the same heights
        ours, stock = (float(str(named[f"records per second{by}"][case])) for by in ("", ", py-evm"))
        assert float(str(named["times as fast"][case])) == pytest.approx(ours / stock, rel=0.1)


@pytest.mark.usefixtures("few_records")
def test_timers_are_gone_after_the_benchmark() -> None:
    before = (records._signature_holds, MeritComputation.get_precompiles()[Address(VERIFIER)])  # noqa: SLF001
    execution.run(rounds=1)
    assert before == (records._signature_holds, MeritComputation.get_precompiles()[Address(VERIFIER)])  # noqa: SLF001
    assert "persist" not in vars(MeritState)
    assert evm.MeritState is MeritState


@pytest.mark.usefixtures("few_records")
def test_records_that_the_ledger_refuses_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "BUDGET", execution.BASE_REWARD)  # pays for one round of three
    with pytest.raises(RuntimeError, match="records were taken"):
        execution.run(rounds=1)


@pytest.mark.usefixtures("few_records")
def test_snapshots_are_taken_and_restored_and_named_with_their_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "RECORDS", 8)
    monkeypatch.setattr(snapshots, "BATCH", 4)
    monkeypatch.setattr(snapshots, "HEIGHTS", 2)
    rows = snapshots.run(rounds=1)
    assert all(list(row) == ["measure", "value", "unit"] for row in rows)
    found = {(row["measure"], row["unit"]): float(str(row["value"])) for row in rows}
    assert found["snapshot", "chunks"] == 1
    assert found["snapshot", "MB"] > 0
    assert found["nodes of the newest state", "nodes"] < found["nodes of all states in the store", "nodes"]
    assert {measure for measure, unit in found if unit == "MB/s"} == {"taking", "restoring", "executing"}


def test_allocation_is_measured_beside_its_peers_and_is_never_staler() -> None:
    rows = allocation.run(sizes=(5,), seconds=20.0)
    assert {row["kind"] for row in rows} == set(allocation.SAMPLES)
    assert {tuple(row) for row in rows} == {tuple(rows[0])}
    for row in rows:
        theirs = [row[f"{name}_staleness"] for name in allocation.PEERS]
        assert all(int(str(row["staleness"])) <= int(str(found)) for found in theirs if found is not None)
        assert (row["times_as_fast"] is None) == (theirs == [None] * len(theirs))


def test_consensus_is_measured_for_each_number_of_validators_and_breaks_no_rule() -> None:
    rows = consensus.run({4: 2, 5: 1})
    assert [(row["validators"], row["runs"], row["broken"]) for row in rows] == [(4, 2, 0), (5, 1, 0)]
    assert all(isinstance(row["events_per_seed"], float) and row["events_per_seed"] > 100 for row in rows)


@pytest.mark.slow
def test_audits_are_measured_by_rounds_and_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "JOBS", (2,))
    rows = audit.run(4, parameters=100)
    assert [(row["rounds"], row["jobs"]) for row in rows] == [(1, 2), (2, 2), (4, 2)]
    assert all(float(str(row["cpu_s"])) > 0 and float(str(row["memory_mb"])) > 0 for row in rows)


def test_a_history_that_does_not_fit_on_the_disk_is_not_begun() -> None:
    with pytest.raises(ConfigError, match="are free"):
        audit.run(10**9)


@pytest.fixture
def everybody_in_one_step() -> peers.Federation:
    """Six clients, all in every round, a single step of each on all of its samples: nothing is left to chance."""
    scenario = Scenario(
        model="softmax",
        clients=6,
        partition=IID(),
        server=Asynchronous(phi=6, concurrency=6),
        training=Training(batch_size=10_000, learning_rate=0.5),
        evaluate_every=1,
    )
    return peers.Federation(scenario, updates=30, seeds=2)


def test_without_flgo_a_row_names_what_brings_it_and_ours_are_measured(
    monkeypatch: pytest.MonkeyPatch, everybody_in_one_step: peers.Federation
) -> None:
    monkeypatch.setattr(peers, "peers_python", lambda: None)
    missing, *ours = peers.run([everybody_in_one_step])
    assert missing["algorithm"] == "skipped: scripts/install-peers brings it"
    assert [row["algorithm"] for row in ours] == list(peers.OURS)
    for row in ours:
        assert list(row) == list(missing)
        assert (row["system"], row["runs"], row["updates"], row["times_flgo"]) == ("Merit", 2, 30, None)
        assert float(str(row["per_second"])) > 0


def test_run_that_never_reaches_an_accuracy_counts_as_the_longest() -> None:
    early, late, never = (
        peers.Found(1, 1.0, curve) for curve in ([(2.0, 0.9)], [(2.0, 0.1), (7.0, 0.9)], [(2.0, 0.8)])
    )
    assert peers.median_time([never, late, early], 0.9) == 7.0
    assert peers.median_time([never, never, early], 0.9) is None


@pytest.mark.slow
@pytest.mark.skipif(peers.peers_python() is None, reason="there is no FLGo: scripts/install-peers brings it")
def test_flgo_given_our_samples_model_and_durations_learns_what_we_learn(
    everybody_in_one_step: peers.Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "FLGO", ("fedavg",))
    monkeypatch.setattr(peers, "OURS", {"fedavg": peers.OURS["fedavg"]})
    rows = {row["system"]: row for row in peers.run([everybody_in_one_step])}
    theirs, ours = rows["FLGo"], rows["Merit"]
    assert theirs["updates"] == ours["updates"] == 30
    assert theirs["accuracy"] == pytest.approx(ours["accuracy"], abs=0.01)
    assert float(str(ours["accuracy"])) > 0.5


@pytest.mark.slow
@pytest.mark.skipif(
    not (ROOT / ".merit" / "bin" / "anvil").is_file(), reason="no anvil: scripts/install-anvil brings it"
)
def test_reads_are_measured_of_a_network_and_of_anvil_that_hold_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "RECORDS", 20)
    monkeypatch.setattr(rpc, "RECORDS_PER_TRANSACTION", 10)
    monkeypatch.setattr(rpc, "LEAST", 3)
    rows = rpc.run(seconds=0.01)
    assert {tuple(row) for row in rows} == {tuple(rows[0])}
    assert {"eth_blockNumber", "eth_call", "eth_getLogs, all 20"} <= {row["request"] for row in rows}
    for row in rows:
        assert all(0 < float(str(row[f"{name} p50"])) <= float(str(row[f"{name} p95"])) for name in ("merit", "anvil"))
