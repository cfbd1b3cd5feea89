-- A project without a champion of its own is served by the shared model, whose champion has project '*'.
ALTER TABLE fourgate.publication ADD COLUMN is_shared boolean NOT NULL DEFAULT false;
ALTER TABLE fourgate.prediction ADD COLUMN is_shared boolean NOT NULL DEFAULT false;
ALTER TABLE fourgate.monitor_report ADD COLUMN is_shared boolean NOT NULL DEFAULT false;
-- Version 1 of the shared model and version 1 of the project's own are two.
ALTER TABLE fourgate.monitor_report DROP CONSTRAINT monitor_report_pkey;
ALTER TABLE fourgate.monitor_report
    ADD PRIMARY KEY (model, project, is_shared, model_version, snapshot_id, as_of);
COMMENT ON COLUMN fourgate.publication.is_shared IS 'whether model_version is one of the shared model, project *';
COMMENT ON COLUMN fourgate.prediction.is_shared IS 'whether model_version is one of the shared model, project *';
COMMENT ON COLUMN fourgate.monitor_report.is_shared IS 'whether model_version is one of the shared model, project *';
COMMENT ON COLUMN fourgate.champion.project IS '* for the shared model, trained on all projects';

CREATE OR REPLACE VIEW fourgate.current_prediction AS
    SELECT prediction.publication_id, prediction.model, prediction.project, change_id, variant, test_id, score,
        probability, rank, decision, reasons, prediction.model_version, prediction.gate_report, prediction.snapshot_id,
        prediction.as_of, publication.published_at, prediction.is_shared
    FROM fourgate.prediction JOIN fourgate.publication USING (publication_id)
    WHERE publication.is_current;
