"""What the storms meet: documents, batches in several states, and what must come of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lesson15 import Batch, Searcher, verify
from lesson15.checkpoint.encryption import Keyring
from lesson15.events import DocRemoved, DocSettled
from lesson15.models import DocStatus
from lesson15.settings import Settings
from tests.storms.shim import Storm
from tests.storms.zygote import Zygote

KEY, OLD_KEY = "5a" * 32, "3c" * 32
QUERIES = ("subject 74 of the archive", "how bees keep honey", "tables of the third quarter")
_WORDS = ("harbour", "lantern", "meadow", "orchard", "pebble", "quarry", "ribbon", "saddle")
Hits = list[tuple[str, int, float]]
ALL = 500
"""More hits than there are chunks: two searches that find the same have the same vectors."""


@dataclass
class Content:
    """What a batch holds: each document's status and hash, and what searches find."""

    documents: dict[str, tuple[DocStatus, str | None]] = field(default_factory=dict)
    hits: list[Hits] = field(default_factory=list)

    def done(self) -> dict[str, str | None]:
        return {name: sha for name, (status, sha) in self.documents.items()
                if status is DocStatus.DONE}  # fmt: skip

    def in_trouble(self) -> set[str]:
        return self.documents.keys() - self.done().keys()


def write_documents(folder: Path, *, is_later: bool = False) -> None:
    """Write 14 documents of six types; or what becomes of them: some change, go and come."""
    for number in range(14):
        kind = ("txt", "md", "html", "json", "csv", "txt")[number % 6]
        path = folder / ("", "letters", "letters/old")[number % 3] / f"d{number:02}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        words = " ".join(_WORDS[(number * 3 + each) % len(_WORDS)] for each in range(40))
        text = f"Document {number} is about subject {number * 37} of the archive: {words}."
        if is_later and number in (2, 5, 9):
            text += " It was changed since, and speaks of how bees keep honey."
        if is_later and number == 7:
            path.unlink()
            continue
        if not is_later or number in (2, 5, 9):
            path.write_text(_dressed(kind, text))
    if is_later:
        (folder / "letters/new.md").write_text("# News\n\nTables of the third quarter are here.\n")


def _dressed(kind: str, text: str) -> str:
    return {
        "txt": text * 3, "md": f"# A heading\n\n{text}\n\n## Another\n\n{text}\n",
        "html": f"<html><body><h1>A heading</h1><p>{text}</p></body></html>",
        "json": f'{{"title": "{text}"}}', "csv": f"name,text\nfirst,{text}\nsecond,{text}\n",
    }[kind]  # fmt: skip


def hits_of(found: Hits) -> Hits:
    """``found`` in an order that ties and rounding do not change."""
    return sorted((name, chunk, round(score, 3)) for name, chunk, score in found)


