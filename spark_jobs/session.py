"""The Spark session: reuse the active one, or start one with the settings that work here."""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import psutil

from likewise.config import Config
from likewise.errors import ResourcesError
from likewise.progress import Bar, note, progress
from likewise.raised import has_interrupt
from spark_jobs.java import find_java

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from likewise.config import SparkSection

__all__ = [
    "is_submitted",
    "partitions",
    "picture_batches",
    "spark_progress",
    "spark_session",
    "stop_session",
    "survives_java",
]

F = TypeVar("F", bound=Callable[..., Any])

LIVES = 3
"""JVMs that a stage may lose."""

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("likewise", "collectors", "filters", "backbones", "spark_jobs", "training")

# Arrow batches of 10,000 rows would make each worker hold a whole partition of pictures.
ARROW_BATCH = 64

# Spark refuses to start with less than 450 MiB.
LEAST_HEAP = 512 * 2**20
UNITS = {"k": 10, "m": 20, "g": 30, "t": 40}


def spark_session(
    config: Config | None = None, *, master: str | None = None, heap: int | None = None
) -> SparkSession:
    """The active Spark session, or a new one.

    ``master`` wins over what ``spark-submit`` was given, and that over ``[spark]`` of the
    configuration. Everything listens on loopback when the master is local; on a cluster the
    executors get this project's code as an archive. A driver's JVM that has to be started takes
    ``heap`` bytes, where that is less than ``[spark] driver_memory``.

    Raises:
        UsageError: no Java runtime was found.
    """
    from pyspark.sql import SparkSession

    active = SparkSession.getActiveSession()
    if active is not None:
        return active
    settings, given = (config or Config()).spark, _submitted()
    where = master or given.get("spark.master") or settings.master
    local = where.startswith("local")
    _prepare_environment(local=local)
    own = _settings(settings, local=local) | _smaller_heap(settings, heap)
    with _interrupts_end_java():
        _start_context({**own, **settings.conf, **given, "spark.master": _patient(where)})
    session = SparkSession.builder.getOrCreate()
    if not local:
        session.sparkContext.addPyFile(str(code_archive()))
    return session


def _patient(master: str) -> str:
    """``local[N]`` with four attempts a task, as a cluster has: a dead Python worker is no bug."""
    cores = re.fullmatch(r"local(?:\[(\d+|\*)\])?", master)
    return f"local[{cores[1] or 1},4]" if cores else master


def survives_java(function: F) -> F:
    """Let a stage start again when its JVM was killed; what it had finished is found again.

    Raises (the function):
        ResourcesError: the JVM died three times.
    """

    @functools.wraps(function)
    def work(*arguments: Any, **options: Any) -> Any:
        for _ in range(LIVES):
            try:
                return function(*arguments, **options)
            except Exception as error:
                # A signal to the whole group ends the JVM, too: that is no accident to go on after.
                if has_interrupt(error):
                    raise KeyboardInterrupt from error
                if not _java_has_gone(error):
                    raise
                _forget_java()
                note("Spark's JVM has died; the stage goes on with another")
        raise ResourcesError(
            f"Spark's JVM was killed {LIVES} times",
            hint="most often for memory: lower [spark] driver_memory, or free some, and run again",
        )

    return cast(F, work)


def _java_has_gone(error: Exception) -> bool:
    """Whether the error comes from the end of the JVM that this process started."""
    if "pyspark" not in sys.modules:
        return False
    from pyspark import SparkContext

    gateway = SparkContext._gateway
    process: subprocess.Popen[bytes] | None = getattr(gateway, "proc", None)
    if process is None:
        return False
    # A lost connection is noticed before the process is quite gone.
    lost = type(error).__module__.startswith("py4j") or isinstance(error, ConnectionError)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(2.0 if lost else 0.0)
    return process.poll() is not None


def partitions(spark: SparkSession) -> int:
    """Tasks that a stage is cut into at least: ``[spark] partitions``."""
    return int(spark.conf.get("spark.sql.shuffle.partitions") or 1)


