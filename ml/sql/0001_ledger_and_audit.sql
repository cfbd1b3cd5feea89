-- Collection ledger: one row per batch names the Delta versions together; snapshot_id is the writer's sequence number.
CREATE SEQUENCE fourgate.lake_sequence AS bigint;

CREATE TABLE fourgate.collection_batch (
    batch_id text PRIMARY KEY,
    snapshot_id bigint NOT NULL UNIQUE,
    source text NOT NULL,
    project text NOT NULL,
    kind text NOT NULL,
    payload_count integer NOT NULL CHECK (payload_count >= 0),
    row_counts jsonb NOT NULL,
    duplicates jsonb NOT NULL,
    rejected integer NOT NULL CHECK (rejected >= 0),
    quality_score double precision CHECK (quality_score BETWEEN 0 AND 1),
    versions jsonb NOT NULL,
    batch_until timestamptz,
    data_until timestamptz,
    interval_start timestamptz,
    interval_end timestamptz,
    seconds double precision NOT NULL CHECK (seconds >= 0),
    as_of timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX collection_batch_source ON fourgate.collection_batch (source, project);
COMMENT ON TABLE fourgate.collection_batch IS 'One row per batch in the lake; versions names the Delta versions of its snapshot.';
COMMENT ON COLUMN fourgate.collection_batch.batch_until IS 'latest known_at of the batch''s own new runs; null without any';
COMMENT ON COLUMN fourgate.collection_batch.data_until IS 'latest known_at of the whole snapshot; null while the lake has no runs';

-- Who did what, in the transaction of the act itself. Nobody changes it afterwards.
CREATE TABLE fourgate.audit_log (
    audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    detail jsonb NOT NULL
);

CREATE FUNCTION fourgate.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP;
END $$;

CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON fourgate.audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION fourgate.refuse_change();

GRANT USAGE ON SCHEMA fourgate TO fourgate_pipeline, fourgate_reader;
GRANT SELECT ON fourgate.schema_migration TO fourgate_pipeline;
GRANT USAGE ON SEQUENCE fourgate.lake_sequence TO fourgate_pipeline;
GRANT SELECT, INSERT ON fourgate.collection_batch, fourgate.audit_log TO fourgate_pipeline;
GRANT SELECT ON fourgate.collection_batch TO fourgate_reader;
