"""One module for each notebook; see :mod:`lesson15.course.exercise`."""
