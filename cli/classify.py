"""`assay classify`: one text through the public port."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import click

from cli.failure import CommandFailed
from cli.options import as_json, mesh_address


@click.command()
@click.argument("text")
@click.option("--model", default="", help="A model's name, for example banking. Default: the industry's, or intent.")
@click.option("--model-version", default="", help="v1, v1.2 or v1.2.3. Default: the stable one.")
@click.option("--industry", default="", help="general, finance or medical. Default: the model's.")
@click.option("--rest", is_flag=True, help="Ask over HTTP with JSON instead of gRPC.")
@mesh_address
@as_json
def classify(
    text: str, model: str, model_version: str, industry: str, rest: bool, address: str | None, data: Path, json_: bool
) -> None:
    """Classify TEXT through the running mesh; - reads it from standard input.

    \b
    assay classify "I lost my card and need a new one" --model banking
    assay classify "我发烧三天了，还咳嗽" --industry medical
    cat letter.txt | assay classify - --json
    """
    if text == "-":
        try:
            text = sys.stdin.buffer.read().decode()
        except UnicodeDecodeError as error:
            raise CommandFailed(f"standard input is not UTF-8 (byte {error.start})") from None
    fields = {"text": text, "model": model, "model_version": model_version, "industry": industry}
    answer = asyncio.run(_ask(address, data, rest, {key: value for key, value in fields.items() if value}))
    if json_:
        click.echo(json.dumps(answer, ensure_ascii=False))
        return
    click.echo(f"{answer['label']}  {float(answer['confidence']):.3f}  {answer['model']} {answer['model_version']}")
    click.secho(f"audit  {answer['audit_id']}", dim=True)
    if answer.get("review_task_id"):
        click.secho(f"review {answer['review_task_id']}  (not sure enough: a person will look at it)", fg="yellow")


async def _ask(address: str | None, data: Path, rest: bool, fields: dict[str, str]) -> dict[str, Any]:
    from cli.client import PublicPort
    from cli.folder import running_mesh

    async with PublicPort(address or running_mesh(data)["public"]) as port:
        return await (port.classify_rest(**fields) if rest else port.classify(**fields))
