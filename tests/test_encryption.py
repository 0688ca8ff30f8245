"""Encryption at rest: nothing in clear, no damage unseen, no key in sight, and rotation."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lesson15 import Batch, BatchProcessor, CheckpointManager, Recording, Searcher, verify
from lesson15.checkpoint.batch_files import BatchFiles
from lesson15.checkpoint.encryption import Cipher, Encryption, Keyring
from lesson15.checkpoint.filesystem import AppendFile, OsFileSystem
from lesson15.checkpoint.migrations import SCHEMA_VERSION
from lesson15.checkpoint.state_files import encode
from lesson15.engine.rekey import rekey, rekey_in
from lesson15.errors import (
    BatchKeyError,
    BatchNotFoundError,
    CheckpointWriteError,
    CorruptCheckpointError,
    InvalidKeyError,
    Lesson15Error,
    UsageError,
)
from lesson15.models import BatchState, Chunk
from lesson15.settings import Settings
from lesson15.stores import faiss_store, open_store
from tests.crash import oracle
from tests.test_cli import as_json, lesson15
from tests.test_replay import command

Make = Callable[..., BatchProcessor]
KEY_VARIABLE, FILE_VARIABLE = "LESSON15_ENCRYPTION_KEY", "LESSON15_ENCRYPTION_KEY_FILE"
KEY, OTHER = b"\x17" * 32, b"\x42" * 32


def set_key(monkeypatch: pytest.MonkeyPatch, key: bytes | None) -> None:
    if key is None:
        monkeypatch.delenv(KEY_VARIABLE)
    else:
        monkeypatch.setenv(KEY_VARIABLE, base64.b64encode(key).decode())


class Killed(BaseException):
    """The process dies."""


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    set_key(monkeypatch, KEY)


def all_bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.usefixtures("key")
async def test_a_whole_life_encrypted(docs: Path, state: Path, make: Make) -> None:
    report = await make().process_batch([docs], "b")
    assert (report["processed_docs"], report["failed_docs"]) == (10, 2)
    assert oracle.indexed(state, "b") == oracle.sequential(docs, "hashing")
    names = ("journal.log", "segment.bin", "checkpoint.json", "manifest.json", "index.faiss")
    before = [(state / "b" / name).read_bytes() for name in names]
    again = await make().resume_batch("b")
    assert {**again, "run": None} == {**report, "run": None}
    assert again["run"]["unchanged"] == 12
    assert [(state / "b" / name).read_bytes() for name in names] == before  # no trace
    (docs / "d1.txt").write_text("now about volcanoes " * 40)
    (docs / "d2.txt").unlink()
    os.utime(docs / "d3.txt")
    (docs / "empty.txt").write_text("no longer empty")
    await make().retry_failed("b")
    report = await make().resume_batch("b")
    assert (report["processed_docs"], report["failed_docs"]) == (10, 1)
    assert oracle.indexed(state, "b") == oracle.sequential(docs, "hashing")
    result = verify("b", state)
    assert result.is_clean, result.faults
    searcher = Searcher("b", state)
    (hit,) = searcher.search("volcanoes", 1)
    searcher.close()
    assert Path(hit.doc_id).name == "d1.txt"
    recording = Recording(state, "b")
    assert recording.seek(len(recording)).processed_docs == 10
    found = all_bytes(state / "b")
    for secret in (b"d1.txt", b"volcano", b"subject", b"not valid", str(docs).encode(), b"hashing"):
        assert secret not in found
    outside = json.loads((state / "b" / "checkpoint.json").read_text())
    assert outside["schema_version"] == SCHEMA_VERSION
    assert outside["commit"]["encryption"]["key_id"].startswith("key-")
    assert outside["commit"]["journal_bytes"] == (state / "b" / "journal.log").stat().st_size
    assert "state" not in outside


async def test_no_key_no_change(
    docs: Path, state: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plain batch stays plain, whatever key is set later."""
    await make().process_batch([docs], "b")
    set_key(monkeypatch, KEY)
    (docs / "new.txt").write_text("new")
    await make().resume_batch("b")
    assert verify("b", state).is_clean
    set_key(monkeypatch, None)
    assert verify("b", state).is_clean
    assert b"new.txt" in (state / "b" / "journal.log").read_bytes()


