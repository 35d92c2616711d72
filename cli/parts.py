"""What a mesh on one machine consists of: each part's program, settings, address and what it needs before it starts."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cli import readiness
from cli.failure import CommandFailed
from cli.folder import DataFolder
from cli.part import Launch, Recipe
from cli.ports import LOOPBACK, free_ports

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT / "models"
TRITON_ENVIRONMENT = ROOT / ".venv-triton"
MOST_TRITON_INSTANCES = 4
TRITON_GRACE_SECONDS = 0.5
"""Triton takes seconds to unload what it could as well drop: it keeps nothing, and whoever calls it ended before."""

VALKEY, KAFKA = "valkey", "kafka"
TRITON, CLASSIFIER, AUDIT, REVIEW, GATEWAY = "triton", "classifier", "audit", "review", "gateway"
NEEDS: Mapping[str, tuple[str, ...]] = {
    VALKEY: (),
    TRITON: (),
    CLASSIFIER: (TRITON,),
    AUDIT: (VALKEY,),
    REVIEW: (VALKEY,),
    GATEWAY: (VALKEY, CLASSIFIER, AUDIT, REVIEW),
}
"""In the order of starting; parts that do not need each other start at the same time."""


def needs(kafka: bool) -> Mapping[str, tuple[str, ...]]:
    """Returns NEEDS, with Kafka in Valkey's place where that is the event log."""
    if not kafka:
        return NEEDS
    return {
        KAFKA if name == VALKEY else name: tuple(KAFKA if need == VALKEY else need for need in needed)
        for name, needed in NEEDS.items()
    }


@dataclass(frozen=True, slots=True)
class Plan:
    """What tells one mesh from another."""

    folder: DataFolder
    port: int
    models: Path
    host: str
    settings: Mapping[str, Mapping[str, str]]
    """By part, further settings without their prefix."""
    kafka: bool = False
    """Kafka is the event log, in place of Valkey."""


def recipes(plan: Plan) -> list[Recipe]:
    """Returns the parts in the order of `needs`, each at free ports that it keeps when it is started again.

    Raises:
        CommandFailed: something that they need is not installed.
    """
    if not TRITON_ENVIRONMENT.is_dir():
        raise CommandFailed(f"{TRITON_ENVIRONMENT} is missing, and Triton lives there; run: make setup")
    if not plan.models.is_dir():
        raise CommandFailed(f"there is no models folder {plan.models}; give it with --models")
    ports = _Ports(plan.kafka)
    return [
        _kafka(plan, ports) if plan.kafka else _valkey(plan, ports),
        _triton(plan, ports),
        *(_service(name, plan, ports) for name in (CLASSIFIER, AUDIT, REVIEW, GATEWAY)),
    ]


class _Ports:
    """The addresses of the parts, by part and purpose."""

    def __init__(self, kafka: bool) -> None:
        parts = needs(kafka)
        names = [*(f"{name}" for name in parts if name != GATEWAY), "gateway admin", f"{KAFKA} controller"]
        names += [f"{name} metrics" for name in parts if name not in (VALKEY, KAFKA)]
        self._ports = dict(zip(names, free_ports(len(names)), strict=True))

    def port(self, name: str) -> int:
        return self._ports[name]

    def __getitem__(self, name: str) -> str:
        return f"{LOOPBACK}:{self._ports[name]}"


def _valkey(plan: Plan, ports: _Ports) -> Recipe:
    from services.kernel.eventlog import valkey

    def prepare() -> Launch:
        try:
            binary = valkey.find_binary()
        except valkey.ValkeyMissing as error:
            raise CommandFailed(f"{error}; run: make setup") from None
        return Launch(tuple(valkey.command(binary, ports.port(VALKEY), plan.folder.of(VALKEY))), _inherited())

    return Recipe(VALKEY, prepare, ports[VALKEY], readiness.valkey(ports[VALKEY]), ROOT)


