"""The page; ``lesson15 web`` runs it. It knows nothing of batches but what the service says."""

from __future__ import annotations

import os

import streamlit as st

from lesson15.errors import ServiceError
from lesson15.host.states import Command, State, offered
from lesson15.web.client import Content, ServiceClient

SERVICE_URL = "LESSON15_WEB_SERVICE_URL"
_REFRESH_SECONDS = 0.5
_MY_FILES = "All my files"


def main() -> None:
    """Draw the page."""
    st.set_page_config(page_title="lesson15", layout="wide")
    st.title("Batches of documents")
    with st.sidebar:
        # Kept in this session's memory only: neither a cookie nor the address holds it.
        key = st.text_input("API key", type="password")
    if not key:
        st.info("Enter your API key on the left. Your instructor makes one for you.")
        return
    client = ServiceClient(os.environ.get(SERVICE_URL, "http://127.0.0.1:8000"), key)
    try:
        _draw_start(client)
        _draw_batches(client)
    except ServiceError as error:
        st.error(str(error))


def _draw_start(client: ServiceClient) -> None:
    left, right = st.columns(2)
    with left, st.form("upload", clear_on_submit=True):
        uploads = st.file_uploader("Documents", accept_multiple_files=True)
        if st.form_submit_button("Upload") and uploads:
            stored = client.upload(uploads)["files"]
            st.success(f"Stored: {', '.join(file['name'] for file in stored)}")
    found = client.files()
    names = [file["name"] for file in found["files"]]
    with right, st.form("start"):
        chosen = st.multiselect("What to process", [_MY_FILES, *found["roots"], *names])
        batch_id = st.text_input("Name of the batch", placeholder="Left empty: one is made up")
        if st.form_submit_button("Start", type="primary"):
            paths = ["." if name == _MY_FILES else name for name in chosen or [_MY_FILES]]
            st.session_state["batch"] = client.process(paths, batch_id or None)["batch_id"]


def _draw_batches(client: ServiceClient) -> None:
    batch_ids = [batch["batch_id"] for batch in reversed(client.batches())]
    if not batch_ids:
        st.caption("No batch yet.")
        return
    batch_id = st.selectbox("Batch", batch_ids, key="batch")
    _draw_progress(client, batch_id)
    _draw_search(client, batch_id)


@st.fragment(run_every=_REFRESH_SECONDS)
def _draw_progress(client: ServiceClient, batch_id: str) -> None:
    """Progress, commands and failures; drawn anew by itself while the rest of the page stays."""
    try:
        detail = client.detail(batch_id)
        percent = detail["progress_percent"]
        st.progress(percent / 100, f"{detail['status']}, {percent:.0f} %{_eta(detail)}")
        columns = st.columns(4)
        for column, name in zip(columns, ("total", "processed", "failed", "skipped"), strict=True):
            column.metric(name.capitalize(), detail[f"{name}_docs"])
        for column, verb in zip(columns, _verbs(detail), strict=False):
            if column.button(verb.replace("-", " ").capitalize(), key=f"{verb} {batch_id}"):
                client.command(verb, batch_id)
        if detail["error"]:
            st.error(detail["error"])
        if detail["failed_docs"] or detail["skipped_docs"]:
            failures = client.failures(batch_id)
            st.subheader(f"Set aside: {failures['total_count']}")
            st.table(failures["failures"])
    except ServiceError as error:
        st.error(str(error))


def _verbs(detail: Content) -> list[str]:
    """What can be done to the batch, in the words of the service; it kills nothing on request."""
    has_failures = bool(detail["failed_docs"] or detail["skipped_docs"])
    commands = offered(State(detail["status"]), has_failures=has_failures)
    return [name.replace("_", "-") for name in commands if name is not Command.KILL]


def _eta(detail: Content) -> str:
    if detail["status"] not in (State.QUEUED, State.RUNNING) or detail["eta"] is None:
        return ""
    return f", {detail['eta']:.0f} s left, {detail['rate']:.1f} documents a second"


def _draw_search(client: ServiceClient, batch_id: str) -> None:
    st.subheader("Search")
    text = st.text_input("Find the passages nearest in meaning to")
    if text.strip():
        hits = client.search(batch_id, text, 5)
        for hit in hits:
            st.markdown(f"**{hit['score']:.2f}**")
            st.text(f"{hit['doc_id']}\n{hit['text']}")  # as text: documents are not markup
        if not hits:
            st.caption("Nothing found.")


main()
