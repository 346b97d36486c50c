"""An audit of a bundle from its file to its verdict: 15 updates of 280,440 parameters a round, by rounds and processes.

`merit audit` runs as a user runs it, in a process of its own. `wall_s` and `cpu_s` are all of it, imports included;
`cpu_s` sums all its processes, and is what holds on a machine that does other work, of which `load` tells. `genesis_s`
to `rounds_s` are the wall time of its parts: blobs are hashed beside heights and records, so that theirs is what was
left to wait for. `memory_mb` is the resident set of its largest process. Set OMP_NUM_THREADS=1.

`--history N` audits a history of N rounds, its first half and its first quarter; making it takes twice as long as an
audit, and 11 MB of disk a round.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from merit.clock import Clock, SystemClock
from node.errors import ConfigError
from tests.benchmarks._history import PARAMETERS, PHI, History

ROUNDS, JOBS = 100, (1, 2)
PARTS = ("genesis", "heights", "records", "blobs", "rounds")
PROGRAM = "import sys; from node.cli import main; sys.exit(main(sys.argv[1:]))"
_MOST_BYTES = 6 * (PHI + 1) // 5  # of disk for each parameter and round: updates twice, models, and a fifth to spare


def run(history: int = ROUNDS, parameters: int = PARAMETERS) -> list[dict[str, object]]:
    """Make a history; audit its first quarter, its half and all of it by one process and by two."""
    clock = SystemClock()
    with TemporaryDirectory(prefix="merit-bench-") as directory:
        folder = Path(directory)
        needed, free = history * parameters * 2 * _MOST_BYTES, shutil.disk_usage(folder).free
        if free < needed:
            message = f"{folder}: {free // 10**9} GB are free, a history of {history} rounds takes {needed // 10**9} GB"
            raise ConfigError(message)
        made, rows = History(history, folder, parameters), list[dict[str, object]]()
        for rounds in sorted({-(-history // 4), -(-history // 2), history}):
            bundle = folder / "bundle.merit"
            size = made.write(bundle, rounds)
            rows += [
                {"rounds": rounds, "jobs": jobs, "bundle_mb": round(size / 1e6)}
                | audited(bundle, made.genesis_hash, rounds, jobs, clock)
                for jobs in JOBS
            ]
            bundle.unlink()
    return rows


def audited(bundle: Path, genesis_hash: bytes, rounds: int, jobs: int, clock: Clock) -> dict[str, object]:
    """Audit a bundle of so many rounds in a process of its own; return what it took."""
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, "audit", str(bundle), "--json"]
    command += ["--genesis", f"0x{genesis_hash.hex()}", "--jobs", str(jobs)]
    begun = clock.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as process:  # noqa: S603 - ours
        said = b"" if process.stdout is None else process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)  # of the process and of all that it has waited for
        process.returncode = os.waitstatus_to_exitcode(status)
    wall_s, cpu_s = clock.monotonic() - begun, usage.ru_utime + usage.ru_stime
    report = json.loads(said or b"{}")
    if process.returncode or not report["trusted"] or report["verified"]["rounds"]["rounds"] != rounds:
        message = f"the audit of {rounds} rounds ends with {process.returncode}: {report.get('first')}"
        raise RuntimeError(message)
    return {
        "wall_s": round(wall_s, 1),
        "cpu_s": round(cpu_s, 1),
        "cpu_ms_per_round": round(1000 * cpu_s / rounds, 1),
        **{f"{part}_s": round(report["verified"][part]["seconds"], 1) for part in PARTS},
        "memory_mb": round(usage.ru_maxrss / 1000),
        "load": round(os.getloadavg()[0], 1),
    }


if __name__ == "__main__":
    for row in run(*map(int, sys.argv[1:])):
        sys.stdout.write(f"{row}\n")
