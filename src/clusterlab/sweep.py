"""The jobs of a sweep: where each lies, the process that it is, and what becomes of it.

Each job is the command itself with that job's words, as a process of its own: its memory is freed, and its failure does
not stop the others. Labels decide nothing here: see `objective`.
"""

import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from clusterlab.errors import UserError
from clusterlab.stopping import Stopped
from clusterlab.sweep_done import FINISHED, finished, key_of_run, mark_finished
from clusterlab.sweep_records import JOBS, LOCK, Plan, Record, is_running, leave, records, setting_of

LONGEST_NAME = 80
WATCHED = "CLUSTERLAB_SWEEP"
"""Environment of a job's processes: the folder and the id of the sweep that they end with."""
ERROR_FILE = "CLUSTERLAB_ERROR_FILE"
"""Environment of a job's processes: where the first of them that fails says why."""
POLL_SECONDS = 0.5
LOCK_SECONDS = 5
PLUGINS = {
    "joblib": "hydra_joblib_launcher",
    "submitit_local": "hydra_submitit_launcher",
    "submitit_slurm": "hydra_submitit_launcher",
    "optuna": "hydra_optuna_sweeper",
}
"""What the extra `sweep` installs: choice → package."""
SEARCH = (
    "hydra.sweeper.direction=maximize",
    "hydra.sweeper.max_failure_rate=1.0",  # a failing job stops no other
    "hydra.sweeper.sampler.seed=0",  # the same command tries the same settings, and so finds those that are done
)
"""What Optuna is told unless the command says otherwise."""
GONE = 3
"""Exit code of a process whose sweep has ended."""


@dataclass(frozen=True)
class Job:
    """One job of a sweep, as Hydra composed it."""

    folder: Path
    """Of the sweep."""
    number: int
    words: tuple[str, ...]
    """Its settings, `name=value`."""
    values: Mapping[str, Any]
    """Its config, resolved."""
    run_dir_template: str
    """`run_dir` before it was resolved."""


def run_sweep(folder: Path, plan: Plan, launch: Callable[[], object]) -> int:
    """Have `launch` run the jobs, then write the tables and tell what failed; return the exit code.

    Raises:
        UserError: the same sweep is running.
        Exception: what `launch` raised before the first job.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / LOCK).acquire(timeout=LOCK_SECONDS):
            for old in (*folder.glob(f"{JOBS}/*"), folder / "sweep.csv", folder / "sweep.html"):
                old.unlink(missing_ok=True)
            (folder / JOBS).mkdir(exist_ok=True)
            plan.write(folder)
            try:
                launch()
                ended = None
            except Exception as error:  # a launcher that lost a job, a search in which every job failed
                if not records(folder):
                    if is_new:
                        shutil.rmtree(folder)
                    raise
                ended = f"{type(error).__name__}: {error}".splitlines()[0]
            return _conclude(folder, ended)
    except Timeout:
        raise UserError(f"this sweep is running already, in {folder}") from None


def _conclude(folder: Path, ended: str | None) -> int:
    from clusterlab.output.sweep_table import as_text, tabulate, write_table
    from clusterlab.output.words import counted

    found = records(folder)
    table = tabulate(found)
    write_table(table, folder)
    failed = [record for record in found if record.error is not None]
    before = sum(record.before for record in found)
    counts = f"{counted(len(found), 'job')}: {len(found) - len(failed) - before} run, {before} done before"
    lines = [as_text(table), f"{counts}, {len(failed)} failed; look at {folder / 'sweep.html'}"]
    if ended:
        lines.append(f"clusterlab: the sweep ended early: {ended}")
    if failed:
        lines.append(f"clusterlab: {counted(len(failed), 'job')} failed; the same command again runs what is missing:")
        lines += [f"  {record.title}: {record.error}" for record in failed]
    print("\n".join(lines), file=sys.stderr, flush=True)
    return int(bool(failed or ended))


def run_job(job: Job) -> Record:
    """Run the job, unless it is done; leave its record in the sweep's folder."""
    plan = Plan.read(job.folder)
    varied = tuple(key for key in map(setting_of, job.words) if key not in plan.fixed)
    run_dir = job_dir(job, varied)
    record = Record(job.number, job.words, varied, str(run_dir), job.values["seed"])
    own = job.folder / JOBS / hashlib.sha256(str(run_dir).encode()).hexdigest()[:16]
    with FileLock(own.with_suffix(".lock")):  # a search may ask for the same job twice at a time
        _stop_if_gone(job.folder, plan)
        leave(job.folder, plan, replace(record, error="it was stopped"))
        record = _get_or_run(job, plan, record, own.with_suffix(".error"))
    leave(job.folder, plan, record)
    return record


def _get_or_run(job: Job, plan: Plan, record: Record, error_file: Path) -> Record:
    run_dir = Path(record.run_dir)
    place = f"[job {job.number + 1}{f' of {plan.count}' if plan.count > job.number else ''}] {record.title}"
    try:
        key = key_of_run(dict(job.values) | {"run_dir": record.run_dir})
        if (metrics := finished(run_dir, key)) is not None:
            print(f"{place}: done before, in {run_dir}", file=sys.stderr, flush=True)
            return replace(record, metrics=metrics, before=True)
        print(f"{place}: starting", file=sys.stderr, flush=True)
        (run_dir / FINISHED).unlink(missing_ok=True)
        error = _run_process(job, run_dir, plan, error_file)
        return replace(record, error=error, metrics={} if error else mark_finished(run_dir, key))
    except OSError as failure:
        return replace(record, error=f"{type(failure).__name__}: {failure}")


