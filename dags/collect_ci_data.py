"""### Collect CI data

Every source -> landing -> contracts -> lake. Hourly and on demand; emits `ci_history` with its numbers (rows,
refused rows, bytes, lowest quality score, snapshot) when something new came in. Sources are the history of
FOURGATE_HISTORY and the CI servers of `fourgate.toml`; each server is asked from where its last collection ended.

**A past period:** *Trigger -> Backfill* collects, hour by hour, the runs that started within each data interval and
nothing else; *Single run* with *since* and *until* takes a longer period at once. A scheduled run takes all that is
new, whenever it started: after a pause one run catches up with everything that was missed.

**Normal:** `append` is *skipped* when there was nothing new. Rejected rows do not turn a run red: they are kept in
`rejected_rows` with their reason, and the batch's data-quality score drops.

**Red is real when:** `fetch` of a source cannot read the history folder (the log names the folder and the layouts that
would be right), cannot reach its server, is refused (the log names the permission), or finds that the server has had no
run for longer than its `silent_days` (`fourgate source test NAME` tells more); what other sources brought goes on.
`require_contracts` names a batch that breaks its contract as a whole: it is not in the lake, the others are
(open the *Report* of its `validate`: the Data Docs say which expectation); `append` cannot get the lake's lock within
ten minutes (another collector hangs: see its log).

**Mend:** fix the cause and clear the task. Collecting twice changes nothing: a batch is known by its content.
Owner: data engineering.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable, Param, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from fourgate.assets import ci_history
from fourgate.defaults import AS_OF, DAG, LAKE_POOL, collected_at, data_docs_history, link_report, moment_field, span
from fourgate.tokens import token_of
from ml.settings import load_settings, source_names

AT_ONCE = 4
FORM = {
    "source": Param(
        "",
        type="string",
        enum=["", *source_names(load_settings())],
        values_display={"": "every source"},
        title="Source",
        description="Only this CI server.",
    ),
    "history": Param("", type="string", maxLength=4000, title="History folder", description="Empty: FOURGATE_HISTORY."),
    "since": moment_field("Since", "First start (UTC)."),
    "until": moment_field("Until", "First start after."),
    "as_of": AS_OF,
}
HOURLY = CronTriggerTimetable("0 * * * *", timezone="UTC", interval=timedelta(hours=1))


@dag(schedule=HOURLY, params=FORM, tags=["fourgate", "data"], doc_md=__doc__, **DAG)
def collect_ci_data():
    """Wire the steps of collecting."""

    @task
    def list_sources() -> list[str]:
        """Name what is collected: what the form says, else all that is configured."""
        from ml.stages import fetching

        form = get_current_context()["params"]
        only = fetching.HISTORY if form["history"] else form["source"]
        return [only] if only else fetching.names(load_settings())

    @task(max_active_tis_per_dagrun=AT_ONCE, map_index_template="{{ task.op_kwargs['source'] }}")
    def fetch(source: str) -> list[dict[str, Any]]:
        """Land the payloads of one source; one entry per batch that is not in the lake yet."""
        from ml.stages import fetching, opening

        context = get_current_context()
        request = fetching.Request(
            source,
            collected_at(context),
            opening.to_span(*span(context)),
            token_of(source),
            context["params"]["history"],
        )
        return fetching.fetch(load_settings(), request)

    @task(trigger_rule="all_done")
    def gather(fetched: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """Put the batches of all sources in one list; a source that failed brings none."""
        return [batch for batches in fetched for batch in batches]

    @task(multiple_outputs=False)
    def validate(batch: dict[str, Any]) -> dict[str, Any]:
        """Hold one batch against its contracts; refused rows are set aside with their reason."""
        from ml.stages import collection

        context = get_current_context()
        checked = collection.validate(load_settings(), batch, collected_at(context))
        link_report(checked["report_url"])
        return checked

    @task(outlets=[ci_history], pool=LAKE_POOL, multiple_outputs=False)
    def append(batches: list[dict[str, Any]], *, outlet_events: Any = None) -> dict[str, Any]:
        """Put the accepted rows into the lake, batch by batch, each exactly once."""
        from ml.stages import collection

        settings = load_settings()
        link_report(data_docs_history(settings))
        appended = collection.append(settings, list(batches))
        # an attempt that was killed after its last commit left nothing new to the next one, but told nobody
        if not appended["new_rows"] and get_current_context()["ti"].try_number == 1:
            raise AirflowSkipException(f"no new row in {len(batches)} batches")
        outlet_events[ci_history].extra = appended
        return appended

    @task(trigger_rule="none_failed")
    def require_contracts(batches: list[dict[str, Any]]) -> None:
        """Turn the run red for a batch that was refused as a whole; the good ones are in the lake by now."""
        from ml.stages import contracts

        contracts.require_contracts(list(batches))

    fetched = fetch.expand(source=list_sources())
    checked = validate.expand(batch=gather(fetched))
    judged = require_contracts(checked)
    append(checked) >> judged
    fetched >> judged  # a source that failed turns the run red


collect_ci_data()
