"""The command `regen-hf`: one file a command, and their options.

May import everything; nothing imports it.
"""

from .main import main

__all__ = ["main"]
