"""STAC documents over our client: pystac and pystac-client ask here, so that a bad network does not end a search."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

import pystac
from pystac_client.stac_api_io import StacApiIO

from components.remote.client import Client


class Documents(StacApiIO):
    """What pystac reads documents through: files as usual, everything else through `client`."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self._client = client

    def request(
        self,
        href: str,
        method: str | None = None,
        headers: Mapping[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> str:
        """The text of a document; `parameters` go into the body of a POST, else into the query of the URL.

        Raises:
            RemoteError: there is none.
        """
        asked = dict(headers or {})
        if (method or "GET").upper() == "POST":
            asked["Content-Type"] = "application/json"
            body = json.dumps(parameters or {}).encode()
            return self._client.fetch(href, method="POST", body=body, headers=asked).decode()
        if parameters:
            url = urlsplit(href)
            query = "&".join(filter(None, (url.query, urlencode(parameters))))
            href = urlunsplit(url._replace(query=query))
        return self._client.fetch(href, headers=asked).decode()

    def stac_object_from_dict(
        self,
        d: dict[str, Any],
        href: pystac.link.HREF | None = None,
        root: pystac.Catalog | None = None,
        preserve_dict: bool = True,
    ) -> pystac.STACObject:
        """A static catalog's objects are pystac's own; pystac-client would make collections of an API of them."""
        return pystac.StacIO.stac_object_from_dict(self, d, href, root, preserve_dict)
