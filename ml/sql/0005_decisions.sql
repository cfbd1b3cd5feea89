-- More models, more words of advice: which word is known is the contract's business (ml/schemas/), so that a new
-- model needs no migration; here a decision is one plain word.
ALTER TABLE fourgate.prediction DROP CONSTRAINT prediction_decision_check;
ALTER TABLE fourgate.prediction ADD CONSTRAINT prediction_decision_check CHECK (decision ~ '^[a-z_]+$');
COMMENT ON COLUMN fourgate.prediction.decision IS 'select or skip a test; a run is risky or ok';
COMMENT ON COLUMN fourgate.prediction.variant IS 'with test_id what the prediction is for; both * for a whole run';
