-- Rows of sets that are no longer current go after FOURGATE_KEEP_PREDICTIONS_DAYS; that they were published stays.
ALTER TABLE fourgate.publication ADD COLUMN rows_removed_at timestamptz;
COMMENT ON COLUMN fourgate.publication.rows_removed_at IS 'when maintenance removed the rows of the set; null: they are there';
GRANT DELETE ON fourgate.prediction_row TO fourgate_pipeline;
