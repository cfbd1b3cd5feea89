-- What a collected batch came from, which payloads it has, and which of its runs were outages.
ALTER TABLE fourgate.collection_batch
    ADD COLUMN origin text NOT NULL DEFAULT '',
    ADD COLUMN payloads jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN outages jsonb NOT NULL DEFAULT '[]';
COMMENT ON COLUMN fourgate.collection_batch.origin IS 'address or folder that was asked; empty where nobody noted it';
COMMENT ON COLUMN fourgate.collection_batch.payloads IS 'list of {path, sha256}, as landed';
COMMENT ON COLUMN fourgate.collection_batch.outages IS 'run_ids with a larger share of failed tests than FOURGATE_OUTAGE_SHARE';
