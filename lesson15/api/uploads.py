"""Uploaded files of one user: a flat folder with limits."""

from __future__ import annotations

import os
import secrets
import shutil
import unicodedata
from pathlib import Path
from typing import BinaryIO

from lesson15.api.models import StoredFile
from lesson15.documents.loaders import loaders, supported_types
from lesson15.errors import OwnFileNotFoundError, RequestTooLargeError, UploadNameError

MAX_NAME_BYTES = 200


def check_name(name: str) -> None:
    """Raise UploadNameError unless ``name`` is a plain, visible file name of a known type."""
    detail = None
    if not name or name.startswith(".") or {"/", "\\"} & set(name):
        detail = "it is hidden, empty, or a path"
    elif any(unicodedata.category(char) in ("Cc", "Cs", "Cf") for char in name):
        detail = "it has characters that do not show"
    elif len(name.encode()) > MAX_NAME_BYTES:
        detail = f"it is longer than {MAX_NAME_BYTES} bytes"
    elif Path(name).suffix.lower() not in loaders():
        detail = "its type is not supported"
    if detail:
        raise UploadNameError(name=name, detail=detail, types=supported_types())


def list_files(folder: Path) -> list[StoredFile]:
    """The files in ``folder``, by name."""
    found = []
    for path in sorted(folder.iterdir()):
        status = path.lstat()
        if not path.name.startswith("."):
            found.append(
                StoredFile(name=path.name, size=status.st_size, modified_at=status.st_mtime)
            )
    return found


def store(
    folder: Path, uploads: list[tuple[str, BinaryIO]], max_file_bytes: int, max_total_bytes: int
) -> list[StoredFile]:
    """Put ``uploads`` (name and content) into ``folder``, all or none; blocks on the disk.

    A file of that name is replaced.

    Raises:
        UploadNameError, RequestTooLargeError: one breaks a limit.
    """
    sizes = {}
    for name, content in uploads:
        check_name(name)
        sizes[name] = content.seek(0, os.SEEK_END)
        if sizes[name] > max_file_bytes:
            raise RequestTooLargeError(what=name, limit=f"{max_file_bytes} bytes")
    kept = sum(file.size for file in list_files(folder) if file.name not in sizes)
    if kept + sum(sizes.values()) > max_total_bytes:
        raise RequestTooLargeError(what="All you have stored", limit=f"{max_total_bytes} bytes")
    for name, content in uploads:
        content.seek(0)
        temporary = folder / f".upload-{secrets.token_hex(8)}"
        try:
            with temporary.open("xb") as file:
                shutil.copyfileobj(content, file)
            temporary.replace(folder / name)
        finally:
            temporary.unlink(missing_ok=True)
    return [file for file in list_files(folder) if file.name in sizes]


def remove(folder: Path, name: str) -> None:
    """Delete the file ``name``; raises OwnFileNotFoundError."""
    is_plain = not name.startswith(".") and "/" not in name and "\0" not in name
    if not is_plain or not (folder / name).is_file():
        raise OwnFileNotFoundError(name=name)
    (folder / name).unlink()
