"""Finished work that travels between stores: merging, and archives that nobody vouches for."""
