"""Tools of sound and phonemes: espeak-ng in a process of its own, spectrograms.

Imports nothing else of the library.
"""
