"""What any long run needs: the processes that share it, files written atomically, data read before work starts.

Imports nothing else of the library.
"""
