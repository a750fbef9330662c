"""What the models of other libraries that extractors host say of themselves, a file for each kind of them.

May import parts.
"""
