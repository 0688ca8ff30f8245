"""What the notebooks stand on: folders, documents to practise on, and exercises."""

from __future__ import annotations

from lesson15.course.exercise import Exercise, ExerciseSheet, open_exercises
from lesson15.course.material import make_documents, prepare, sample_docs, work_folder

__all__ = [
    "Exercise",
    "ExerciseSheet",
    "make_documents",
    "open_exercises",
    "prepare",
    "sample_docs",
    "work_folder",
]
