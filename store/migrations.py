"""Every table and column, as numbered migrations. A released migration is never edited; a change is a new one."""

from sqlite_utils import Database, Migrations

migrations = Migrations("attune")


@migrations()
def m001_first_tables(db: Database) -> None:
    for statement in _FIRST_TABLES.split(";\n"):  # not executescript: that would commit the migration's transaction
        if statement.strip():
            db.execute(statement)


@migrations()
def m002_completion_ids(db: Database) -> None:
    db.execute("ALTER TABLE completions RENAME COLUMN reply_ids TO completion_ids")


@migrations()
def m003_readiness(db: Database) -> None:
    db.execute("CREATE TABLE readiness (id INTEGER PRIMARY KEY CHECK (id = 1), mark TEXT NOT NULL)")


@migrations()
def m004_retraction_frees_the_key(db: Database) -> None:
    db.execute("DROP INDEX one_feedback_per_key")
    db.execute(
        "CREATE UNIQUE INDEX one_feedback_per_key ON feedback(rater_id, idempotency_key) "
        "WHERE idempotency_key IS NOT NULL AND retracted_at IS NULL"
    )


@migrations()
def m005_whose_and_of_which(db: Database) -> None:
    db.execute("CREATE INDEX feedback_of_rater ON feedback(rater_id)")
    db.execute("CREATE INDEX comparisons_of_a ON comparisons(a_completion_id)")
    db.execute("CREATE INDEX comparisons_of_b ON comparisons(b_completion_id)")
    db.execute("CREATE INDEX versions_of_feedback ON feedback_of_version(feedback_id)")


_FIRST_TABLES = """
CREATE TABLE raters (
    id TEXT PRIMARY KEY, created_at TEXT NOT NULL, name TEXT NOT NULL DEFAULT '',
    trust REAL, quarantined_at TEXT, quarantine_reason TEXT NOT NULL DEFAULT ''
);
CREATE TABLE api_keys (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, key_hash TEXT NOT NULL UNIQUE, scopes TEXT NOT NULL,
    rater_id TEXT NOT NULL REFERENCES raters(id), created_at TEXT NOT NULL, revoked_at TEXT
);
CREATE TABLE conversations (
    id TEXT PRIMARY KEY, rater_id TEXT NOT NULL REFERENCES raters(id), title TEXT NOT NULL,
    created_at TEXT NOT NULL, updated_at TEXT NOT NULL, deleted_at TEXT
);
CREATE INDEX conversations_of_rater ON conversations(rater_id, updated_at);
CREATE TABLE versions (
    number INTEGER PRIMARY KEY, parent INTEGER REFERENCES versions(number),
    state TEXT NOT NULL CHECK (state IN ('candidate', 'rejected', 'canary', 'live', 'retired', 'withdrawn')),
    digest TEXT NOT NULL, folder TEXT NOT NULL, watermark INTEGER NOT NULL, run_id TEXT, algorithm TEXT NOT NULL,
    passed INTEGER, gate TEXT, metrics TEXT NOT NULL, created_at TEXT NOT NULL, live_at TEXT, retired_at TEXT
);
CREATE UNIQUE INDEX one_live_version ON versions(state) WHERE state = 'live';
CREATE TABLE completions (
    id TEXT NOT NULL, choice INTEGER NOT NULL, conversation_id TEXT REFERENCES conversations(id),
    rater_id TEXT NOT NULL REFERENCES raters(id), kind TEXT NOT NULL, asked_model TEXT NOT NULL, backend TEXT NOT NULL,
    version INTEGER REFERENCES versions(number), messages TEXT NOT NULL,
    prompt_ids BLOB NOT NULL, reply_ids BLOB NOT NULL, logps BLOB NOT NULL, text TEXT NOT NULL,
    settings TEXT NOT NULL, finish_reason TEXT NOT NULL, propensity REAL NOT NULL,
    created_at TEXT NOT NULL, PRIMARY KEY (id, choice)
);
CREATE INDEX completions_of_conversation ON completions(conversation_id, created_at);
CREATE INDEX completions_of_version ON completions(version);
CREATE TABLE comparisons (
    id TEXT PRIMARY KEY, rater_id TEXT NOT NULL REFERENCES raters(id),
    conversation_id TEXT REFERENCES conversations(id),
    a_completion_id TEXT NOT NULL, a_choice INTEGER NOT NULL, b_completion_id TEXT NOT NULL, b_choice INTEGER NOT NULL,
    reason TEXT NOT NULL, propensity REAL NOT NULL, created_at TEXT NOT NULL,
    FOREIGN KEY (a_completion_id, a_choice) REFERENCES completions(id, choice),
    FOREIGN KEY (b_completion_id, b_choice) REFERENCES completions(id, choice)
);
CREATE TABLE feedback (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,
    rater_id TEXT NOT NULL REFERENCES raters(id),
    completion_id TEXT NOT NULL, choice INTEGER NOT NULL, other_completion_id TEXT, other_choice INTEGER,
    comparison_id TEXT REFERENCES comparisons(id), value REAL, winner TEXT, text TEXT,
    reason TEXT, comment TEXT, metadata TEXT NOT NULL, idempotency_key TEXT, body_digest TEXT NOT NULL,
    created_at TEXT NOT NULL, retracted_at TEXT, retracted_by TEXT,
    FOREIGN KEY (completion_id, choice) REFERENCES completions(id, choice)
);
CREATE UNIQUE INDEX one_feedback_per_key ON feedback(rater_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX feedback_on_completion ON feedback(completion_id, choice);
CREATE INDEX feedback_on_comparison ON feedback(comparison_id);
CREATE TABLE runs (
    id TEXT PRIMARY KEY, algorithm TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'finished', 'failed')),
    settings TEXT NOT NULL, seed INTEGER NOT NULL, parent INTEGER NOT NULL REFERENCES versions(number), version INTEGER,
    items INTEGER NOT NULL, after_seq INTEGER NOT NULL, upto_seq INTEGER NOT NULL, attempt INTEGER NOT NULL,
    metrics TEXT NOT NULL, error TEXT NOT NULL, started_at TEXT NOT NULL, finished_at TEXT
);
CREATE TABLE feedback_of_version (
    version INTEGER NOT NULL REFERENCES versions(number), feedback_id TEXT NOT NULL REFERENCES feedback(id),
    PRIMARY KEY (version, feedback_id)
) WITHOUT ROWID;
CREATE TABLE traffic (
    id INTEGER PRIMARY KEY AUTOINCREMENT, live INTEGER NOT NULL REFERENCES versions(number),
    canary INTEGER REFERENCES versions(number),
    share REAL NOT NULL, reason TEXT NOT NULL, created_at TEXT NOT NULL
);
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, data TEXT NOT NULL, created_at TEXT NOT NULL
);
CREATE TABLE learner_status (
    id INTEGER PRIMARY KEY CHECK (id = 1), state TEXT NOT NULL, paused INTEGER NOT NULL, heartbeat_at TEXT,
    run_id TEXT, progress TEXT, next_at TEXT, attempted_seq INTEGER NOT NULL, detail TEXT NOT NULL
);
INSERT INTO learner_status VALUES (1, 'down', 0, NULL, NULL, NULL, NULL, 0, '{}');
CREATE TABLE learner_orders (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL CHECK (kind IN ('update', 'pause', 'resume')),
    created_at TEXT NOT NULL, done_at TEXT
);
"""
