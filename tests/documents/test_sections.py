"""Sections and spans: where each chunk stands in its document, and that no word is lost."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lesson15.documents.archives import open_archive
from lesson15.documents.checking import check_chunks, fault_of_meta
from lesson15.documents.parsed import LoadedDocument, ParseOptions, Section
from lesson15.documents.parsing import parse_document, read_document
from lesson15.errors import (
    DocumentTooLargeError,
    EncryptedDocumentError,
    InvalidChunkError,
    Lesson15Error,
    MalformedDocumentError,
    TruncatedDocumentError,
)
from lesson15.models import Chunk
from tests.conftest import SAMPLES

OPTIONS = ParseOptions()
WORDS = json.loads((Path(__file__).parents[1] / "data" / "sample_words.json").read_text("utf-8"))


def headings_of(path: Path) -> list[tuple[list[str] | None, str]]:
    """Each section's heading path, and its text with white space collapsed."""
    document = read_document(str(path), OPTIONS)
    return [(each.meta.get("heading"), " ".join(each.text.split())) for each in document.sections]


@pytest.mark.parametrize("name", sorted(WORDS))
def test_the_words_and_spans_of_the_samples(name: str) -> None:
    """The words are those that the loaders gave before there were sections, in their order."""
    path = str(SAMPLES / name)
    document = read_document(path, OPTIONS)
    words = document.text.split()
    assert [len(words), hashlib.sha256(" ".join(words).encode()).hexdigest()] == WORDS[name]
    for options in (OPTIONS, ParseOptions(chunk_chars=60, chunk_overlap_chars=10)):
        chunks = parse_document(path, options).chunks
        for chunk in chunks:
            start, end = chunk.meta["span"]
            assert document.text[start:end] == chunk.text
        starts = [chunk.meta["span"][0] for chunk in chunks]
        assert starts == sorted(starts)
        covered = set[int]().union(*(range(*chunk.meta["span"]) for chunk in chunks))
        assert not "".join(
            char for place, char in enumerate(document.text) if place not in covered
        ).strip()


def test_pages_titles_and_languages_of_the_samples() -> None:
    pdf = parse_document(str(SAMPLES / "zh" / "海洋观测.pdf"), OPTIONS).chunks
    assert [chunk.meta["page"] for chunk in pdf] == [1, 2, 3]
    assert {chunk.meta["title"] for chunk in pdf} == {"海洋观测浮标"}
    page = parse_document(str(SAMPLES / "zh" / "城市公交.html"), OPTIONS).chunks[-1]
    assert page.meta["heading"] == ["夜间公交线路增加"]
    assert page.meta["language"] == "zh"
    word = parse_document(str(SAMPLES / "guides" / "release-checklist.docx"), OPTIONS).chunks
    assert word[0].meta["heading"] == ["Release checklist"]


MARKDOWN = """\
---
title: not a heading
---
before

# The *Bee*
## Life &amp; `work`

honey

```sh
# a comment
```

> # quoted

### Deep ###
wax

Setext
======
end
"""


def test_headings_of_markdown(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text(MARKDOWN, "utf-8")
    assert [(heading, text[:14]) for heading, text in headings_of(path)] == [
        (None, "--- title: not"),
        (["The Bee", "Life & work"], "# The *Bee* ##"),
        (["The Bee", "Life & work", "Deep"], "### Deep ### w"),
        (["Setext"], "Setext ====== "),
    ]
    assert read_document(str(path), OPTIONS).text == MARKDOWN  # the source, as it is


def test_what_only_looks_like_a_heading_in_markdown(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text(
        "- item\n---\n> quote\n---\n2. two\n---\n*Em* phasis\n---\nx\n\n# - dash\n", "utf-8"
    )
    assert [heading for heading, _ in headings_of(path)] == [None, ["Em phasis"], ["- dash"]]


def test_headings_of_html(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text(
        """<html lang=de-AT><head><title> Das  Buch </title></head><body><nav>menu</nav>
        <h1>One <i>and</i></h1><h2>Sub</h2><p>first<pre><h3>code</h3></pre>
        <h2></h2><p>plain <h1><div>Outer<h2>Inner</h2>tail</div></h1><p>last<h6>Empty</h6>""",
        "utf-8",
    )
    assert headings_of(path) == [
        (None, "Das Buch menu"),
        (["One and", "Sub"], "One and Sub first code"),
        (["One and"], "plain"),
        (["Outer", "Inner"], "Outer Inner tail last"),
        (["Outer", "Inner", "Empty"], "Empty"),
    ]
    document = read_document(str(path), OPTIONS)
    assert document.title == "Das Buch"
    assert {section.meta["language"] for section in document.sections} == {"de-AT"}


def test_headings_of_word_documents(tmp_path: Path) -> None:
    import docx
    from docx.oxml import OxmlElement
    from docx.oxml.ns import qn

    document = docx.Document()
    document.core_properties.language = "en-GB"
    document.add_heading("The whole", 0)
    document.add_paragraph("intro")
    document.add_heading("One", 1)
    document.add_heading("Sub", 2)
    document.add_table(1, 2).rows[0].cells[0].paragraphs[0].text = "cell"
    leveled = document.add_paragraph("By level")
    level = OxmlElement("w:outlineLvl")
    level.set(qn("w:val"), "0")
    leveled._p.get_or_add_pPr().append(level)
    document.add_paragraph("end")
    path = tmp_path / "a.docx"
    document.save(str(path))
    assert headings_of(path) == [
        (None, "The whole intro"),
        (["One", "Sub"], "One Sub cell"),
        (["By level"], "By level end"),
    ]
    read = read_document(str(path), OPTIONS)
    assert read.title == "The whole"
    assert read.sections[0].meta == {"language": "en-GB"}


@pytest.mark.parametrize("suffix", [".md", ".html"])
def test_a_page_that_is_all_heading_stays_small(tmp_path: Path, suffix: str) -> None:
    """Or each of its chunks would repeat the whole of it."""
    path = tmp_path / f"a{suffix}"
    words = "word " * 40_000
    path.write_text(f"# {words}" if suffix == ".md" else f"<h1>{words}</h1>")
    chunks = parse_document(str(path), OPTIONS).chunks
    assert len(chunks) > 200
    assert max(len(chunk.meta["heading"][0]) for chunk in chunks) <= 200


@pytest.mark.timeout(60)
def test_a_large_markdown_file_is_outlined_in_time(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("# Title\n\n" + "## Part\n\nSome words of *text*, and `code`.\n\n" * 20_000)
    assert len(read_document(str(path), OPTIONS).sections) == 20_000


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.sampled_from(
            ["<h1>", "</h1>", "<h3>", "</h3>", "<p>", "<div>", "</div>", "<pre>", "</pre>", "<td>",
             "<table>", "</table>", "<textarea>", "</textarea>", "<title>", "</title>", "<li>",
             "<h2>eta <div>", "<h4>theta ", "alpha ", "beta "]
        ),
        max_size=25,
    )
)  # fmt: skip
def test_no_word_of_any_page_is_lost(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str]
) -> None:
    from selectolax.lexbor import LexborHTMLParser

    path = tmp_path_factory.getbasetemp() / "words.html"
    path.write_text("<p>x</p>" + "".join(parts))
    root = LexborHTMLParser(path.read_text()).root
    assert root is not None
    seen = "".join(root.text(deep=True).split())
    assert "".join(read_document(str(path), OPTIONS).text.split()) == seen


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(["# a", "### b", "text", "", "---", "===", "> # c", "```", "- x",
                                 "    # d", "| t |", "\t", "##", "# \u0301e"]), max_size=14),
       st.sampled_from(["\n", "\r\n"]))  # fmt: skip