async def test_a_missing_or_wrong_key_is_named(
    docs: Path, state: Path, make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    set_key(monkeypatch, KEY)
    await make().process_batch([docs], "b")
    await make().process_batch([docs / "d1.txt"], "c")
    key_id = str(key_of(state))
    recording = Recording(state, "b")
    for other in (None, OTHER):
        set_key(monkeypatch, other)
        for ask in (
            lambda: verify("b", state),
            lambda: Searcher("b", state),
            lambda: Recording(state, "b"),
            lambda: Batch.open(state, "b"),
            lambda: CheckpointManager(state).open("b"),
            lambda: asyncio.run(CheckpointManager(state).load_checkpoint("b")),
        ):
            with pytest.raises(BatchKeyError) as caught:
                await asyncio.to_thread(ask)
            for part in ("'b'", key_id, KEY_VARIABLE, FILE_VARIABLE):
                assert part in str(caught.value)
        with pytest.raises(BatchKeyError):
            await make().resume_batch("b")
    assert len(list(recording.events())) == len(recording)  # has its key already
    monkeypatch.delenv(KEY_VARIABLE)
    keys = tmp_path / "keys"
    keys.write_text(f"{key_id}:{OTHER.hex()}\n")
    monkeypatch.setenv(FILE_VARIABLE, str(keys))
    with pytest.raises(BatchKeyError, match="is another one"):
        verify("b", state)
    listed = as_json(lesson15("list", "--state-dir", state, "--json"))
    assert {entry["status"] for entry in listed["batches"]} == {"encrypted"}
    done = lesson15("verify", "b", "--state-dir", state)
    assert (done.returncode, "is encrypted with the key" in done.stderr) == (2, True)
    assert OTHER.hex() not in done.stderr + done.stdout


def flipped(path: Path, at: int) -> bytes:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    return bytes(data)


@pytest.mark.usefixtures("key")
async def test_every_flipped_byte_is_seen(docs: Path, state: Path, make: Make) -> None:
    await make().process_batch([docs / "d1.txt", docs / "empty.txt"], "b")
    checked = 0
    for name in ("journal.log", "segment.bin", "manifest.json", "checkpoint.json", "index.faiss"):
        path = state / "b" / name
        sound = path.read_bytes()
        for at in range(0, len(sound), max(1, len(sound) // 40)):
            path.write_bytes(flipped(path, at))
            try:
                is_clean = verify("b", state).is_clean
            except Lesson15Error:
                is_clean = False
            assert not is_clean, f"byte {at} of {name}"
            path.write_bytes(sound)
            checked += 1
    assert verify("b", state).is_clean
    assert checked > 150


@pytest.mark.usefixtures("key")
async def test_checksums_made_anew_help_no_forger(docs: Path, state: Path, make: Make) -> None:
    """The offsets are in clear, and so are their checksums; neither can be forged."""
    await make().process_batch([docs], "b")
    path = state / "b" / "checkpoint.json"
    content = json.loads(path.read_text())
    del content["checksum"]
    content["commit"]["number"] += 1
    path.write_bytes(encode(content))
    with pytest.raises(CorruptCheckpointError, match="was changed"):
        CheckpointManager(state).open("b")
    content["sealed"] = "not base64!"
    path.write_bytes(encode(content))
    with pytest.raises(CorruptCheckpointError, match="was changed"):
        CheckpointManager(state).open("b")


def test_sealed_data_fits_one_place_of_one_batch() -> None:
    cipher, other = Cipher(KEY, "b"), Cipher(KEY, "c")
    sealed = cipher.seal(b"text", "journal:7")
    assert cipher.open(sealed, "journal:7", Path("j")) == b"text"
    for opener, place in ((cipher, "journal:8"), (cipher, "segment:7"), (other, "journal:7")):
        with pytest.raises(CorruptCheckpointError, match="belongs elsewhere"):
            opener.open(sealed, place, Path("j"))
    with pytest.raises(CorruptCheckpointError):
        cipher.open(sealed[:5], "journal:7", Path("j"))
    assert cipher.hide("a") != cipher.hide("b")
    assert cipher.hide("a") == Cipher(KEY, "other").hide("a")  # the key is the batch's own


@pytest.mark.usefixtures("key")
async def test_no_nonce_comes_twice_after_a_crash(state: Path) -> None:
    """What is written again to the same place has another nonce."""

    class Dying(OsFileSystem):
        """Dies between the segment and the checkpoint."""

        def create(self, path: Path) -> AppendFile:
            raise Killed

    manager = CheckpointManager(state)
    await manager.save_checkpoint(BatchState("b"))
    nonces = set()
    for _ in range(20):
        files = BatchFiles(manager.open("b"), Dying())  # which cuts off what the last one left
        _, ref = files.append_block(np.ones((1, 4), np.float32), [Chunk("text")])
        assert ref.offset == 0
        with pytest.raises(Killed):
            files.write(files.cut())
        files.close()
        nonces.add((state / "b" / "segment.bin").read_bytes()[:12])
    assert len(nonces) == 20


def test_batches_have_keys_of_their_own() -> None:
    keyring = Keyring({"k": KEY})
    first, second = keyring.start(), keyring.start()
    assert first is not None
    assert second is not None
    assert first.salt != second.salt
    one, two = keyring.cipher("b", first), keyring.cipher("b", second)
    assert one is not None
    assert two is not None
    with pytest.raises(CorruptCheckpointError):
        two.open(one.seal(b"text", "p"), "p", Path("x"))
    assert Keyring().start() is None
    assert Keyring().cipher("b", None) is None


def test_keys_are_read_and_never_shown(tmp_path: Path) -> None:
    text = base64.b64encode(KEY).decode()
    settings = Settings(encryption_key=text)  # type: ignore[arg-type]
    keyring = Keyring.of(settings)
    assert Keyring.of(Settings(encryption_key=KEY.hex())).current == keyring.current  # type: ignore[arg-type]
    for shown in (repr(settings), str(settings.model_dump()), repr(keyring)):
        assert text not in shown
        assert repr(KEY) not in shown
    path = tmp_path / "keys"
    path.write_text(f"# newest first\n2026:{OTHER.hex()}\n\n2025: {text}\n")
    from_file = Keyring.of(Settings(encryption_key_file=path))
    assert from_file.current == "2026"
    assert repr(from_file) == "Keyring(['2026', '2025'])"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no key in it"),
        ("a b:" + "00" * 32, "line 1: it is not `id:key`"),
        ("00" * 32, "not `id:key`"),
        ("k:" + "00" * 32 + "\nk:" + "11" * 32, "line 2: the id k is there twice"),
        ("k:secret", "not 32 bytes"),
        ("k:" + "zz" * 32, "not 32 bytes"),
        ("k:" + "00" * 31, "not 32 bytes"),
        (None, "cannot be read"),
    ],
)
def test_bad_keys_are_named(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "keys"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InvalidKeyError, match=message) as caught:
        Keyring.of(Settings(encryption_key_file=path))
    assert str(path) in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "00" * 31 not in str(caught.value)


def test_a_bad_key_in_the_environment(tmp_path: Path) -> None:
    done = lesson15("run", "data/sample_docs", "--state-dir", tmp_path, LESSON15_ENCRYPTION_KEY="x")
    assert done.returncode == 2
    assert KEY_VARIABLE in done.stderr
    done = lesson15("run", "data/sample_docs", "--state-dir", tmp_path, LESSON15_ENCRYPTION_KEY="x",
                    LESSON15_ENCRYPTION_KEY_FILE="y")  # fmt: skip
    assert "keep one" in done.stderr


@pytest.mark.usefixtures("key")
async def test_chroma_is_refused(docs: Path, state: Path, make: Make) -> None:
    with pytest.raises(UsageError, match="'chroma' keeps"):
        await make(store="chroma").process_batch([docs], "b")
    assert CheckpointManager(state).list_checkpoints() == []


def test_a_large_index_is_sealed_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faiss_store, "_PIECE_BYTES", 1000)
    cipher = Cipher(KEY, "b")
    store = open_store("faiss", tmp_path / "index", 8, cipher)
    store.add(np.arange(100), np.eye(8, dtype=np.float32)[np.arange(100) % 8])
    store.save("tag")
    again = open_store("faiss", tmp_path / "index", 8, cipher)
    assert again.load() == "tag"
    assert len(again.rows()) == 100
    assert open_store("faiss", tmp_path / "index", 8, Cipher(OTHER, "b")).load() is None
    assert open_store("faiss", tmp_path / "index", 8).load() is None


