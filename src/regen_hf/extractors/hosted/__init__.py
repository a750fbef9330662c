"""Loads and runs the models of other libraries that extractors host, one file for each kind.

May import parts.
"""
