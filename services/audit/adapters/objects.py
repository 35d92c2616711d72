"""Object storage by its URL: a folder, or anything that speaks S3."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from services.kernel.stores import StoreUnavailable

FORMS = "file:///folder or s3://bucket/prefix?endpoint=https://host&region=name"
_OPTIONS = ("endpoint", "region")
_TIMEOUT = "60s"


def require_valid(url: str) -> None:
    """Raises ValueError unless the URL names an archive and holds no secret; it quotes nothing of it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(f"can't be read; it must be {FORMS}") from None
    if parts.username or parts.password:
        raise ValueError("holds credentials; give them as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    if parts.scheme == "file":
        if parts.netloc or not parts.path.strip("/"):
            raise ValueError(f"names no folder; it must be {FORMS}")
    elif parts.scheme == "s3":
        if not parts.netloc:
            raise ValueError(f"names no bucket; it must be {FORMS}")
        if unknown := {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)} - {*_OPTIONS}:
            raise ValueError(f"has {len(unknown)} options that are not {' or '.join(_OPTIONS)}; it must be {FORMS}")
    else:
        raise ValueError(f"is no URL of an archive; it must be {FORMS}")


class UrlObjects:
    """Objects below a URL. S3's credentials come from the environment or from the machine's role."""

    def __init__(self, url: str) -> None:
        """Connects to nothing yet. Raises ValueError as require_valid does."""
        require_valid(url)
        self._parts = urlsplit(url)
        self._folder = Path(unquote(self._parts.path)) if self._parts.scheme == "file" else None
        self._store: Any = None

    async def write(self, name: str, content: AsyncIterator[bytes]) -> None:
        import obstore
        from obstore.exceptions import BaseError

        try:
            async with obstore.open_writer_async(self._opened(), name) as writer:
                async for chunk in content:
                    await writer.write(chunk)
            if self._folder is not None:
                await asyncio.to_thread(_sync, self._folder / name)
        except (BaseError, OSError) as fault:
            raise StoreUnavailable("archive") from fault

    async def read(self, name: str) -> AsyncIterator[bytes]:
        import obstore
        from obstore.exceptions import BaseError

        try:
            found = await obstore.get_async(self._opened(), name)
            async for chunk in found.stream():
                yield bytes(chunk)
        except (BaseError, OSError) as fault:
            raise StoreUnavailable("archive") from fault

    async def remove(self, name: str) -> None:
        import obstore
        from obstore.exceptions import BaseError

        try:
            await obstore.delete_async(self._opened(), name)
        except FileNotFoundError:
            pass
        except (BaseError, OSError) as fault:
            raise StoreUnavailable("archive") from fault

    def _opened(self) -> Any:
        """Returns the store, made when it is first needed: a folder that is away is no reason not to start."""
        if self._store is None:
            self._store = _bucket(self._parts) if self._folder is None else _folder(self._folder)
        return self._store


def _folder(folder: Path) -> Any:
    from obstore.store import LocalStore

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return LocalStore(folder)


def _sync(file: Path) -> None:
    """Returns when a file and its name are on the disk: what is archived is removed elsewhere next."""
    for path in (file, file.parent, file.parent.parent):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _bucket(parts: SplitResult) -> Any:
    from obstore.store import S3Store

    options = dict(parse_qsl(parts.query))
    endpoint = options.get("endpoint")
    settings: dict[str, Any] = {"region": options.get("region", "us-east-1")}
    if endpoint:
        settings |= {"endpoint": endpoint, "virtual_hosted_style_request": False}
    return S3Store(
        parts.netloc,
        prefix=parts.path.strip("/") or None,
        config=cast(Any, settings),
        client_options={"timeout": _TIMEOUT, "allow_http": bool(endpoint and endpoint.startswith("http://"))},
        retry_config={"max_retries": 3},
    )