def _prepare_environment(*, local: bool) -> None:
    """What the JVM and the Python workers inherit."""
    os.environ["JAVA_HOME"] = str(find_java().home)
    if not local:  # executors may have a Python of their own
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        return
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    if "site-packages" not in ROOT.parts:  # run from a checkout: the workers need the same code
        known = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
        if str(ROOT) not in known:
            os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *known])


def is_submitted() -> bool:
    """Whether ``spark-submit`` started this process, and a JVM for it."""
    return "PYSPARK_GATEWAY_PORT" in os.environ


def _submitted() -> dict[str, str]:
    """What ``spark-submit`` was given; empty when this process was started in another way."""
    if not is_submitted():
        return {}
    from pyspark import SparkConf, SparkContext

    SparkContext._ensure_initialized()
    return dict(SparkConf().getAll())


def _smaller_heap(section: SparkSection, enough: int | None) -> dict[str, str]:
    """The setting of a driver's heap of ``enough`` bytes, where that is a smaller one."""
    limit = int(section.driver_memory[:-1]) << UNITS[section.driver_memory[-1]]
    heap = max(enough or limit, LEAST_HEAP)
    return {"spark.driver.memory": f"{heap >> 20}m"} if heap < limit else {}


def _settings(section: SparkSection, *, local: bool) -> dict[str, str]:
    settings = {
        "spark.driver.memory": section.driver_memory,
        "spark.driver.maxResultSize": "0",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.dataFrameQueryContext.enabled": "false",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.execution.arrow.maxRecordsPerBatch": str(ARROW_BATCH),
        "spark.sql.parquet.compression.codec": "zstd",
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        "spark.python.worker.reuse": "true",
        "spark.sql.shuffle.partitions": str(section.partitions or 2 * (os.cpu_count() or 1)),
        "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
    }
    if local:
        scratch = _scratch()
        logging = Path(__file__).with_name("log4j2.properties").as_uri()
        settings |= {
            "spark.driver.extraJavaOptions": (
                f'-Dlog4j2.configurationFile={logging} "-Djava.io.tmpdir={scratch}"'
            ),
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.local.dir": str(scratch),
            "spark.sql.warehouse.dir": str(scratch / "warehouse"),
        }
    return settings


def _scratch() -> Path:
    """A folder for this process's shuffle files; those of processes that are gone are removed."""
    base = Path(tempfile.gettempdir()) / f"likewise-spark-{os.getuid()}"
    base.mkdir(mode=0o700, exist_ok=True)
    for folder in base.iterdir():
        if folder.name.isdigit() and not Path("/proc", folder.name).exists():
            shutil.rmtree(folder, ignore_errors=True)
    own = base / str(os.getpid())
    own.mkdir(exist_ok=True)
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return own


def _start_context(settings: Mapping[str, str]) -> None:
    """Start Spark; its JVM's error stream passes a sieve for lines that mean nothing to users."""
    from pyspark import SparkConf, SparkContext
    from pyspark.java_gateway import launch_gateway

    conf = SparkConf().setAppName("likewise").setAll(list(settings.items()))
    if SparkContext._gateway is not None or is_submitted():
        SparkContext.getOrCreate(conf)  # the JVM of an earlier session, or of spark-submit
        return
    reading, writing = os.pipe()
    threading.Thread(target=_sieve, args=(reading,), daemon=True, name="java-stderr").start()
    try:
        gateway = launch_gateway(conf, {"stderr": writing})  # type: ignore[no-untyped-call]
    finally:
        os.close(writing)
    SparkContext(conf=conf, gateway=gateway)


