"""Goes through the pages of a listing of GitLab: https://docs.gitlab.com/api/rest/#pagination."""

from collections.abc import Iterator, Mapping

from ml.errors import SourceError
from ml.sources.rest_api import Json, RestApi, as_objects

PAGE = 100
# More than the pipelines of years; a listing that never comes to an end is none.
MAX_PAGES = 10_000


def pages(api: RestApi, path: str, parameters: Mapping[str, str | int]) -> Iterator[list[Json]]:
    """The JSON objects of a paginated listing; whether there is another page is told by the headers of each.

    Raises:
        SourceError: the server cannot be reached, refuses, answers what is no listing, or lists without end.
    """
    for number in range(1, MAX_PAGES + 1):
        answer = api.get(path, {**parameters, "per_page": PAGE, "page": number})
        entries = api.json(answer)
        if not isinstance(entries, list):
            raise SourceError(f"{api.place(path)} is no listing; right would be the root of a GitLab server as url")
        yield as_objects(entries)
        if not entries or not (answer.headers.get("x-next-page") or 'rel="next"' in answer.headers.get("link", "")):
            return
    raise SourceError(f"{api.place(path)} has more than {MAX_PAGES} pages; collect a shorter interval")
