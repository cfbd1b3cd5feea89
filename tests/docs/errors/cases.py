"""A case is a function that does what a user did and returns what was printed; it may provoke several entries."""

from collections.abc import Callable

from tests.docs.place import Place

Case = Callable[[Place], str]
Cases = dict[tuple[str, ...], Case]


def entries(cases: Cases, *anchors: str) -> Callable[[Case], Case]:
    """Keep a function as the case of these entries."""

    def keep(case: Case) -> Case:
        cases[anchors] = case
        return case

    return keep
