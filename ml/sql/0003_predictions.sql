-- Published predictions: past sets stay, one set per (model, project) is current.
CREATE TABLE fourgate.publication (
    publication_id text PRIMARY KEY,
    model text NOT NULL,
    project text NOT NULL,
    model_version text NOT NULL,
    gate_report text NOT NULL,
    snapshot_id bigint NOT NULL REFERENCES fourgate.collection_batch (snapshot_id),
    as_of timestamptz NOT NULL,
    row_count bigint NOT NULL,
    is_current boolean NOT NULL,
    published_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE UNIQUE INDEX publication_current ON fourgate.publication (model, project) WHERE is_current;

-- No key over the names: a test's name can be longer than an index entry may be. The publisher checks the grain.
CREATE TABLE fourgate.prediction (
    publication_id text NOT NULL,
    model text NOT NULL,
    project text NOT NULL,
    change_id text NOT NULL,
    variant text NOT NULL,
    test_id text NOT NULL,
    score double precision NOT NULL,
    probability double precision NOT NULL CHECK (probability BETWEEN 0 AND 1),
    rank integer NOT NULL CHECK (rank >= 1),
    decision text NOT NULL CHECK (decision IN ('select', 'skip')),
    reasons jsonb NOT NULL,
    model_version text NOT NULL,
    gate_report text NOT NULL,
    snapshot_id bigint NOT NULL,
    as_of timestamptz NOT NULL
);
CREATE INDEX prediction_publication ON fourgate.prediction (publication_id, rank);
COMMENT ON TABLE fourgate.prediction IS 'Current and past predictions; grain: publication, change, variant, test.';
COMMENT ON COLUMN fourgate.prediction.change_id IS 'run that the prediction is for; next for the next run';
COMMENT ON COLUMN fourgate.prediction.as_of IS 'nothing known later was used';

CREATE VIEW fourgate.current_prediction AS
    SELECT prediction.*, publication.published_at
    FROM fourgate.prediction JOIN fourgate.publication USING (publication_id)
    WHERE publication.is_current;
COMMENT ON VIEW fourgate.current_prediction IS 'The set published last for each (model, project), whole or not at all.';

GRANT SELECT, INSERT, UPDATE ON fourgate.publication TO fourgate_pipeline;
GRANT SELECT, INSERT ON fourgate.prediction TO fourgate_pipeline;
GRANT SELECT ON fourgate.current_prediction TO fourgate_pipeline, fourgate_reader;
GRANT SELECT ON fourgate.publication, fourgate.prediction TO fourgate_reader;
