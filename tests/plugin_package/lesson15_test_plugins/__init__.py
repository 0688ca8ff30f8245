"""Plugins for the tests of lesson15; the entry points are in the folder beside this one."""
