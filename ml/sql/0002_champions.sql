-- Verdicts, promotions and the champion of each (model, project).
CREATE TABLE fourgate.gate_verdict (
    model text NOT NULL,
    project text NOT NULL,
    model_version text NOT NULL,
    sha256 text NOT NULL,
    gate text NOT NULL,
    status text NOT NULL CHECK (status IN ('pass', 'fail', 'error')),
    checks jsonb NOT NULL,
    thresholds_version text NOT NULL,
    period_start timestamptz,
    period_end timestamptz,
    snapshot_id bigint NOT NULL REFERENCES fourgate.collection_batch (snapshot_id),
    as_of timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (model, project, model_version, gate)
);
COMMENT ON TABLE fourgate.gate_verdict IS 'What each gate concluded about a model version, passes too; the period is the test period.';

CREATE TABLE fourgate.promotion (
    model text NOT NULL,
    project text NOT NULL,
    model_version text NOT NULL,
    route text NOT NULL CHECK (route IN ('first', 'better', 'refresh')),
    period_start timestamptz,
    period_end timestamptz,
    replaced text,
    as_of timestamptz NOT NULL,
    promoted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (model, project, model_version)
);
COMMENT ON TABLE fourgate.promotion IS 'Every promotion by the gates, once per version; its test period promotes no other version.';
CREATE TRIGGER promotion_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON fourgate.promotion
    FOR EACH STATEMENT EXECUTE FUNCTION fourgate.refuse_change();

CREATE TABLE fourgate.champion (
    model text NOT NULL,
    project text NOT NULL,
    version text NOT NULL,
    mlflow_run_id text NOT NULL,
    artifact_uri text NOT NULL,
    sha256 text NOT NULL,
    gate_report text NOT NULL,
    route text NOT NULL CHECK (route IN ('first', 'better', 'refresh')),
    promoted_at timestamptz NOT NULL,
    as_of timestamptz NOT NULL,
    previous jsonb,
    anchor jsonb NOT NULL,
    PRIMARY KEY (model, project)
);
COMMENT ON COLUMN fourgate.champion.previous IS 'the champion before, in full, for a rollback; null after the first promotion';
COMMENT ON COLUMN fourgate.champion.anchor IS 'the last version that won by route first or better: what a refresh is held against';

GRANT SELECT, INSERT, UPDATE ON fourgate.gate_verdict, fourgate.champion TO fourgate_pipeline;
GRANT SELECT, INSERT ON fourgate.promotion TO fourgate_pipeline;
GRANT SELECT ON fourgate.gate_verdict, fourgate.promotion, fourgate.champion TO fourgate_reader;
