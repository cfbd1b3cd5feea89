-- Drift and live measures: one row per moment that was asked about.
CREATE TABLE fourgate.drift_report (
    model text NOT NULL,
    project text NOT NULL,
    status text NOT NULL,
    share_drifted double precision,
    threshold double precision,
    columns jsonb NOT NULL,
    drifted jsonb NOT NULL,
    reference_start timestamptz,
    reference_end timestamptz,
    current_start timestamptz,
    current_end timestamptz,
    snapshot_id bigint NOT NULL REFERENCES fourgate.collection_batch (snapshot_id),
    as_of timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (model, project, snapshot_id, as_of)
);

CREATE TABLE fourgate.monitor_report (
    model text NOT NULL,
    project text NOT NULL,
    model_version text NOT NULL,
    measures jsonb NOT NULL,
    snapshot_id bigint NOT NULL REFERENCES fourgate.collection_batch (snapshot_id),
    as_of timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (model, project, model_version, snapshot_id, as_of)
);

GRANT SELECT, INSERT, UPDATE ON fourgate.drift_report, fourgate.monitor_report TO fourgate_pipeline;
GRANT SELECT ON fourgate.drift_report, fourgate.monitor_report TO fourgate_reader;
