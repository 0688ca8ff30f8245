"""The engine in a place of its own, a child process or a thread, driven from outside."""
