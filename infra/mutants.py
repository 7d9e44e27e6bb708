"""``make mutants``: how many small faults, planted one by one, the tests of ten modules notice.

cosmic-ray plants them, in a copy of the tree; of each module a sample that hangs on the seed alone
is tried with that module's own tests. A line for each fault that nothing noticed, and a table.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from likewise.progress import note, progress

__all__ = ["MODULES", "main"]

ROOT = Path(__file__).resolve().parent.parent

MODULES = {
    "filters/folds.py": ["tests/rules/test_folds.py"],
    "filters/outliers.py": ["tests/rules/test_outliers.py"],
    "filters/quantiles.py": ["tests/rules/test_quantiles.py"],
    "filters/labels.py": ["tests/rules/test_labels.py", "tests/rules/test_blocks.py"],
    "filters/posts.py": ["tests/rules/test_posts.py", "tests/spark/test_clean.py"],
    "collectors/budgets/buckets.py": ["tests/collectors/test_buckets.py"],
    "collectors/downloading/guard.py": ["tests/servers/test_guard.py"],
    "likewise/study.py": ["tests/house/test_study_reads.py", "tests/house/test_study.py"],
    "backbones/preprocess.py": ["tests/backbones/test_preprocess.py"],
    "training/classifiers/sgd.py": [
        "tests/training/test_sgd_grid.py",
        "tests/training/test_sgd.py",
    ],
}
"""Module -> the tests that must notice a fault in it."""

WANTED = 0.9

# A mutated `|` in an annotation changes nothing: annotations are not evaluated here.
LEFT_OUT = "%BitOr%"

CONFIG = """[cosmic-ray]
module-path = "{module}"
timeout = {timeout}
excluded-modules = []
test-command = "{python} -m pytest -x -q -p no:cacheprovider -m 'not slow' {tests}"

[cosmic-ray.distributor]
name = "local"
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the mutants; 1 when a module stays below 90 % or cannot be tried."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", choices=[[], *MODULES], help="default: all ten")
    parser.add_argument("--most", type=int, default=40, help="mutants of each module")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    good = True
    print("| Module | mutants | tried | killed | share |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="likewise-mutants-") as folder:
        tree = Path(folder) / "tree"
        leave = shutil.ignore_patterns(".*", "demo", "__pycache__", "*.egg-info")
        shutil.copytree(ROOT, tree, ignore=leave)
        for module in options.modules or MODULES:
            there, survivors, tried = _tried(tree, module, options.most, options.seed)
            killed = tried - len(survivors)
            good &= killed >= WANTED * tried
            print(f"| {module} | {there} | {tried} | {killed} | {killed / tried:.0%} |", flush=True)
            for survivor in survivors:
                note(survivor)
    return 0 if good else 1


def _tried(tree: Path, module: str, most: int, seed: int) -> tuple[int, list[str], int]:
    """Mutants that there are, descriptions of those that survived, and how many were tried."""
    config, session = tree / "mutants.toml", tree / "mutants.sqlite"
    session.unlink(missing_ok=True)
    tests = " ".join(MODULES[module])
    text = CONFIG.format(module=module, python=sys.executable, tests=tests, timeout="{}")
    config.write_text(text.format(1800.0), encoding="utf-8")
    _cosmic_ray(tree, "init", config.name, session.name)
    start = time.perf_counter()
    _cosmic_ray(tree, "baseline", config.name)  # tests that fail without a fault would kill all
    # Tests that end too late count as a kill: a busy machine must not make any.
    enough = 60 + 10 * (time.perf_counter() - start)
    config.write_text(text.format(enough), encoding="utf-8")
    with sqlite3.connect(session) as db:
        query = "SELECT job_id FROM mutation_specs WHERE operator_name NOT LIKE ? ORDER BY job_id"
        jobs = [job for (job,) in db.execute(query, (LEFT_OUT,))]
        # Names of jobs are random: the place in the file is not.
        places = "SELECT job_id, start_pos_row, start_pos_col, operator_name, occurrence "
        rows = db.execute(f"{places} FROM mutation_specs").fetchall()
        order = {row[0]: row[1:] for row in rows}
        jobs.sort(key=lambda job: order[job])
        chosen = set(random.Random(seed).sample(jobs, min(most, len(jobs))))
        for table in ("mutation_specs", "work_items"):
            gone = [(job,) for (job,) in db.execute(f"SELECT job_id FROM {table}")]  # noqa: S608
            gone = [job for job in gone if job[0] not in chosen]
            db.executemany(f"DELETE FROM {table} WHERE job_id = ?", gone)  # noqa: S608
    with progress(module):
        _cosmic_ray(tree, "exec", config.name, session.name)
    with sqlite3.connect(session) as db:
        found = db.execute(
            "SELECT operator_name, start_pos_row, diff FROM work_results "
            "JOIN mutation_specs USING (job_id) WHERE test_outcome LIKE '%SURVIVED%' "
            "ORDER BY start_pos_row"
        )
        lines = [f"{module}:{row}: {name}\n{_changed(diff)}" for name, row, diff in found]
    return len(jobs), lines, len(chosen)


def _changed(diff: str) -> str:
    kept = (line for line in diff.splitlines() if line.startswith(("+", "-")))
    return "\n".join(line for line in kept if not line.startswith(("+++", "---")))


def _cosmic_ray(tree: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "cosmic_ray.cli", *arguments], cwd=tree, check=True)


if __name__ == "__main__":
    sys.exit(main())
