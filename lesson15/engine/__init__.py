"""The engine: bounded workers over a streaming source, committing as they go.

Importing this package loads nothing, so that looking at a batch needs no numpy.
"""
