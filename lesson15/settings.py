"""All tunable values, in one place; each can be set as LESSON15_<NAME> in the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from lesson15.arguments import MOST_CHUNK_CHARS, MOST_CONCURRENT, MOST_INTERVAL


class Settings(BaseSettings):
    """Defaults of a batch. Explicit arguments win over the environment."""

    model_config = SettingsConfigDict(env_prefix="LESSON15_", extra="forbid", frozen=True)

    state_dir: Path = Field(Path("checkpoints"), description="Folder of all batches' state.")
    max_concurrent: int = Field(
        10, ge=1, le=MOST_CONCURRENT, description="Documents in work at once."
    )
    checkpoint_interval: int = Field(
        10, ge=1, le=MOST_INTERVAL, description="Documents between two checkpoints."
    )
    embedder: str = Field(
        "minilm", description="minilm, hashing, path:FOLDER, openai:URL#MODEL, or a plugin's."
    )
    store: str = Field("faiss", description="faiss, chroma, or that of a plugin.")
    chunker: str = Field("default", description="default, or that of a plugin.")
    steps: tuple[str, ...] = Field(
        (), description="Plugins that chunks go through before they are embedded, in order."
    )
    step_timeout: float = Field(300.0, gt=0, description="Seconds for one step of one document.")
    checkpoint_backend: str = Field("os", description="os, or that of a plugin.")

    chunk_chars: int = Field(
        800, ge=50, le=MOST_CHUNK_CHARS, description="Longest chunk, in characters of English."
    )
    chunk_overlap_chars: int = Field(
        80, ge=0, le=MOST_CHUNK_CHARS, description="Characters shared by neighbours."
    )

    max_document_bytes: int = Field(50 * 1024 * 1024, ge=1)
    document_roots: tuple[Path, ...] | None = Field(
        None, description="Documents must lie in one of these folders. None: anywhere."
    )
    parse_timeout: float = Field(60.0, gt=0, description="Seconds for reading and parsing.")
    parser_memory_bytes: int = Field(2 * 1024**3, ge=256 * 1024**2)
    parser_processes: int | None = Field(None, ge=1, description="None: one per core.")

    embed_timeout: float = Field(300.0, gt=0, description="Seconds for one micro-batch.")
    embed_batch_chunks: int = Field(
        4, ge=1, description="Chunks in one micro-batch at most; on a GPU 64 or more."
    )

    max_retries: int = Field(3, ge=0, description="Retries after a network timeout.")
    retry_delay: float = Field(1.0, ge=0, description="Base of every retry wait, in seconds.")

    max_retry_after: float = Field(
        300.0, ge=0, description="Seconds that a service may ask to be left alone, at most."
    )
    breaker_failures: int = Field(
        5, ge=1, description="Failed embedding calls in a row that mean that the service is away."
    )
    outage_patience: float = Field(
        3600.0, ge=0, description="Seconds to wait for an embedding service before aborting."
    )
    probe_interval: float = Field(
        30.0, gt=0, description="Seconds between two probes of a service that is away, at most."
    )
    embed_requests_per_minute: float | None = Field(
        None, gt=0, description="Calls of the embedder, at most; what it says itself wins."
    )
    embed_tokens_per_minute: float | None = Field(
        None, gt=0, description="Tokens sent to the embedder, at most; what it says itself wins."
    )

    encryption_key: SecretStr | None = Field(None, description="32 bytes in base64 or hex.")
    encryption_key_file: Path | None = Field(
        None, description="One `id:key` a line; the first encrypts, all decrypt."
    )
    webhook_url: str | None = Field(
        None, pattern=r"^https?://", description="Is sent a POST when a batch ends."
    )
    webhook_secret: SecretStr | None = Field(None, description="Signs what is sent.")

    memory_low_fraction: float = Field(
        0.05, ge=0, lt=1, description="Free memory below this fraction lowers concurrency."
    )
    loop_lag_limit: float = Field(
        0.5, gt=0, description="Event-loop lag, in seconds, that lowers concurrency."
    )

    broker_url: str | None = Field(None, description="Celery broker: redis://... or amqp://...")
    shard_docs: int = Field(1000, ge=1, description="Documents in a shard, about.")
    lease_seconds: float = Field(
        10.0, ge=1, description="A worker without a sign of life for this long loses its shard."
    )
    broker_patience: float = Field(
        300.0, ge=0, description="Seconds that the broker may be away before the batch aborts."
    )

    def given(self, name: str) -> Any:
        """The value of ``name`` if the environment or the caller gave one, else None."""
        return getattr(self, name) if name in self.model_fields_set else None
