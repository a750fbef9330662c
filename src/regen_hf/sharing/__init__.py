"""What a run was, for others: summary, curves, model card.

May import modeling_regeneration and training.
"""