def test_no_line_of_any_markdown_is_lost(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], newline: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "lines.md"
    path.write_bytes(newline.join(["x", *lines]).encode())
    document = read_document(str(path), OPTIONS)
    assert document.text.split() == " ".join(["x", *lines]).split()
    for chunk in parse_document(str(path), OPTIONS).chunks:
        assert document.text[slice(*chunk.meta["span"])] == chunk.text


def archive(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "error", "part"),
    [
        (archive(a=bytes(64 * 2**20)), DocumentTooLargeError, "over the limit"),
        (archive(a=b"x")[:30], TruncatedDocumentError, "no directory"),
        (b"junk", MalformedDocumentError, "not valid PPTX"),
        (bytes.fromhex("D0CF11E0A1B11AE1") + "PowerPoint Document".encode("utf-16-le"),
         MalformedDocumentError, "PowerPoint 97-2003"),
        (bytes.fromhex("D0CF11E0A1B11AE1") + "EncryptedPackage".encode("utf-16-le"),
         EncryptedDocumentError, "password"),
    ],
    ids=["bomb", "cut", "junk", "old", "encrypted"],
)  # fmt: skip
def test_archives_are_checked_for_any_loader(
    data: bytes, error: type[Lesson15Error], part: str
) -> None:
    with pytest.raises(error, match=part):
        open_archive("a.pptx", data, OPTIONS, "PPTX")
    with open_archive("a.pptx", archive(a=b"x"), OPTIONS, "PPTX") as sound:
        assert sound.read("a") == b"x"


@pytest.mark.parametrize(
    ("meta", "part"),
    [
        (None, "instead of a mapping"),
        ({1: 2}, "the key 1"),
        ({"a": {1, 2}}, r"meta\['a'\] is a value of the type set"),
        ({"a": [0, {"b": (1,)}]}, r"meta\['a'\]\[1\]\['b'\] is a value of the type tuple"),
        ({"a": float("nan")}, "is nan"),
        ({"a": 2**63}, "9223372036854775808"),
        ({"a": {1: 2}}, "a key that is not a string"),
        ({"a": "\ud800"}, "surrogate"),
        ({"page": 0}, "a whole number from 1"),
        ({"page": True}, "a whole number from 1"),
        ({"heading": "One"}, "a list of strings"),
        ({"span": [3, 2]}, r"\[start, end\]"),
        ({"language": 1}, "a string"),
    ],
)
def test_meta_that_cannot_be_stored_is_named(meta: Any, part: str) -> None:
    with pytest.raises(InvalidChunkError, match=part) as caught:
        check_chunks([Chunk("x", meta)], "a.txt", "the step 'odd'")
    assert str(caught.value).startswith("a.txt: the step 'odd'")


def test_nested_too_deeply() -> None:
    value: Any = 1
    for _ in range(60):
        value = [value]
    assert "too deeply" in (fault_of_meta({"a": value}) or "")


@pytest.mark.parametrize("made", [None, 3, "ab", [("x", {})], [Chunk(b"x")]])  # type: ignore[arg-type]
def test_what_are_no_chunks_is_named(made: Any) -> None:
    with pytest.raises(InvalidChunkError, match="instead of"):
        check_chunks(made, "a.txt", "the step 'odd'")


def test_sections_join_to_the_text() -> None:
    document = LoadedDocument([Section("a"), Section("b\nc")], title="T")
    assert document.text == "a\nb\nc"
