"""Frames to waveforms: vocoders, inverse STFT, Griffin-Lim.

May import parts, sources and, of other rooms, speech.
"""