class World:
    """Batches named "b", each in a state folder of its own, made once and copied for each try.

    "none": there is no batch; "killed": a run that a full disk stopped half-way; "done"; "changed":
    finished, but the sources changed since; "dead": finished, with documents that could not be
    read; "damaged": finished, with a flipped byte in a block, and what is derived is lost;
    "sealed": finished, encrypted with the old key.
    """

    def __init__(self, folder: Path, zygote: Zygote) -> None:
        self.folder = folder
        self._zygote = zygote
        self.docs, self.moving = folder / "docs", folder / "moving"
        self.state = folder / "state"
        self._key_file = folder / "keys"
        self._old_key_file = folder / "old-keys"
        self._old_key_file.write_text(f"old:{OLD_KEY}\n")
        self._key_file.write_text(f"new:{KEY}\nold:{OLD_KEY}\n")
        self.stored: dict[str, Content] = {"none": Content()}
        for sources in (self.docs, self.moving):
            write_documents(sources)
        (self._template("none")).mkdir()
        for name, make in (
            ("killed", self._make_killed), ("done", self._make_done), ("dead", self._make_dead),
            ("changed", self._make_done), ("sealed", self._make_done),
        ):  # fmt: skip
            self._make(name, make)
        self._make("damaged", self._make_damaged)
        self.wanted = {"docs": self.stored["done"]}
        write_documents(self.moving, is_later=True)
        self.restore("none")
        self._run("changed")
        self.wanted["moving"] = self.content("changed")
        assert len(self.wanted["moving"].documents) == 14
        assert self.wanted["moving"] != self.stored["changed"]

    def sources(self, kind: str) -> Path:
        return self.moving if kind == "changed" else self.docs

    def keys(self, kind: str) -> dict[str, str]:
        """The environment that a batch of ``kind`` needs."""
        if kind != "sealed":
            return {}
        return {"LESSON15_ENCRYPTION_KEY_FILE": str(self._key_file)}

    def _keyring(self, kind: str) -> Keyring | None:
        if kind != "sealed":
            return None
        return Keyring.of(Settings(encryption_key_file=self._key_file))

    def restore(self, kind: str) -> None:
        """Put a fresh copy of the batch of ``kind`` into the state folder."""
        shutil.rmtree(self.state, ignore_errors=True)
        shutil.copytree(self._template(kind), self.state)

    def content(self, kind: str) -> Content:
        """What the batch in the state folder holds; it must be readable."""
        keys = self._keyring(kind)
        content = Content()
        with Batch.open(self.state, "b", keys=keys) as batch:
            for event in batch.events():
                if isinstance(event, DocSettled):
                    content.documents[event.doc_id] = event.status, event.sha256
                elif isinstance(event, DocRemoved):
                    content.documents.pop(event.doc_id, None)
        if content.done():
            searcher = Searcher("b", self.state, keys=keys)
            try:
                for query in QUERIES:
                    found = searcher.search(query, ALL)
                    content.hits.append(hits_of([(hit.doc_id, hit.chunk, hit.score)
                                                 for hit in found]))  # fmt: skip
            finally:
                searcher.close()
        return content

    def faults(self, kind: str) -> list[str]:
        """What is wrong with the batch in the state folder."""
        keys = self._keyring(kind)
        return verify("b", self.state, keys).faults

    # --- how the batches are made -------------------------------------------------------------

    def _template(self, kind: str) -> Path:
        return self.folder / f"state-{kind}"

    def _make(self, kind: str, make: Callable[[str], None]) -> None:
        self.restore("none")
        make(kind)
        shutil.copytree(self.state, self._template(kind))
        if kind != "damaged":
            self.stored[kind] = self.content(kind)

    def _run(self, kind: str, storm: Storm | None = None) -> None:
        keys = {"LESSON15_ENCRYPTION_KEY_FILE": str(self._old_key_file)}
        self._zygote(
            "run", self.sources(kind).name, "--batch-id", "b", "--state-dir", "state",
            "--embedder", "hashing", "--max-concurrent", 2, "--checkpoint-interval", 2,
            storm=storm, environment=keys if kind == "sealed" else {},
        )  # fmt: skip

    def _make_done(self, kind: str) -> None:
        self._run(kind)
        assert not self.faults(kind)
        assert len(self.content(kind).done()) == 14

    def _make_killed(self, kind: str) -> None:
        self._run(kind, Storm((self.state,), ("write",), "ENOSPC", spared=40))
        assert 0 < len(self.content(kind).done()) < 14

    def _make_dead(self, kind: str) -> None:
        self._run(kind, Storm((self.docs,), ("read",), "EIO", seed=5, rate=3000, is_stuck=True))
        content = self.content(kind)
        assert content.done()
        assert content.in_trouble()

    def _make_damaged(self, kind: str) -> None:
        shutil.rmtree(self.state)
        shutil.copytree(self._template("done"), self.state)
        batch = self.state / "b"
        data = bytearray((batch / "segment.bin").read_bytes())
        data[len(data) // 2] ^= 4
        (batch / "segment.bin").write_bytes(data)
        for path in (*batch.glob("catalog*"), *batch.glob("index*")):
            path.unlink()
        self.stored[kind] = self.stored["done"]
