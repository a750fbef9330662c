"""One file a handcrafted rule Y → Y′.

May import parts, modalities and speech.
"""
