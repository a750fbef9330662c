"""How any generator reads its source: encoders, statistics, alignment, noise on what it reads.

May import parts.
"""
