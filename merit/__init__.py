"""The floor beneath the rooms: the root of the error tree, the clock and the sources of chance.

It imports nothing of ours, so that every room may stand on it (see README.md beside this file).
"""
