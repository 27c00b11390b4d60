"""Weights of published backbones, brought here before a job needs them: `geoduct weights fetch | convert`."""
