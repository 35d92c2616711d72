"""How to start the real Triton Inference Server from its wheel, as data.

The wheel of `nvidia-pytriton` carries the server, the python backend and a stub for each Python. What the server
wants around it (a backend folder that holds the stub, a model repository, library paths) is laid out under a data
folder here, mostly as links. `assay up` and the tests run the `Command` that comes out, each in its own way.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from services.classifier.bundle import Encoder, load_catalogue

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  where the python backend keeps its queues; nothing is written by us


class TritonUnavailable(Exception):  # named after what happened
    """Triton can't be started on this machine; the text says what is missing and how to get it."""


@dataclass(frozen=True, slots=True)
class Command:
    """A process to start: program and arguments, and its whole environment."""

    argv: tuple[str, ...]
    env: Mapping[str, str]


def model_name(name: str, version: object) -> str:
    """The name of an encoder inside Triton; versions stand side by side as models of their own."""
    return f"{name}-{version}"


def command(
    *,
    environment: Path,
    models: Path,
    data: Path,
    grpc_port: int,
    metrics_port: int,
    instances: int,
    threads: int = 1,
    together: bool = False,
    host: str = "127.0.0.1",
) -> Command:
    """Prepares `data` and returns what to run. Call it before each start, while no server uses `data`.

    Args:
        environment: the virtual environment with Triton's wheel (`.venv-triton`).
        models: the folder of model bundles; every encoder in it is served as `<name>-<version>`.
        data: a folder of this server's own; its repository is laid out anew each time.
        instances: processes that run the encoder side by side, for each encoder.
        threads: threads of one instance.
        together: whether an instance reads the rows of a call together or one by one (model.py says why one by one).
        host: the address to listen on.

    Raises:
        TritonUnavailable: the wheel or the shared Python library is missing.
        BundleError: a model bundle can't be trusted.
    """
    environment, data = environment.absolute(), data.absolute()
    packages = environment / "lib" / f"python{_python()}" / "site-packages"
    wheel = packages / "pytriton" / "tritonserver"
    if not (wheel / "bin" / "tritonserver").is_file():
        raise TritonUnavailable(f"{environment} holds no Triton server; run `make setup`")
    libraries = _python_library()
    encoders = load_catalogue(models).encoders
    prefix = _memory_prefix(data)
    free_left_memory(data)
    _lay_backend(wheel, data / "backends" / "python")
    repository = data / "repository"
    shutil.rmtree(repository, ignore_errors=True)
    for encoder in encoders:
        _lay_model(encoder, repository, _config(encoder, instances, threads, together))
    argv = (
        # The backend starts its stubs through a shell, which takes a path with a space apart; relative ones have none.
        *("/usr/bin/env", "--chdir", str(data)),
        str(wheel / "bin" / "tritonserver"),
        "--backend-directory=backends",
        "--model-repository=repository",
        "--model-control-mode=explicit",
        *(f"--load-model={model_name(e.name, e.version)}" for e in encoders),
        "--disable-auto-complete-config",
        "--strict-readiness=true",
        "--exit-timeout-secs=10",
        f"--backend-config=python,shm-region-prefix-name={prefix}",
        # How long an instance may take to start.
        "--backend-config=python,stub-timeout-seconds=60",
        "--allow-http=false",
        "--allow-grpc=true",
        f"--grpc-address={host}",
        f"--grpc-port={grpc_port}",
        "--allow-metrics=true",
        "--allow-gpu-metrics=false",
        f"--metrics-address={host}",
        f"--metrics-port={metrics_port}",
        "--metrics-interval-ms=5000",
        "--pinned-memory-pool-byte-size=0",
        "--log-format=ISO8601",
    )
    env = {
        # The stub's Python is isolated: it passes over PYTHONHOME and PYTHONPATH, and takes the first python3 in PATH
        # for its own, whose pyvenv.cfg then leads it to the standard library and to the wheels.
        "PATH": f"{environment / 'bin'}:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "LD_LIBRARY_PATH": f"{libraries}:{packages / 'nvidia_pytriton.libs'}",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    return Command(argv, env)


def memory_files(data: Path) -> str:
    """Returns a pattern of the files that a killed server of `data` leaves behind, and that nobody else's match."""
    return str(SHARED_MEMORY / f"{_memory_prefix(data.absolute())}*")


def _memory_prefix(data: Path) -> str:
    return "assay-" + hashlib.sha256(str(data).encode()).hexdigest()[:12]


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _python_library() -> Path:
    """The folder of the shared Python library that the backend's stub is linked against."""
    name = f"libpython{_python()}.so.1.0"
    folders = [sysconfig.get_config_var("LIBDIR"), Path(sys.base_prefix) / "lib", *_SYSTEM_FOLDERS]
    for folder in folders:
        if folder and (Path(folder) / name).is_file():
            return Path(folder)
    raise TritonUnavailable(
        f"Triton's python backend needs {name}, and this Python ({sys.base_prefix}) has none: install the"
        f" distribution's libpython{_python()}, or a Python built with --enable-shared, and run `make clean setup`"
    )


_SYSTEM_FOLDERS = (
    Path("/usr/lib/x86_64-linux-gnu"),
    Path("/usr/lib/aarch64-linux-gnu"),
    Path("/usr/lib64"),
    Path("/usr/lib"),
    Path("/usr/local/lib"),
)


def free_left_memory(data: Path) -> None:
    """Frees the shared memory of a server of `data` that was killed with -9; none may be running there."""
    if SHARED_MEMORY.is_dir():
        for left in SHARED_MEMORY.glob(f"{_memory_prefix(data.absolute())}*"):
            left.unlink(missing_ok=True)


def _lay_backend(wheel: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    stub = wheel / "python_backend_stubs" / _python() / "triton_python_backend_stub"
    for source in (*(wheel / "backends" / "python").iterdir(), stub):
        _link(folder / source.name, source)


def _lay_model(encoder: Encoder, repository: Path, config: str) -> None:
    folder = repository / model_name(encoder.name, encoder.version)
    (folder / "1").mkdir(parents=True)
    _link(folder / "1" / "model.onnx", encoder.model_path)
    _link(folder / "1" / "model.py", Path(__file__).with_name("model.py"))
    (folder / "config.pbtxt").write_text(config)


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() or link.exists():
        link.unlink()
    link.symlink_to(target.absolute())


def _config(encoder: Encoder, instances: int, threads: int, together: bool) -> str:
    """The model's config.pbtxt. No dynamic batching: on a CPU it buys nothing, and callers group texts already."""
    ids, mask = encoder.manifest.inputs
    parameters = {
        "ids": ids,
        "mask": mask,
        "output": encoder.manifest.output,
        "threads": str(threads),
        "together": str(together).lower(),
    }
    lines = [
        f'name: "{model_name(encoder.name, encoder.version)}"',
        'backend: "python"',
        "max_batch_size: 0",
        'input { name: "input_ids" data_type: TYPE_INT32 dims: [-1, -1] }',
        'input { name: "lengths" data_type: TYPE_INT32 dims: [-1] }',
        f'output {{ name: "embedding" data_type: TYPE_FP32 dims: [-1, {encoder.dimension}] }}',
        f"instance_group {{ kind: KIND_CPU count: {instances} }}",
        *(f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}' for key, value in parameters.items()),
    ]
    return "\n".join(lines) + "\n"
