"""A page is indexed with its body: selectolax before 0.4 kept only the title of some pages."""

from __future__ import annotations

from pathlib import Path

import lesson15

PAGE = (
    '<html><head><meta charset="utf-8"><title>Ferries</title><style>b {}</style>'
    "<script>var x</script></head><body><p>The seven o'clock boat waits for the tide.</p></body>"
)


def test_a_page_with_styles_and_scripts_keeps_its_body(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(PAGE, encoding="utf-8")
    state = tmp_path / "state"
    report = lesson15.run([page], "page", state_dir=state, embedder="hashing")
    assert report["processed_docs"] == 1
    searcher = lesson15.Searcher("page", state)
    found = " ".join(hit.text for hit in searcher.search("boat tide", k=5))
    searcher.close()
    assert "Ferries" in found
    assert "waits for the tide" in found
    assert "var x" not in found
