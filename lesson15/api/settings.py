"""Settings of the service; each can be set as LESSON15_SERVICE_<NAME> in the environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

MIB = 1024 * 1024


class ServiceSettings(BaseSettings):
    """How the service runs. What a batch does is in :class:`lesson15.settings.Settings`."""

    model_config = SettingsConfigDict(env_prefix="LESSON15_SERVICE_", extra="forbid", frozen=True)

    state_dir: Path = Field(
        Path("checkpoints/service"), description="Keys, queue, and a folder for each user."
    )
    allowed_roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        (), description="Folders that every user may process, separated as in PATH."
    )

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    tls_certificate: Path | None = Field(None, description="PEM file; turns TLS on.")
    tls_key: Path | None = Field(None, description="PEM file of its private key.")
    tls_key_password: str | None = Field(None, repr=False)
    trusted_proxies: str = Field(
        "127.0.0.1", description="Addresses whose X-Forwarded-For is believed."
    )

    max_running: int = Field(2, ge=1, description="Batches in work at once.")
    max_running_per_user: int = Field(1, ge=1, description="Of these, of one user.")
    max_queued_per_user: int = Field(50, ge=1, description="Batches of one user not yet ended.")

    allow_faults: bool = Field(
        False, description="Instructors and admins may make their batches fail on purpose."
    )

    max_request_bytes: int = Field(256 * MIB, ge=1, description="Body of one request.")
    max_upload_files: int = Field(100, ge=1, description="Files in one request.")
    max_user_bytes: int = Field(2048 * MIB, ge=1, description="All uploads of one user.")

    rate_limit: str = Field("600/minute", description="Requests of one key.")
    failed_login_limit: str = Field("30/minute", description="Wrong keys from one address.")
    max_listeners_per_user: int = Field(150, ge=0, description="Open streams of live progress.")
    events_per_second: float = Field(10.0, gt=0, le=100, description="Of each stream, at most.")

    log_level: str = "INFO"
    log_format: Literal["plain", "json"] = "plain"
    log_file: Path | None = Field(None, description="Log here too, as JSON, with rotation.")

    @field_validator("allowed_roots", mode="before")
    @classmethod
    def _split_roots(cls, value: Any) -> Any:
        return tuple(filter(None, value.split(os.pathsep))) if isinstance(value, str) else value
