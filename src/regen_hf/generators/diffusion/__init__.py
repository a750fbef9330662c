"""Continuous values by denoising, with any backbone and scheduler of diffusers.

May import parts and sources.
"""
