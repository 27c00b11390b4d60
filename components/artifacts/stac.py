"""Reading STAC that somebody else wrote: what pystac raises when a document is not what it says it is."""

from __future__ import annotations

import pystac

MALFORMED = (ValueError, KeyError, TypeError, AttributeError, pystac.STACError, pystac.STACTypeError)
"""pystac checks little itself: a malformed document shows as whatever its code stumbles over."""
