-- What all rows of a published set share is kept once, by its publication; `prediction` is a view with the columns it had.
SET LOCAL statement_timeout = 0;  -- moves every row that was ever published
ALTER TABLE fourgate.publication ADD COLUMN publication_number integer GENERATED ALWAYS AS IDENTITY UNIQUE;
COMMENT ON COLUMN fourgate.publication.publication_number IS 'what the rows of the set name it by; publication_id is its hash';

-- No key over the names: a test's name can be longer than an index entry may be. The publisher checks the grain.
CREATE TABLE fourgate.prediction_row (
    publication_number integer NOT NULL,
    rank integer NOT NULL CHECK (rank >= 1),
    score double precision NOT NULL,
    probability double precision NOT NULL CHECK (probability BETWEEN 0 AND 1),
    as_of timestamptz NOT NULL,
    change_id text NOT NULL,
    variant text NOT NULL,
    test_id text NOT NULL,
    decision text NOT NULL CHECK (decision ~ '^[a-z_]+$'),
    reasons jsonb NOT NULL
);
COMMENT ON TABLE fourgate.prediction_row IS 'Rows of published sets; read them in prediction and current_prediction.';

INSERT INTO fourgate.prediction_row
    SELECT publication_number, rank, score, probability, prediction.as_of, change_id, variant, test_id, decision, reasons
    FROM fourgate.prediction JOIN fourgate.publication USING (publication_id);
CREATE INDEX prediction_row_publication ON fourgate.prediction_row (publication_number);
ANALYZE fourgate.prediction_row;

CREATE OR REPLACE VIEW fourgate.current_prediction AS
    SELECT publication_id, model, project, change_id, variant, test_id, score, probability, rank, decision, reasons,
        model_version, gate_report, snapshot_id, prediction_row.as_of, published_at, is_shared
    FROM fourgate.prediction_row JOIN fourgate.publication USING (publication_number)
    WHERE is_current;

DROP TABLE fourgate.prediction;
CREATE VIEW fourgate.prediction AS
    SELECT publication_id, model, project, change_id, variant, test_id, score, probability, rank, decision, reasons,
        model_version, gate_report, snapshot_id, prediction_row.as_of, is_shared
    FROM fourgate.prediction_row JOIN fourgate.publication USING (publication_number);
COMMENT ON VIEW fourgate.prediction IS 'Current and past predictions; grain: publication, change, variant, test.';
COMMENT ON COLUMN fourgate.prediction.change_id IS 'run that the prediction is for; next for the next run';
COMMENT ON COLUMN fourgate.prediction.variant IS 'with test_id what the prediction is for; both * for a whole run';
COMMENT ON COLUMN fourgate.prediction.decision IS 'select or skip a test; a run is risky or ok';
COMMENT ON COLUMN fourgate.prediction.as_of IS 'nothing known later was used';
COMMENT ON COLUMN fourgate.prediction.is_shared IS 'whether model_version is one of the shared model, project *';

GRANT SELECT, INSERT ON fourgate.prediction_row TO fourgate_pipeline;
GRANT SELECT ON fourgate.prediction TO fourgate_pipeline, fourgate_reader;