def _kafka(plan: Plan, ports: _Ports) -> Recipe:
    from cli import kafka

    def prepare() -> Launch:
        try:
            folder = plan.folder.of(KAFKA).absolute()
            controller = ports.port(f"{KAFKA} controller")
            command = kafka.command(kafka.find_java(), kafka.fetch(), ports.port(KAFKA), controller, folder)
        except kafka.KafkaMissing as error:
            raise CommandFailed(str(error)) from None
        return Launch(tuple(command), _inherited())

    # It is ready when it has the topics: nobody needs it before.
    return Recipe(KAFKA, prepare, ports[KAFKA], readiness.kafka_with_topics(ports[KAFKA]), ROOT)


def _event_log(plan: Plan, ports: _Ports) -> str:
    return f"kafka://{ports[KAFKA]}" if plan.kafka else f"redis://{ports[VALKEY]}/0"


def _triton(plan: Plan, ports: _Ports) -> Recipe:
    from services.classifier.manifest import BundleError
    from services.classifier.triton import server

    settings = plan.settings.get(TRITON, {})
    instances = int(settings.get("INSTANCES", min(MOST_TRITON_INSTANCES, len(os.sched_getaffinity(0)))))

    def prepare() -> Launch:
        try:
            command = server.command(
                environment=TRITON_ENVIRONMENT,
                models=plan.models,
                data=plan.folder.of(TRITON),
                grpc_port=ports.port(TRITON),
                metrics_port=ports.port(f"{TRITON} metrics"),
                instances=instances,
                threads=int(settings.get("THREADS", 1)),
                host=LOOPBACK,
            )
        except (server.TritonUnavailable, BundleError) as error:
            raise CommandFailed(str(error)) from None
        return Launch(command.argv, command.env)

    return Recipe(
        TRITON,
        prepare,
        ports[TRITON],
        readiness.triton(ports[TRITON]),  # the server is ready when every model that it was told to load is
        ROOT,
        metrics=ports[f"{TRITON} metrics"],
        grace_seconds=TRITON_GRACE_SECONDS,
        leaves=server.memory_files(plan.folder.of(TRITON)),
    )


def _service(name: str, plan: Plan, ports: _Ports) -> Recipe:
    address = f"{LOOPBACK}:{plan.port}" if name == GATEWAY else ports[name]
    metrics = ports[f"{name} metrics"]
    event_log = _event_log(plan, ports)
    data = str(plan.folder.of(name))
    settings: dict[str, str] = {"LISTEN": address, "METRICS_LISTEN": metrics}
    match name:
        case "classifier":
            settings |= {"TRITON_ADDRESSES": ports[TRITON], "MODELS": str(plan.models.absolute())}
        case "audit" | "review":
            settings |= {"EVENT_LOG": event_log, "DATA": data}
            if name == AUDIT:
                keys = plan.folder.keys
                settings |= {"KEY_FILE": str(keys.audit), "SIGNING_KEY_FILE": str(keys.audit_signing)}
        case "gateway":
            settings |= {
                "HOST": plan.host,
                "CLASSIFIER_ADDRESSES": ports[CLASSIFIER],
                "AUDIT_ADDRESS": ports[AUDIT],
                "REVIEW_ADDRESS": ports[REVIEW],
                "EVENT_LOG": event_log,
                "DATA": data,
                "PSEUDONYM_KEY_FILE": str(plan.folder.keys.pseudonym),
                "ADMIN_LISTEN": ports["gateway admin"],
            }
    settings |= plan.settings.get(name, {})
    environment = {**_inherited(), **{f"ASSAY_{key}": value for key, value in settings.items()}}
    launch = Launch((sys.executable, "-m", f"services.{name}"), environment)
    return Recipe(name, lambda: launch, address, readiness.serving(address), ROOT, needs(plan.kafka)[name], metrics)


def _inherited() -> dict[str, str]:
    """The environment of this process, passed on unread: settings that the mesh does not make itself are in it."""
    return dict(os.environ)


def hosted_by(folder: DataFolder) -> tuple[str, str]:
    """What hosts the gateway, "envoy" or "aio", and why, as the gateway wrote it down; empty before it did."""
    try:
        content = json.loads((folder.of(GATEWAY) / "host.json").read_text())
    except (OSError, ValueError):
        return "", ""
    return content.get("host", ""), content.get("reason", "")
