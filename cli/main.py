"""`assay`: the command line. Each command is loaded when it is asked for, so that help comes at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

import click

from cli.lazy import Lazy

# Name: where the click command is, and what `assay --help` says of it.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "demo": ("cli.demo:demo", "Start a mesh, classify real texts, show audit and review, stop."),
    "up": ("cli.up:up", "Start the mesh and keep it running; Ctrl-C stops it."),
    "status": ("cli.status:status", "Ask every part of the running mesh how it is."),
    "classify": ("cli.classify:classify", "Classify a text through the running mesh."),
    "audit": ("cli.audit:audit", "Read the audit log, prove it, answer for what it holds."),
    "review": ("cli.records:review", "Read the review tasks."),
    "topics": ("cli.topics:topics", "Create the event log's topics and see what waits in them."),
    "deadletters": ("cli.deadletters:deadletters", "Look at events that could not be taken, and put them back."),
    "models": ("cli.models:models", "Work with the models that ship: evaluate, rebuild, list."),
    "bench": ("cli.bench:bench", "Measure what the mesh costs, against its alternatives."),
}


@click.command(
    cls=Lazy, loads=COMMANDS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(package_name="assay", message="%(prog)s %(version)s")
def assay() -> None:
    """Text classification as a governed service, on this machine.

    \b
    assay demo                          see all of it in one go
    assay up                            keep a mesh running at 127.0.0.1:8080
    assay classify "I lost my card"     ask it
    assay status                        how is it?

    Every command takes --json. Exit codes: 0 all well, 1 it could not be done (the text says why), 2 wrong usage.
    """


def main() -> None:
    """The entry point: runs a command and turns what goes wrong into a line and an exit code."""
    # gRPC's C core writes its own lines to standard error; what matters of them comes back as an error anyway.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        # click gives back what a command left with by ctx.exit, and else what the command returned, which is nothing.
        code = assay.main(prog_name="assay", standalone_mode=False)
        if code:
            sys.exit(code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("assay: interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
