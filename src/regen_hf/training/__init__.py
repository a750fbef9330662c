"""One accelerate loop for every stage, and what it is made of; it knows nothing of regeneration.

May import parts and runtime.
"""