# --- rotation --------------------------------------------------------------------------------


class Keys:
    """A keyring file that can be changed."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._path = path
        monkeypatch.setenv(FILE_VARIABLE, str(path))

    def set(self, *ids: str) -> None:
        keys = {"old": KEY, "new": OTHER}
        self._path.write_text("".join(f"{i}:{keys[i].hex()}\n" for i in ids))


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keys:
    keys = Keys(tmp_path / "keys", monkeypatch)
    keys.set("old")
    return keys


def key_of(state: Path, batch: str = "b") -> str | None:
    encryption = CheckpointManager(state).open(batch).commit.encryption
    return encryption.key_id if isinstance(encryption, Encryption) else None


async def test_rotation(docs: Path, state: Path, make: Make, keys: Keys) -> None:
    await make().process_batch([docs], "b")
    keys.set("new", "old")
    (docs / "d1.txt").write_text("now about volcanoes " * 40)
    os.utime(docs / "d3.txt")
    await make().resume_batch("b")  # goes on under the old key
    assert key_of(state) == "old"
    await make().process_batch([docs], "fresh")
    assert key_of(state, "fresh") == "new"
    before = CheckpointManager(state).open("b").state
    assert rekey("b", state) == "new"
    keys.set("new")
    result = verify("b", state)
    assert result.is_clean, result.faults
    assert result.index == "current"
    after = CheckpointManager(state).open("b").state
    before.last_checkpoint = after.last_checkpoint
    assert after == before
    assert oracle.indexed(state, "b") == oracle.sequential(docs, "hashing")
    names = {path.name for path in (state / "b").iterdir()}
    assert names - {"lock"} == {"checkpoint.json", "generation-1"}
    unchanged = all_bytes(state / "b")
    assert rekey("b", state) == "new"  # nothing to do
    assert all_bytes(state / "b") == unchanged
    (docs / "new.txt").write_text("brand new words")
    assert (await make().resume_batch("b"))["processed_docs"] == 11
    keys.set("old", "new")
    assert rekey("b", state) == "old"  # and back again
    assert verify("b", state).is_clean
    assert {path.name for path in (state / "b").iterdir()} >= {"generation-2"}
    assert not (state / "b" / "generation-1").exists()


async def test_rekey_encrypts_a_plain_batch_and_a_fork_takes_the_current_key(
    docs: Path, state: Path, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make().process_batch([docs], "b")
    await make(store="chroma").process_batch([docs / "d1.txt"], "c")
    with pytest.raises(UsageError, match="no key to encrypt 'b' with"):
        rekey("b", state)
    keys = Keys(tmp_path / "keys", monkeypatch)
    keys.set("new")
    forked = Recording(state, "b")
    forked.fork(9, "fork")
    assert key_of(state, "fork") == "new"
    assert verify("fork", state).is_clean
    await make().resume_batch("fork")
    assert oracle.indexed(state, "fork") == oracle.sequential(docs, "hashing")
    rekey("b", state)
    assert key_of(state) == "new"
    assert b"d1.txt" not in all_bytes(state / "b")
    assert verify("b", state).is_clean
    with pytest.raises(UsageError, match="'chroma' keeps"):
        rekey("c", state)
    assert verify("c", state).is_clean
    with pytest.raises(BatchNotFoundError):
        rekey("nope", state)
    assert "encrypted with the key new" in command("rekey", "b", "--state-dir", state)
    assert json.loads(command("rekey", "b", "--state-dir", state, "--json"))["key_id"] == "new"


async def test_an_empty_batch_is_rekeyed(state: Path, make: Make, keys: Keys) -> None:
    await make().process_batch([], "b")
    keys.set("new", "old")
    rekey("b", state)
    assert verify("b", state).is_clean


class DyingFileSystem(OsFileSystem):
    """Dies before operation number ``at``; writes and fsyncs count too."""

    def __init__(self, at: int) -> None:
        self.left = at

    def _step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed

    def _dying(self, file: AppendFile) -> AppendFile:
        write, fsync = file.write, file.fsync

        def dying_write(data: bytes) -> None:
            self._step()
            write(data)

        def dying_fsync() -> None:
            self._step()
            fsync()

        file.write, file.fsync = dying_write, dying_fsync  # type: ignore[method-assign]
        return file

    def open_append(self, path: Path) -> AppendFile:
        self._step()
        return self._dying(super().open_append(path))

    def create(self, path: Path) -> AppendFile:
        self._step()
        return self._dying(super().create(path))

    def rename(self, source: Path, target: Path) -> None:
        self._step()
        super().rename(source, target)

    def truncate(self, path: Path, size: int) -> None:
        self._step()
        super().truncate(path, size)

    def fsync_folder(self, path: Path) -> None:
        self._step()
        super().fsync_folder(path)


async def test_rekey_killed_at_every_operation(
    docs: Path, state: Path, make: Make, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make().process_batch([docs], "b")
    expected = oracle.indexed(state, "b")
    seen: dict[str | None, int] = {}
    for at in range(100):
        keys.set("new", "old") if key_of(state) == "old" else keys.set("old", "new")
        source = key_of(state)
        manager = CheckpointManager(state, DyingFileSystem(at))
        try:
            rekey_in(manager, manager.open("b"))
            break
        except Killed:
            pass
        found = key_of(state)
        seen["old" if found == source else "new"] = (
            seen.get("old" if found == source else "new", 0) + 1
        )
        keys.set(str(found))  # what it is now can be read without the other key
        result = verify("b", state)
        assert result.is_clean, result.faults
        assert oracle.indexed(state, "b") == expected
        keys.set("old", "new")
    else:
        raise AssertionError("it never got to its end")
    assert seen["old"] > 10
    assert seen["new"] >= 1
    assert len([path for path in (state / "b").iterdir() if path.name.startswith("gen")]) == 1


async def test_rekey_on_a_full_disk(docs: Path, state: Path, make: Make, keys: Keys) -> None:
    await make().process_batch([docs], "b")
    keys.set("new", "old")

    class Full(OsFileSystem):
        def open_append(self, path: Path) -> AppendFile:
            raise OSError(28, "No space left on device")

    manager = CheckpointManager(state, Full())
    with pytest.raises(CheckpointWriteError, match="No space left"):
        rekey_in(manager, manager.open("b"))
    keys.set("old")
    assert verify("b", state).is_clean
