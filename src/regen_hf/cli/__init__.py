"""The command `regen-hf`: one file for each of its commands.

A new command is a file here, with the dataclasses of its options and a function of them, and an entry in the table of
`commands`. May import everything; only `__main__` imports it.
"""

from .commands import main

__all__ = ["main"]
