-- Persons who opted out: only the keyed hash of a name is known here, and it says nothing without the salt.
CREATE TABLE fourgate.forgotten_person (
    pseudonym text PRIMARY KEY CHECK (pseudonym ~ '^[0-9a-f]{12}$'),
    project text NOT NULL,
    forgotten_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE fourgate.forgotten_person IS 'Pseudonyms of authors that no longer land; a person has another one in each project.';

GRANT SELECT, INSERT ON fourgate.forgotten_person TO fourgate_pipeline;
