"""The nouns (`artifacts`) and the verbs (one folder a component) of Geoduct."""

__version__ = "0.1.0"