def _run_process(job: Job, run_dir: Path, plan: Plan, error_file: Path) -> str | None:
    """Return the line that says why it failed, or None."""
    error_file.unlink(missing_ok=True)
    environment = os.environ | {ERROR_FILE: str(error_file.absolute())}
    if plan.host == platform.node():
        environment[WATCHED] = f"{plan.id}:{job.folder.absolute()}"
    quoted = str(run_dir).replace("\\", "\\\\").replace("'", "\\'")
    command = [sys.executable, "-m", "clusterlab", *plan.options, *job.words, f"run_dir='{quoted}'"]
    with subprocess.Popen(command, env=environment) as process:
        try:
            code = process.wait()
        except Stopped:
            process.terminate()  # it saves, and ends
            raise
    if code == 0:
        return None
    if error_file.exists():
        return error_file.read_text(encoding="utf-8")
    return f"ended by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def say_why(error: str) -> None:
    """In a job's process: leave the line that the sweep's end shows."""
    if path := os.environ.get(ERROR_FILE):
        with suppress(OSError), open(path, "x", encoding="utf-8") as file:  # the first one is the cause of the others
            file.write(error)


def end_with_sweep() -> None:
    """In a job's process: end it when the process of its sweep is gone, however that one ended."""
    if watched := os.environ.get(WATCHED):
        own_id, _, folder = watched.partition(":")

        def watch() -> None:
            while is_running(Path(folder), own_id):
                time.sleep(POLL_SECONDS)
            os._exit(GONE)

        threading.Thread(target=watch, daemon=True).start()


def _stop_if_gone(folder: Path, plan: Plan) -> None:
    if plan.host == platform.node() and not is_running(folder, plan.id):
        sys.exit(GONE)


def objective(metrics: Mapping[str, Any]) -> float | None:
    """Return what a search maximises: the silhouette, less the share of clusters that no image is in.

    It looks at no label. Without its second term a collapse to two clusters would be a find. None where it is not
    defined.
    """
    if metrics.get("silhouette") is None:
        return None
    return float(metrics["silhouette"] - (1 - metrics["used_clusters"] / metrics["num_clusters"]))


def job_dir(job: Job, varied: Sequence[str]) -> Path:
    """Return the folder of the job's outputs.

    It is `run_dir`, and below that a folder named from what varies and does not stand in `run_dir` already: no two jobs
    of a sweep have the same one.
    """
    words = [
        word
        for word in job.words
        if (key := setting_of(word)) in varied
        and key != "run_dir"
        and not re.search(rf"\$\{{{re.escape(key)}(\.name)?\}}", job.run_dir_template)
    ]
    run_dir = Path(str(job.values["run_dir"]))
    return run_dir / file_name(",".join(sorted(words))) if words else run_dir


def sweep_name(words: Sequence[str], varied: Sequence[str]) -> str:
    """Return the name of a sweep's folder: the same for the same words in any order."""
    digest = hashlib.sha256(json.dumps(sorted(words)).encode()).hexdigest()[:8]
    told = re.sub(r"[^\w.=,-]+", "-", "_".join(sorted(varied)))[:LONGEST_NAME].strip("-.")
    return f"{told or 'sweep'}-{digest}"


def file_name(text: str) -> str:
    """Return `text`, or where it is long or no plain file name, its beginning and a hash."""
    plain = re.sub(r"[^\w.+=,@-]+", "-", text)
    if plain == text and len(text) <= LONGEST_NAME:
        return text
    return f"{plain[:LONGEST_NAME]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def check_plugin(word: str) -> None:
    """See that what `hydra/launcher=NAME` or `hydra/sweeper=NAME` chooses is installed.

    Raises:
        UserError: it is not.
    """
    plugin = PLUGINS.get(word.split("=")[-1])
    if word.startswith(("hydra/launcher=", "hydra/sweeper=")) and plugin:
        try:
            missing = find_spec(f"hydra_plugins.{plugin}") is None
        except ModuleNotFoundError:  # no plugin at all
            missing = True
        if missing:
            raise UserError(f"{word} is not installed: pip install 'clusterlab[sweep]'")


def words_of_search(words: Sequence[str]) -> list[str]:
    """Return what a search by Optuna needs beside `words`; nothing for another sweep."""
    if "hydra/sweeper=optuna" not in words:
        return []
    given = {setting_of(word) for word in words}
    no_seed = {"hydra.sweeper.sampler.seed"} if "hydra/sweeper/sampler=grid" in words else set()
    return [word for word in SEARCH if setting_of(word) not in given | no_seed]


def check_choices(setting: str, choices: Sequence[str]) -> None:
    """See that no value stands twice: two jobs would be the same.

    Raises:
        UserError: one does.
    """
    for choice in choices:
        if choices.count(choice) > 1:
            raise UserError(f"{setting} has the value {choice} more than once: each job of a sweep is to be another")
