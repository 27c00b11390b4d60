"""Reading over a network that fails: one client for catalogs and pixels, and rasters opened through it."""
