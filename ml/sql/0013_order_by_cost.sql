-- How long each test is expected to take, and its place in the order that finds failures in the least time.
ALTER TABLE fourgate.prediction_row
    ADD COLUMN expected_duration_s double precision CHECK (expected_duration_s >= 0),
    ADD COLUMN rank_by_cost integer CHECK (rank_by_cost >= 1);

CREATE OR REPLACE VIEW fourgate.current_prediction AS
    SELECT publication_id, model, project, change_id, variant, test_id, score, probability, rank, decision, reasons,
        model_version, gate_report, snapshot_id, prediction_row.as_of, published_at, is_shared, expected_duration_s,
        rank_by_cost
    FROM fourgate.prediction_row JOIN fourgate.publication USING (publication_number)
    WHERE is_current;

CREATE OR REPLACE VIEW fourgate.prediction AS
    SELECT publication_id, model, project, change_id, variant, test_id, score, probability, rank, decision, reasons,
        model_version, gate_report, snapshot_id, prediction_row.as_of, is_shared, expected_duration_s, rank_by_cost
    FROM fourgate.prediction_row JOIN fourgate.publication USING (publication_number);
COMMENT ON COLUMN fourgate.prediction.expected_duration_s IS 'seconds that the test takes; null where it is not known';
COMMENT ON COLUMN fourgate.prediction.rank_by_cost
    IS 'place in the order that finds failures in the least time; null where nothing is ordered by time';
