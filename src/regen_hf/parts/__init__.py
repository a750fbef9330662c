"""What an extractor and a generator are, what they give, and models of other libraries as such.

Imports nothing else of the library.
"""
