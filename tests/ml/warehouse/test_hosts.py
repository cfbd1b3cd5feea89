import pytest

from ml.warehouse import Warehouse
from tests.postgres import Postgres


class Ended(Exception):
    """The caller waited long enough."""


def stop(_: float) -> None:
    raise Ended


def test_a_third_task_waits_until_one_of_two_places_is_free(postgres: Postgres) -> None:
    with (
        Warehouse(postgres.pipeline_dsn) as one,
        Warehouse(postgres.pipeline_dsn) as two,
        Warehouse(postgres.pipeline_dsn) as three,
        one.place_at("ci.example.org"),
    ):
        second = two.place_at("ci.example.org")
        second.__enter__()
        with pytest.raises(Ended), three.place_at("ci.example.org", sleep=stop):
            pass

        def leave(_: float) -> None:
            second.__exit__(None, None, None)

        with three.place_at("ci.example.org", sleep=leave):
            pass


def test_other_hosts_do_not_wait(postgres: Postgres) -> None:
    with (
        Warehouse(postgres.pipeline_dsn) as one,
        Warehouse(postgres.pipeline_dsn) as two,
        one.place_at("a", 1),
        two.place_at("b", 1, stop),
    ):
        pass


def test_a_place_ends_with_its_task_however_that_ends(postgres: Postgres) -> None:
    with Warehouse(postgres.pipeline_dsn) as one, pytest.raises(Ended), one.place_at("a", 1):
        raise Ended
    killed = Warehouse(postgres.pipeline_dsn)
    killed.place_at("a", 1).__enter__()
    killed.close()
    with Warehouse(postgres.pipeline_dsn) as two, two.place_at("a", 1, stop):
        pass
