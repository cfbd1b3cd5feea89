"""### Collect CI data

Every source -> landing -> contracts -> lake. Hourly, on demand, and once CI jobs pushed runs (asset `pushed_runs`: only
those); emits `ci_history` with its numbers (rows, bytes, lowest quality score, ...) when something is new. Sources:
FOURGATE_HISTORY, what was pushed, and the servers of `fourgate.toml`, each asked from where its last collection ended.

**A past period:** *Trigger -> Backfill* collects, hour by hour, the runs that started within each data interval and
nothing else; *Single run* with *since* and *until* a longer period at once. A scheduled run takes all that is new.

**Normal:** `append` is *skipped* when nothing was new. Rejected rows turn no run red: `rejected_rows` says why.

**Red is real when:** `fetch` of a source cannot read or reach it, is refused, or finds a server silent for longer than
its `silent_days` (see the log, or `fourgate source test NAME`); other sources go on. `require_contracts` names a batch
that breaks its contract as a whole and is not in the lake (see its *Report*), or a project that dries up: a thin week
(`least_share`), or two weeks without a push. `append` waits ten minutes for the lock of the lake (see who has it).

**Mend:** fix the cause and clear the task: a batch is known by its content. Owner: data engineering.
"""

from typing import Any

from airflow.sdk import Param, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from fourgate import defaults
from fourgate.assets import ci_history
from fourgate.tokens import token_of
from ml.settings import load_settings

FORM = {
    "source": defaults.source_field(),
    "history": Param("", type="string", maxLength=4000, title="History folder", description="Empty: FOURGATE_HISTORY."),
    **defaults.SPAN,
    "as_of": defaults.AS_OF,
}


@dag(schedule=defaults.HOURLY_OR_PUSHED, params=FORM, tags=["fourgate", "data"], doc_md=__doc__, **defaults.DAG)
def collect_ci_data():
    """Wire the steps of collecting."""

    @task
    def list_sources() -> list[str]:
        """Name what is collected: what was pushed if that started the run, what the form says, else all of it."""
        from ml.stages import fetching

        now, form = get_current_context(), get_current_context()["params"]
        only = fetching.HISTORY if form["history"] else form["source"]
        return fetching.names(load_settings(), fetching.PUSH if defaults.is_pushed(now) else only)

    @task(max_active_tis_per_dagrun=4, map_index_template="{{ task.op_kwargs['source'] }}")
    def fetch(source: str) -> list[dict[str, Any]]:
        """Land the payloads of one source; one entry per batch that is not in the lake yet."""
        from ml.stages import fetching, opening

        now = get_current_context()
        when, history = opening.to_span(*defaults.span(now)), now["params"]["history"]
        asked = fetching.Request(source, defaults.collected_at(now), when, token_of(source), history)
        return fetching.fetch(load_settings(), asked)

    @task(trigger_rule="all_done")
    def gather(fetched: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """Put the batches of all sources in one list; a source that failed brings none."""
        return [batch for batches in fetched for batch in batches]

    @task(multiple_outputs=False)
    def validate(batch: dict[str, Any]) -> dict[str, Any]:
        """Hold one batch against its contracts; refused rows are set aside with their reason."""
        from ml.stages import collection

        checked = collection.validate(load_settings(), batch, defaults.collected_at(get_current_context()))
        defaults.link_report(checked["report_url"])
        return checked

    @task(outlets=[ci_history], pool=defaults.LAKE_POOL, multiple_outputs=False)
    def append(batches: list[dict[str, Any]], *, outlet_events: Any = None) -> dict[str, Any]:
        """Put the accepted rows into the lake, batch by batch, each exactly once."""
        from ml.stages import collection

        defaults.link_report(defaults.data_docs_history(load_settings()))
        appended = collection.append(load_settings(), list(batches))
        # an attempt killed after its last commit left nothing new to the next one, but told nobody
        if not appended["new_rows"] and get_current_context()["ti"].try_number == 1:
            raise AirflowSkipException(f"no new row in {len(batches)} batches")
        outlet_events[ci_history].extra = appended
        return appended

    @task(trigger_rule="none_failed")
    def require_contracts(batches: list[dict[str, Any]]) -> None:
        """Turn the run red for a batch that was refused as a whole, or a project that dries up."""
        from ml.stages import vigilance

        vigilance.require_health(load_settings(), list(batches), defaults.collected_at(get_current_context()))

    fetched = fetch.expand(source=list_sources())
    checked = validate.expand(batch=gather(fetched))
    [append(checked), fetched] >> require_contracts(checked)  # a source that failed turns the run red


collect_ci_data()
