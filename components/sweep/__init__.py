"""Sweeps: a search for good parameters of a component that learns, by many workers that share one journal file.

A sweep is no component: its folder is written by all workers at once, and read while they work.
"""
