"""Runs ``mini.py`` over the documents in a folder, and says on stdout what it has done."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import BinaryIO

from lesson15.mini import MiniBatch


def say(*words: str) -> None:
    os.write(1, (" ".join(words) + "\n").encode())  # in one step, so that a kill tears no line


class TalkativeBatch(MiniBatch):
    def commit(self, journal: BinaryIO) -> None:
        super().commit(journal)
        say("committed")


def work(content: bytes) -> str:
    say("worked", content.decode())
    return hashlib.sha256(content * 1000).hexdigest()


if __name__ == "__main__":
    documents, folder = Path(sys.argv[1]), Path(sys.argv[2])
    TalkativeBatch(folder).run(sorted(documents.iterdir()), work, commit_every=4)
    say("ended")
