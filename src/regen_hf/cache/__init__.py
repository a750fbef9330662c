"""Y′ of a whole dataset: extracted once, fingerprinted, sharded, read fast.

May import parts, modalities and runtime.
"""
