"""A regenerator from data: which part learns from which columns, in which order.

May import everything but cli.
"""
