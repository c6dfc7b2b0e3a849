"""An object store as a destination, by URL, through obstore: s3://, and gs:// and az:// unproven.

Credentials come from the environment and the provider's usual chain, never from a URL. obstore
retries 5xx, resets and time-outs by itself; what it does not see is a byte that changed on the
way, so what was stored is read back and compared here.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from core.backup.catalogue import CopyState
from core.backup.destinations import StoredObject, new_file
from core.backup.errors import AlreadyStoredError, CorruptCopyError, DestinationError

if TYPE_CHECKING:
    from obstore.store import ObjectStore as Store

SCHEMES = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss")
_MULTIPART_ABOVE = 32 * 1024 * 1024
_PART = 8 * 1024 * 1024
_LONGEST_REASON = 300


class ObjectStore:
    """A bucket, or a prefix in one. `options` are obstore's own for the scheme (`region`,
    `endpoint`, `sse_kms_key_id`, `bucket_key_enabled`, ...).

    With `write_only` the credential may only add objects: then the provider's own check of the
    SHA-256 that is sent along stands in for reading back, and the state says so.
    """

    def __init__(
        self,
        name: str,
        url: str,
        options: Mapping[str, str] | None = None,
        *,
        write_only: bool = False,
        patience: timedelta = timedelta(minutes=1),
        allow_http: bool = False,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in SCHEMES:
            raise DestinationError(
                f"{name}: a backup destination is a path or a URL of s3, gs or az, "
                f"not {parts.scheme or 'nothing'}."
            )
        if "@" in parts.netloc and parts.scheme in ("s3", "s3a", "gs"):
            raise DestinationError(f"{name}: keep credentials out of the URL; see the handbook.")
        self._name = name
        self._write_only = write_only
        self._store = self._connect(url, dict(options or {}), patience, allow_http)

    def _connect(
        self, url: str, options: dict[str, str], patience: timedelta, allow_http: bool
    ) -> Store:
        from obstore import exceptions
        from obstore.store import from_url

        if url.startswith("s3"):
            options.setdefault("checksum_algorithm", "SHA256")
        try:
            store = from_url(
                url,
                # The keys of `options` are obstore's to know: it refuses those it does not.
                config=cast(Any, options),
                client_options={"timeout": timedelta(minutes=5), "allow_http": allow_http},
                retry_config={
                    "max_retries": 5,
                    "retry_timeout": patience,
                    "backoff": {
                        "init_backoff": timedelta(milliseconds=100),
                        "max_backoff": timedelta(seconds=5),
                        "base": 2,
                    },
                },
            )
        except (exceptions.BaseError, ValueError, TypeError) as error:
            raise self._failed("use", "its options", error) from error
        return store

    @property
    def name(self) -> str:
        return self._name

    async def prepare(self) -> None:
        """Nothing: a bucket is made where its rules are, at the provider."""

    async def put(
        self, source: Path, name: str, sha256: str, *, replace: bool = False
    ) -> CopyState:
        is_new = replace or await self._upload(source, name, sha256, only_create=True)
        if replace:
            await self._upload(source, name, sha256, only_create=False)
        if self._write_only:
            return CopyState.UPLOADED
        if await self._sha256(name) == sha256:
            return CopyState.STORED
        if not is_new:
            raise AlreadyStoredError(
                f"{self._name}: {name} exists and is another file; it was left alone."
            )
        if await self._sha256(name) == sha256:  # the first reading was what went wrong
            return CopyState.STORED
        # A name of ours with bytes that nobody made: nothing is lost by writing it again.
        await self._upload(source, name, sha256, only_create=False)
        if await self._sha256(name) != sha256:
            raise CorruptCopyError(
                f"{self._name}: {name} read back twice differs from what was sent. "
                "Check what stands between this machine and the store."
            )
        return CopyState.STORED

    async def _upload(self, source: Path, name: str, sha256: str, *, only_create: bool) -> bool:
        """False when the name was taken. Large files go in parts, which no store creates
        conditionally: their name is looked up instead, and it is unique."""
        import obstore
        from obstore import exceptions

        try:
            size = (await asyncio.to_thread(source.stat)).st_size
            is_large = size > _MULTIPART_ABOVE
            if only_create and is_large and not self._write_only and await self._exists(name):
                return False
            await obstore.put_async(
                self._store,
                name,
                source,
                attributes={"Content-Type": "application/octet-stream", "sha256": sha256},
                mode="create" if only_create and not is_large else "overwrite",
                use_multipart=is_large,
                chunk_size=_PART,
                max_concurrency=2,
            )
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
            return False
        except (exceptions.BaseError, OSError) as error:
            raise self._failed("store", name, error) from error
        return True

    async def _exists(self, name: str) -> bool:
        import obstore

        try:
            await obstore.head_async(self._store, name)
        except FileNotFoundError:
            return False
        return True

    async def _sha256(self, name: str) -> str:
        import obstore
        from obstore import exceptions

        digest = hashlib.sha256()
        try:
            found = await obstore.get_async(self._store, name)
            async for part in found.stream(min_chunk_size=1024 * 1024):
                digest.update(part)
        except (exceptions.BaseError, OSError) as error:
            raise self._failed("read back", name, error) from error
        return digest.hexdigest()

    async def put_note(self, name: str, content: bytes) -> None:
        import obstore
        from obstore import exceptions

        try:
            await obstore.put_async(self._store, name, content, use_multipart=False)
        except (exceptions.BaseError, OSError) as error:
            raise self._failed("store", name, error) from error

    async def fetch(self, name: str, target: Path) -> None:
        import obstore
        from obstore import exceptions

        new_file(target, name)
        try:
            found = await obstore.get_async(self._store, name)
            with target.open("wb") as file:
                async for part in found.stream(min_chunk_size=1024 * 1024):
                    await asyncio.to_thread(file.write, part)
                file.flush()
                await asyncio.to_thread(os.fsync, file.fileno())
        except (exceptions.BaseError, OSError) as error:
            await asyncio.to_thread(target.unlink, missing_ok=True)
            raise self._failed("read", name, error) from error

    async def read_start(self, name: str, length: int) -> bytes:
        import obstore
        from obstore import exceptions

        try:
            found = await obstore.get_async(self._store, name, options={"range": (0, length)})
            return bytes(await found.bytes_async())
        except (exceptions.BaseError, OSError) as error:
            raise self._failed("read", name, error) from error

    async def list(self) -> list[StoredObject]:
        import obstore
        from obstore import exceptions

        objects: list[StoredObject] = []
        try:
            async for page in obstore.list(self._store):
                objects += [StoredObject(meta["path"], meta["size"]) for meta in page]
        except (exceptions.BaseError, OSError) as error:
            raise self._failed("list", "its objects", error) from error
        return sorted(objects, key=lambda found: found.name)

    async def delete(self, name: str) -> None:
        import obstore
        from obstore import exceptions

        try:
            await obstore.delete_async(self._store, name)
        except FileNotFoundError:
            return
        except (exceptions.BaseError, OSError) as error:
            raise self._failed("delete", name, error) from error

    def _failed(self, verb: str, name: str, error: Exception) -> DestinationError:
        reason = " ".join(str(error).split()) or type(error).__name__
        return DestinationError(f"{self._name}: cannot {verb} {name}: {reason[:_LONGEST_REASON]}")
