"""Codes by next-code prediction, with any language model of transformers.

May import parts and sources.
"""
