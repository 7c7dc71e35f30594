"""What the client says of algorithms: which there are, what they take, what they look like."""

from __future__ import annotations

import io
from typing import BinaryIO

from callback_sdk.client.base import ClientBase, parse_response, segment, unexpected, with_query
from callback_sdk.client.connection import JSON
from callback_sdk.client.failures import public
from callback_sdk.client.resources import Algorithm, Version
from callback_sdk.errors import InvalidRequestError, NotFoundError
from callback_sdk.text.html import HTMLList

_ANY = f"{JSON}, */*;q=0.5"
_PNG = "image/png"


class Catalogue(ClientBase):
    """The algorithms of a service; see `Client`."""

    @public
    def get_algorithms(self) -> list[Algorithm]:
        """Return every algorithm of the service.

        Raises:
            ServiceError: The service didn't tell.
        """
        data = self._connection.request("GET", "/algorithms").data
        if not isinstance(data, list):
            raise unexpected("a list of algorithms")
        return HTMLList(self._algorithm(item) for item in data)

    @public
    def get_algorithm(self, algorithm_id: str) -> Algorithm:
        """Return one algorithm.

        Raises:
            NotFoundError: There is none of this name; the hint has similar ones.
            ServiceError: The service didn't tell.
        """
        path = f"/algorithms/{segment(algorithm_id)}"
        try:
            return self._algorithm(self._connection.request("GET", path).data)
        except NotFoundError as error:
            self._suggest(error, algorithm_id)
            raise

    @public
    def get_algorithm_versions(self, algorithm_id: str) -> list[Version]:
        """Return every version of an algorithm.

        Raises:
            NotFoundError: There is no such algorithm.
            ServiceError: The service didn't tell.
        """
        data = self._connection.request("GET", f"/algorithms/{segment(algorithm_id)}/versions").data
        if not isinstance(data, list):
            raise unexpected("a list of versions")
        return HTMLList(parse_response("a version", Version.from_dict, item) for item in data)

    @public
    def get_algorithm_version(self, algorithm_id: str, version: str) -> Version:
        """Return one version of an algorithm.

        Raises:
            NotFoundError: There is no such algorithm or version.
            ServiceError: The service didn't tell.
        """
        path = f"/algorithms/{segment(algorithm_id)}/versions/{segment(version)}"
        return parse_response("a version", Version.from_dict, self._connection.request("GET", path).data)

    @public
    def get_template(self, algorithm_id: str, file_type: str = "input", version: str | None = None) -> BinaryIO:
        """Return an example of what an algorithm takes or returns: a file in memory, for `json.load`.

        Args:
            algorithm_id: The algorithm's id.
            file_type: `"input"`, `"output"` or `"parameters"`.
            version: The algorithm's version; the newest when None.

        Raises:
            NotFoundError: There is no such algorithm or version, or it has no such template.
            ServiceError: The service didn't tell.
        """
        return self._file(algorithm_id, "template", file_type, version, _ANY)

    @public
    def get_graph(self, algorithm_id: str, file_type: str | None = None, version: str | None = None) -> BinaryIO:
        """Return a picture of what an algorithm takes or returns: a PNG file in memory.

        Args:
            algorithm_id: The algorithm's id.
            file_type: Which picture, such as `"input"`; the algorithm's first one when None.
            version: The algorithm's version; the newest when None.

        Raises:
            NotFoundError: There is no such algorithm or version, or it has no such picture.
            ServiceError: The service didn't tell.
        """
        return self._file(algorithm_id, "graph", file_type, version, _PNG)

    def _file(self, algorithm_id: str, what: str, file_type: str | None, version: str | None, accept: str) -> BinaryIO:
        for name, value in {"file_type": file_type, "version": version}.items():
            if value is not None and not isinstance(value, str):
                raise InvalidRequestError(f"{name} is {value!r:.100}.", hint="Give a string, or leave it out.")
        path = with_query(f"/algorithms/{segment(algorithm_id)}/{what}", {"type": file_type, "version": version})
        try:
            # Scripts that were written for a temporary file close it when they are done, and may.
            return io.BytesIO(self._connection.request("GET", path, accept=accept).data)
        except NotFoundError as error:
            self._suggest(error, algorithm_id)
            raise
