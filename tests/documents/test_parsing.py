from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lesson15.documents.chunking import normalize, spans
from lesson15.documents.loaders import LOADERS
from lesson15.documents.parsed import ParseOptions, TextKind
from lesson15.documents.parsing import parse_document
from lesson15.documents.scan import check_paths, scan
from lesson15.errors import (
    DocumentNotFoundError,
    DocumentTooLargeError,
    EmptyDocumentError,
    Lesson15Error,
    NotAFileError,
    NoTextError,
    PathNotFoundError,
    UnsupportedFormatError,
)
from lesson15.recovery import classify
from tests.conftest import SAMPLES

OPTIONS = ParseOptions()


def split(text: str, kind: TextKind, chunk_chars: int, overlap: int) -> list[str]:
    text = normalize(text)
    return [text[start:end] for start, end in spans(text, kind, chunk_chars, overlap)]


def chunks_of(path: Path) -> list[str]:
    return [chunk.text for chunk in parse_document(str(path), OPTIONS).chunks]


CHINESE = (
    "检查点让批处理可以随时中断并继续。每处理十个文档，引擎就把结果追加到日志，然后写入一个小的检查点文件。"
    "进程被杀死后，恢复程序读取检查点，截掉日志末尾没有提交的部分，再从那里接着处理。"
)
TAIWAN = (
    "檢查點讓批次處理可以隨時中斷並繼續。每處理十份文件，引擎就把結果附加到日誌，然後寫入一個小的檢查點檔案。"
    "程序被終止後，復原程式讀取檢查點，截掉日誌末尾沒有提交的部分，再從那裡接著處理。"
)
FRENCH = (
    "Le point de contrôle permet d'arrêter le traitement à tout moment et de le reprendre. "
    "Après dix documents, le moteur écrit ses résultats à la fin du journal."
)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (CHINESE, "utf-8"), (CHINESE, "utf-8-sig"), (CHINESE, "utf-16"), (CHINESE, "gb18030"),
        (TAIWAN, "big5"), (FRENCH, "latin-1"), (FRENCH, "utf-16-le"), (FRENCH, "utf-32"),
    ],
)  # fmt: skip
def test_encodings(tmp_path: Path, text: str, encoding: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(encoding))
    assert chunks_of(path)[0].startswith(text[:40])


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("guides/backup-policy.pdf", "Keep three copies"),
        ("zh/海洋观测.pdf", "浮标可以下潜到两千米深处"),
        ("guides/release-checklist.docx", "canary"),
        ("zh/图书馆通知.docx", "自习室"),
        ("news/harbour-bridge.html", "washed out by the current"),
        ("tables/museum-inventory.csv", "object: seismograph with smoked paper drum"),
        ("tables/planets.json", "Olympus Mons"),
        ("zh/夜市小吃.txt", "蚵仔煎"),
        ("zh/茶马古道.txt", "溜索"),
        ("guides/fromages-de-montagne.txt", "prélève"),
        ("guides/fjord-ferries.txt", "seventy ferries"),
    ],
)
def test_samples_of_every_type(name: str, part: str) -> None:
    text = "\n".join(chunks_of(SAMPLES / name))
    assert part in text
    assert "ignore me" not in text


def test_named_errors(tmp_path: Path) -> None:
    def parse(name: str) -> None:
        parse_document(str(tmp_path / name), OPTIONS)

    (tmp_path / "empty.txt").touch()
    (tmp_path / "blank.txt").write_text(" \n\t ")
    (tmp_path / "a.xyz").write_text("x")
    (tmp_path / "folder.txt").mkdir()
    (tmp_path / "link.txt").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.txt").symlink_to(tmp_path / "loop.txt")
    os.mkfifo(tmp_path / "pipe.txt")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "s.txt"))
    listening.close()
    for name, error in {
        "empty.txt": EmptyDocumentError,
        "blank.txt": NoTextError,
        "a.xyz": UnsupportedFormatError,
        "folder.txt": NotAFileError,
        "link.txt": NotAFileError,
        "loop.txt": NotAFileError,
        "pipe.txt": NotAFileError,
        "s.txt": NotAFileError,
        "absent.txt": DocumentNotFoundError,
    }.items():
        with pytest.raises(error) as caught:
            parse(name)
        assert name == "absent.txt" or classify(caught.value).retries == 0, name
    with pytest.raises(DocumentTooLargeError, match="limit of 1 bytes"):
        parse_document(str(tmp_path / "blank.txt"), ParseOptions(max_document_bytes=1))


def test_scan_order_and_what_it_passes_over(tmp_path: Path) -> None:
    for name in ("b.txt", "a.md", "c.exe", ".hidden.txt", "sub/z.csv", ".git/x.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    found = [os.path.relpath(path, tmp_path) for path in scan([tmp_path, tmp_path / "c.exe"])]
    assert found == ["a.md", "b.txt", "sub/z.csv", "c.exe"]
    check_paths([tmp_path])
    with pytest.raises(PathNotFoundError, match="absent"):
        check_paths([tmp_path, "absent"])


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(suffix=st.sampled_from(sorted(LOADERS)), data=st.binary(max_size=300))
def test_any_bytes_give_chunks_or_a_named_error(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / f"fuzz{suffix}"
    path.write_bytes(data)
    try:
        assert parse_document(str(path), OPTIONS).chunks
    except Lesson15Error as error:
        message = str(error)
    else:
        return
    assert str(path) in message


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"]), max_size=3000))
def test_chunks_cover_the_text(text: str) -> None:
    chunks = split(text, "plain", 200, 0)
    joined = "".join("".join(chunk.split()) for chunk in chunks)
    import unicodedata

    assert joined == "".join(unicodedata.normalize("NFC", text).split())
    assert split(text, "plain", 200, 0) == chunks


@pytest.mark.parametrize("charset", ["utf-16", "utf-16le", "unicode_escape", "utf-7", "no-such"])
@pytest.mark.parametrize("tail", ["", " "])
def test_a_false_charset_of_a_page_is_not_believed(tmp_path: Path, charset: str, tail: str) -> None:
    path = tmp_path / "a.html"
    path.write_text(f'<meta charset="{charset}"><p>a \\d page of été+AGE-</p>{tail}', "utf-8")
    assert chunks_of(path) == ["a \\d page of été+AGE-"]


@pytest.mark.parametrize(
    ("label", "codec", "text"),
    [("gb2312", "gb18030", "检查点"), ("big5", "big5", "檢查點"), ("latin1", "cp1252", "prélève")],
)
def test_a_true_charset_of_a_page_is_used(
    tmp_path: Path, label: str, codec: str, text: str
) -> None:
    path = tmp_path / "a.html"
    path.write_bytes(f'<meta charset="{label}"><p>{text}</p>'.encode(codec))
    assert chunks_of(path) == [text]


def test_a_pdf_padded_with_zeros_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes((SAMPLES / "guides/backup-policy.pdf").read_bytes() + bytes(4096))
    assert "Keep three copies" in "\n".join(chunks_of(path))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", ["x" * 1_000_000, "中" * 300_000])
def test_text_without_a_place_to_split_is_split_in_time(text: str) -> None:
    assert "".join(split(text, "plain", 800, 0)) == text


def test_chinese_chunks_fit_the_model() -> None:
    assert max(map(len, split(CHINESE * 50, "plain", 800, 80))) <= 240
    assert max(map(len, split(FRENCH * 50, "plain", 800, 80))) > 600
    assert len(split("x" * 1_000_000, "plain", 800, 80)) >= 1000
