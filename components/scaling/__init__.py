"""Scaling studies: how much faster a component that learns gets with more ranks, and where the time goes.

A study is no component: its runs make no artifact, and its figures are of the machine as much as of the component.
"""
