"""What the commands share: the application, exit codes, options and printing."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from lesson15.arguments import MOST_CHUNK_CHARS, MOST_CONCURRENT, MOST_INTERVAL
from lesson15.settings import Settings

app = typer.Typer(
    help="Batch processing with checkpoint and resume.",
    epilog="Exit codes: 0 done; 1 finished with failed documents, or a fault was found; 2 bad "
    "usage or input; 3 the system was at fault, and the batch can be resumed or repaired; 130 "
    "interrupted twice; 141 nobody reads the output any more.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class ExitCode(enum.IntEnum):
    """What the process returns."""

    DONE = 0
    FAILURES = 1
    USAGE = 2
    RESUMABLE = 3


StateDir = Annotated[
    Path | None,
    # Whether it can be read is told by whoever reads it: it is no bad usage.
    typer.Option("--state-dir", help="Folder of all batches' state.", readable=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
BatchId = Annotated[str, typer.Argument(metavar="ID", help="Batch id.")]
MaxConcurrent = Annotated[
    int | None,
    typer.Option(min=1, max=MOST_CONCURRENT, help="Documents in work at once, 10 by default."),
]
Interval = Annotated[
    int | None,
    typer.Option(
        min=1, max=MOST_INTERVAL, help="Documents between two checkpoints, 10 by default."
    ),
]
Embedder = Annotated[
    str | None,
    typer.Option(
        "--embedder",
        help="Embedding model: minilm, hashing, path:FOLDER, openai:URL#MODEL, or of a plugin.",
    ),
]
Store = Annotated[
    str | None, typer.Option("--store", help="Vector store: faiss, chroma, or of a plugin.")
]
Chunker = Annotated[
    str | None,
    typer.Option("--chunker", help="What splits documents: default, or of a plugin."),
]
Steps = Annotated[
    list[str] | None,
    typer.Option("--step", help="Plugin that chunks go through before the model; may be repeated."),
]
ChunkChars = Annotated[
    int | None,
    typer.Option(
        "--chunk-chars",
        min=50,
        max=MOST_CHUNK_CHARS,
        help="Longest chunk, in characters of English.",
    ),
]
ChunkOverlap = Annotated[
    int | None,
    typer.Option(
        "--chunk-overlap-chars",
        min=0,
        max=MOST_CHUNK_CHARS,
        help="Characters shared by neighbours.",
    ),
]
Broker = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Celery broker, redis://... or amqp://..."),
]


def state_folder(given: Path | None) -> Path:
    """The state folder: ``given``, or that of the settings."""
    return given if given is not None else Settings().state_dir


def print_json(content: dict[str, Any]) -> None:
    """Print ``content`` as the one JSON object on stdout."""
    print(json.dumps(content, ensure_ascii=False))
