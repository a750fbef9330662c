"""One door a kind of data for what others made: which formats are read, found by their content, and how much at most.

Imports nothing else of the library.
"""
