"""Apache Kafka on one machine: how it is fetched, checked and started; for `assay up --kafka` and the tests.

Its files come from Maven by requirements/kafka.xml, which pins the version, and each of them must have the SHA-256 in
requirements/kafka.sha256. They stay in .assay-kafka beside the code, so only the first start needs the network.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
POM = ROOT / "requirements" / "kafka.xml"
HASHES = ROOT / "requirements" / "kafka.sha256"
CACHE = ROOT / ".assay-kafka"

OLDEST_JAVA = 17
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_FETCH_SECONDS = 600.0
_FORMAT_SECONDS = 120.0
# A small heap, and no optimiser that would compete for the few cores: this broker carries events, not a company.
_JVM = ("-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")


class KafkaMissing(Exception):
    """Java or Maven is not installed, or Kafka could not be fetched; the text says what to do."""


def find_java() -> str:
    """Returns the program of a Java that Kafka runs on. Raises KafkaMissing where there is none."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home) / "bin")) if home else None
    java = java or shutil.which("java")
    wanted = f"Kafka needs Java {OLDEST_JAVA} or newer; install it (Debian: openjdk-17-jre-headless)"
    if java is None:
        raise KafkaMissing(wanted)
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) < OLDEST_JAVA:
        raise KafkaMissing(f"{wanted}; {java} is {version[1] if version else 'no Java that says its version'}")
    return java


def fetch() -> Path:
    """Returns the folder of Kafka's files; fetches them when they are not there, and checks each of them every time.

    Raises:
        KafkaMissing: Maven is not installed or failed, or a file is not the one that is pinned.
    """
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests and a mesh may ask at the same time
        files = CACHE / hashlib.sha256(HASHES.read_bytes()).hexdigest()[:16]
        if not files.is_dir():
            draft = CACHE / "new"
            shutil.rmtree(draft, ignore_errors=True)
            _download(draft)
            _check(draft)
            draft.rename(files)
        _check(files)
    return files


def _download(folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise KafkaMissing("Kafka is fetched by Maven; install it (Debian: maven)")
    command = [maven, "-q", "-B", "-f", str(POM), _COPY, f"-DoutputDirectory={folder}", "-DincludeScope=runtime"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_SECONDS, check=False, cwd=CACHE)
    except subprocess.TimeoutExpired:
        raise KafkaMissing(f"Maven did not fetch Kafka within {_FETCH_SECONDS:g} s") from None
    if done.returncode:
        faults = [line for line in done.stdout.splitlines() if "[ERROR]" in line]
        raise KafkaMissing(f"Maven can't fetch Kafka: {faults[0] if faults else f'exit code {done.returncode}'}")


def _check(folder: Path) -> None:
    """Raises KafkaMissing unless the folder holds exactly the files that are pinned."""
    pinned = {name: digest for digest, name in (line.split() for line in HASHES.read_text().splitlines())}
    found = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.glob("*.jar")}
    for name in sorted(pinned.keys() | found.keys()):
        if pinned.get(name) != found.get(name):
            raise KafkaMissing(f"{folder / name} is not the file that {HASHES.name} pins; remove {folder}")


def command(java: str, files: Path, port: int, controller_port: int, folder: Path) -> list[str]:
    """Returns the command line of a broker at 127.0.0.1:`port` that keeps its data in `folder`, which must exist.

    One node that is broker and controller. What it confirms is on the disk: each append is synced before the reply.
    It creates no topic by itself, lets a lone consumer in at once, and forgets no consumer's place within a year. It
    stays in the foreground and logs to its standard output. Both ports may change between two starts.

    Raises:
        KafkaMissing: its folder can't be prepared.
    """
    settings = folder / "server.properties"
    data = folder / "data"
    settings.write_text(_properties(port, controller_port, data))
    logging = folder / "log4j2.properties"
    logging.write_text(_LOGGING)
    run = [java, *_JVM, f"-Dlog4j2.configurationFile={logging}", "-cp", f"{files}/*"]
    if not (data / "meta.properties").is_file():
        cluster = uuid.uuid4().hex[:22]
        form = [*run, "kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", cluster, "-c", str(settings)]
        done = subprocess.run(form, capture_output=True, text=True, timeout=_FORMAT_SECONDS, check=False)
        if done.returncode:
            words = (done.stderr or done.stdout).strip().splitlines()
            raise KafkaMissing(f"Kafka can't prepare {data}: {words[-1] if words else f'exit code {done.returncode}'}")
    return [*run, "kafka.Kafka", str(settings)]


def _properties(port: int, controller_port: int, data: Path) -> str:
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(data.resolve()),
        "auto.create.topics.enable": "false",
        "default.replication.factor": "1",
        "min.insync.replicas": "1",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "offsets.retention.minutes": str(365 * 24 * 60),
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "500",
        # One that was killed may register again only when its last session is over, 9 s by default.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        "log.flush.interval.messages": "1",
        "num.network.threads": "2",
        "num.io.threads": "4",
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


_LOGGING = """\
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %p %c{1}: %m%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
"""
