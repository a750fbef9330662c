"""What an extractor and a generator are, what they give, and how models of other libraries are hosted.

Imports nothing else of the library.
"""
