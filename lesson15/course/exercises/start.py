"""Exercises of notebook 00: reading a report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lesson15.course.exercise import Exercise


def _report(total: int, processed: int, failed: int, skipped: int, status: str) -> dict[str, Any]:
    return {
        "total_docs": total, "processed_docs": processed, "failed_docs": failed,
        "skipped_docs": skipped, "status": status,
    }  # fmt: skip


def _check_share(mine: Callable[..., Any]) -> str | None:
    cases = [
        (_report(57, 50, 7, 0, "finished"), 100 * 7 / 57),
        (_report(10, 6, 1, 1, "cancelled"), 40.0),
        (_report(4, 4, 0, 0, "finished"), 0.0),
        (_report(0, 0, 0, 0, "finished"), 0.0),
    ]
    for report, wanted in cases:
        if report["total_docs"] == 0:
            try:
                found = mine(report)
            except ZeroDivisionError:
                return "An empty batch divides by zero; nothing is missing from it: 0.0."
        else:
            found = mine(report)
        if abs(found - wanted) > 1e-6:
            return (
                f"For {report} you give {found}, and it is {wanted:.4g}: everything that was not "
                "processed counts, of all documents."
            )
    return None


def _check_kinds(mine: Callable[..., Any]) -> str | None:
    failures = [
        {"doc_id": "a/one.pdf", "error": "...", "attempts": 2},
        {"doc_id": "b/two.PDF", "error": "...", "attempts": 2},
        {"doc_id": "b/v1.2.docx", "error": "...", "attempts": 2},
    ]
    found = mine(failures)
    if found == {"pdf": 1, "PDF": 1, "docx": 1} or found == {".pdf": 1, ".PDF": 1, ".docx": 1}:
        return "pdf and PDF are the same kind of file: fold the case."
    if found != {".pdf": 2, ".docx": 1}:
        return f"You give {found}, and {{'.pdf': 2, '.docx': 1}} is wanted."
    return None if mine([]) == {} else "A batch without failures has no kinds: an empty dict."


def _check_exit(mine: Callable[..., Any]) -> str | None:
    cases = [
        (_report(4, 4, 0, 0, "finished"), 0),
        (_report(4, 3, 1, 0, "finished"), 1),
        (_report(4, 3, 0, 1, "finished"), 1),
        (_report(4, 2, 0, 0, "cancelled"), 3),
        (_report(4, 2, 1, 0, "aborted"), 3),
    ]
    for report, wanted in cases:
        found = mine(report)
        if found != wanted:
            return f"For {report} you give {found}, and the table says {wanted}."
    return None


EXERCISES = [
    Exercise(
        question="""
        Write a function `mine(report)` that returns the percentage of a batch's documents that
        were not processed, whatever the reason. For an empty batch it is 0.0.
        """,
        hint="total_docs and processed_docs are enough. What is 0 divided by 0?",
        answer="""
        def mine(report):
            total = report["total_docs"]
            return 100 * (total - report["processed_docs"]) / total if total else 0.0
        """,
        check=_check_share,
        wrong={
            """
            def mine(report):
                return 100 * report["failed_docs"] / report["total_docs"]
            """: "everything that was not processed",
            """
            def mine(report):
                total = report["total_docs"]
                return 100 * (total - report["processed_docs"]) / total
            """: "empty batch",
            """
            def mine(report):
                total = report["total_docs"]
                return (total - report["processed_docs"]) / total if total else 0.0
            """: "and it is",
        },
    ),
    Exercise(
        question="""
        Write a function `mine(failures)` that counts the failures of a report by kind of file:
        {'.pdf': 2, '.docx': 1}. Each failure is a dict with doc_id, error and attempts.
        """,
        hint="pathlib.Path(name).suffix, str.lower and collections.Counter do all the work.",
        answer="""
        from collections import Counter
        from pathlib import Path

        def mine(failures):
            return dict(Counter(Path(f["doc_id"]).suffix.lower() for f in failures))
        """,
        check=_check_kinds,
        wrong={
            """
            from collections import Counter
            from pathlib import Path
            def mine(failures):
                return dict(Counter(Path(f["doc_id"]).suffix for f in failures))
            """: "same kind",
            """
            from collections import Counter
            def mine(failures):
                return dict(Counter("." + f["doc_id"].split(".")[1].lower() for f in failures))
            """: "is wanted",
        },
    ),
    Exercise(
        question="""
        Write a function `mine(report)` that returns the exit code that `lesson15 run` ends with:
        0 all done; 1 finished, with failed or skipped documents; 3 not finished, can be resumed.
        report["status"] is "finished", "cancelled" or "aborted".
        """,
        hint="Look at the status first: an unfinished batch is 3 whether or not documents failed.",
        answer="""
        def mine(report):
            if report["status"] != "finished":
                return 3
            return 1 if report["failed_docs"] or report["skipped_docs"] else 0
        """,
        check=_check_exit,
        wrong={
            """
            def mine(report):
                return 1 if report["failed_docs"] or report["skipped_docs"] else 0
            """: "the table says 3",
            """
            def mine(report):
                if report["status"] != "finished":
                    return 3
                return 1 if report["failed_docs"] else 0
            """: "the table says 1",
        },
    ),
]
