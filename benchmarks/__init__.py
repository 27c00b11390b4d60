"""Measurements against peers and limits; never run as tests."""
