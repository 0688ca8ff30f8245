"""Uploads."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.datastructures import UploadFile

from lesson15.api import uploads
from lesson15.api.access import CurrentService, CurrentUser
from lesson15.api.models import Files
from lesson15.api.problems import documented
from lesson15.errors import ServiceError
from lesson15.settings import Settings

router = APIRouter(prefix="/files", tags=["files"], responses=documented(401, 422, 429))
_storing = asyncio.Lock()  # two uploads at once must not pass the limit together
_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "additionalProperties": False,
                    "properties": {
                        "files": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "format": "binary"},
                        }
                    },
                }
            }
        },
    }
}


@router.get("")
async def list_files(user: CurrentUser, service: CurrentService) -> Files:
    """Your uploads, and the shared folders whose documents you may process too."""
    found = await asyncio.to_thread(uploads.list_files, service.folder(user).files)
    shared = [str(root) for root in service.settings.allowed_roots]
    return Files(files=found, total_bytes=sum(file.size for file in found), roots=shared)


# The form is read here and not declared as a parameter: FastAPI would read it before it asks for
# the key, and take 256 MiB from anybody.
@router.post("", openapi_extra=_FORM)
async def upload(request: Request, user: CurrentUser, service: CurrentService) -> Files:
    """Store files for batches; one of the same name is replaced."""
    limit = service.settings.max_upload_files
    async with request.form(max_files=limit, max_fields=0) as form:
        received = [part for part in form.getlist("files") if isinstance(part, UploadFile)]
        if not received or len(received) != len(form.multi_items()):
            raise ServiceError(problem="Send one or more files in form fields named `files`.")
        folder = service.folder(user).files
        async with _storing:
            stored = await asyncio.to_thread(
                uploads.store,
                folder,
                [(part.filename or "", part.file) for part in received],
                Settings().max_document_bytes,
                service.settings.max_user_bytes,
            )
    return Files(files=stored, total_bytes=sum(file.size for file in stored), roots=[])


@router.delete("/{name}", status_code=204, responses=documented(404))
async def delete(
    name: Annotated[str, Path(max_length=200, examples=["report.pdf"])],
    user: CurrentUser,
    service: CurrentService,
) -> None:
    """Delete an upload; a resume then takes it out of the index."""
    await asyncio.to_thread(uploads.remove, service.folder(user).files, name)
