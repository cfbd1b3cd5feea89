-- Tokens that CI jobs push runs with. Only the hash of a token is known here; whoever reads this table cannot push.
CREATE TABLE fourgate.push_token (
    sha256 text PRIMARY KEY CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    name text NOT NULL,
    project text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at timestamptz
);
CREATE UNIQUE INDEX push_token_name ON fourgate.push_token (name) WHERE revoked_at IS NULL;
COMMENT ON TABLE fourgate.push_token IS 'Who may push runs of which project; a revoked token stays, so that the audit log can be read.';
COMMENT ON COLUMN fourgate.push_token.sha256 IS 'of the token, which itself is stored nowhere';

GRANT SELECT, INSERT, UPDATE (revoked_at) ON fourgate.push_token TO fourgate_pipeline;