@contextlib.contextmanager
def _interrupts_end_java() -> Iterator[None]:
    """While Spark starts, let Ctrl-C and SIGTERM end its JVM, and keep Python's way with them.

    An interrupted start would leave a JVM behind that waits for ever, and waiting for its end can
    take a minute; and the handler that pyspark installs calls the JVM in the middle of another call
    to it, which breaks both. ``spark_progress`` cancels jobs instead.
    """
    logging.getLogger().addFilter(_not_a_broken_call)
    # Whatever py4j logs as an error it raises too; its tracebacks of calls that Ctrl-C broke off
    # would only look like a bug.
    logging.getLogger("py4j").setLevel(logging.CRITICAL)
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    others = {child.pid for child in psutil.Process().children(recursive=True)}

    def end(number: int, _: object) -> None:
        came.append(number)
        for child in psutil.Process().children(recursive=True):
            if child.pid not in others:
                with contextlib.suppress(psutil.Error):
                    child.kill()

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in handlers.items():
        if callable(handler):
            signal.signal(number, end)
    try:
        yield
    except Exception:
        if not came:
            raise
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if came:
        _forget_java()
        raise KeyboardInterrupt


def _forget_java() -> None:
    """Let a later session of this process start a JVM of its own."""
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    SparkContext._gateway = SparkContext._jvm = SparkContext._active_spark_context = None
    SparkSession._instantiatedSession = None


def _not_a_broken_call(record: logging.LogRecord) -> bool:
    """py4j logs a traceback for a call that Ctrl-C or the JVM's end broke off, and raises it."""
    return record.msg not in (
        "KeyboardInterrupt while sending command.",
        "Exception while sending command.",
    )


MEANINGLESS = (
    "netlib-blas: JNI_OnLoad: dlopen(libblas.so.3) failed",
    "WARNING: Using incubator modules",
    "WARNING: package sun.security.action not in",
    "Setting default log level to",
    "To adjust logging level use",
)


def _sieve(descriptor: int) -> None:
    """Pass on a stream's lines to standard error, but for the meaningless ones."""
    with os.fdopen(descriptor, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if not line.startswith(MEANINGLESS):
                print(line, end="", file=sys.stderr, flush=True)


def code_archive() -> Path:
    """A zip of this project's packages, for executors that do not have them installed."""
    folder = Path(tempfile.mkdtemp(dir=_scratch(), prefix="code-"))
    staged = folder / "tree"
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, staged / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    return Path(shutil.make_archive(str(folder / "likewise"), "zip", staged))


def stop_session() -> None:
    """Stop the active session, if there is one."""
    from pyspark.sql import SparkSession

    active = SparkSession.getActiveSession()
    if active is not None:
        active.stop()


@contextlib.contextmanager
def picture_batches(spark: SparkSession) -> Iterator[None]:
    """Read Parquet in batches of a few pictures while the block runs.

    Spark's reader holds 4,096 rows of every column at once: with pictures that is a gigabyte a
    task. Tables without bytes are read several times faster with the large batches.
    """
    key = "spark.sql.parquet.columnarReaderBatchSize"
    before = spark.conf.get(key) or "4096"
    spark.conf.set(key, str(ARROW_BATCH))
    try:
        yield
    finally:
        spark.conf.set(key, before)


@contextlib.contextmanager
def spark_progress(spark: SparkSession, title: str) -> Iterator[Bar]:
    """A bar that counts finished Spark tasks of the jobs that the block starts."""
    from py4j.protocol import Py4JError

    # Of a JVM that has gone the block itself hears, in the call that it is waiting for.
    gone = Py4JError, OSError
    group = f"likewise-{threading.get_ident()}-{title}"
    spark.sparkContext.setJobGroup(group, title, interruptOnCancel=True)
    tracker = spark.sparkContext.statusTracker()
    stop = threading.Event()
    with progress(title) as bar:

        def watch() -> None:
            with contextlib.suppress(*gone):
                while not stop.wait(0.5):
                    count()

        def count() -> None:
            done = total = 0
            for job in tracker.getJobIdsForGroup(group):
                info = tracker.getJobInfo(job)
                for stage_id in info.stageIds if info else ():
                    stage = tracker.getStageInfo(stage_id)
                    if stage is not None:
                        done += stage.numCompletedTasks
                        total += stage.numTasks
            bar.update(done, total=total or None)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield bar
        except KeyboardInterrupt:
            with contextlib.suppress(*gone):
                spark.sparkContext.cancelJobGroup(group)
            raise
        finally:
            stop.set()
            watcher.join()
            with contextlib.suppress(*gone):
                spark.sparkContext.setJobGroup("", "")
