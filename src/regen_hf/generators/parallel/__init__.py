"""Everything at once, or in a few passes: masked, CTC and regression generators over an encoder of transformers.

May import parts and sources.
"""
