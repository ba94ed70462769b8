BEGIN TRANSACTION;
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
INSERT INTO "_sqlite_migrations" VALUES(1,'attune','m001_first_tables','2026-11-28 05:46:05.070728+00:00');
INSERT INTO "_sqlite_migrations" VALUES(2,'attune','m002_completion_ids','2026-11-28 05:46:05.265766+00:00');
INSERT INTO "_sqlite_migrations" VALUES(3,'attune','m003_readiness','2026-11-28 05:46:05.290377+00:00');
INSERT INTO "_sqlite_migrations" VALUES(4,'attune','m004_retraction_frees_the_key','2026-11-28 05:46:05.326024+00:00');
CREATE TABLE api_keys (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, key_hash TEXT NOT NULL UNIQUE, scopes TEXT NOT NULL,
    rater_id TEXT NOT NULL REFERENCES raters(id), created_at TEXT NOT NULL, revoked_at TEXT
);
INSERT INTO "api_keys" VALUES('k1','Ann','h','chat feedback','ann','2026-01-31T12:00:00.000000+00:00','2026-01-31T12:00:00.000000+00:00');
CREATE TABLE comparisons (
    id TEXT PRIMARY KEY, rater_id TEXT NOT NULL REFERENCES raters(id),
    conversation_id TEXT REFERENCES conversations(id),
    a_completion_id TEXT NOT NULL, a_choice INTEGER NOT NULL, b_completion_id TEXT NOT NULL, b_choice INTEGER NOT NULL,
    reason TEXT NOT NULL, propensity REAL NOT NULL, created_at TEXT NOT NULL,
    FOREIGN KEY (a_completion_id, a_choice) REFERENCES completions(id, choice),
    FOREIGN KEY (b_completion_id, b_choice) REFERENCES completions(id, choice)
);
INSERT INTO "comparisons" VALUES('q1','ann','talk','c1',0,'c2',0,'different',0.5,'2026-01-31T12:00:00.000000+00:00');
CREATE TABLE completions (
    id TEXT NOT NULL, choice INTEGER NOT NULL, conversation_id TEXT REFERENCES conversations(id),
    rater_id TEXT NOT NULL REFERENCES raters(id), kind TEXT NOT NULL, asked_model TEXT NOT NULL, backend TEXT NOT NULL,
    version INTEGER REFERENCES versions(number), messages TEXT NOT NULL,
    prompt_ids BLOB NOT NULL, completion_ids BLOB NOT NULL, logps BLOB NOT NULL, text TEXT NOT NULL,
    settings TEXT NOT NULL, finish_reason TEXT NOT NULL, propensity REAL NOT NULL,
    created_at TEXT NOT NULL, PRIMARY KEY (id, choice)
);
INSERT INTO "completions" VALUES('c1',0,'talk','ann','chat','attune','local',0,'[{"role": "user", "content": "你好"}]',X'010000000500000009000000',X'0700000002000000',X'000080BE0000C0BF','hey','{"temperature": 1.0}','stop',1.0,'2026-01-31T12:00:00.000000+00:00');
INSERT INTO "completions" VALUES('c2',0,'talk','ann','chat','attune','local',0,'[{"role": "user", "content": "你好"}]',X'010000000500000009000000',X'0800000002000000',X'000080BE0000C0BF','ho','{"temperature": 1.0}','stop',1.0,'2026-01-31T12:00:00.000000+00:00');
INSERT INTO "completions" VALUES('c3',0,'talk','ann','chat','attune','other',NULL,'[{"role": "user", "content": "你好"}]',X'',X'',X'','elsewhere','{"temperature": 1.0}','stop',1.0,'2026-01-31T12:00:00.000000+00:00');
CREATE TABLE conversations (
    id TEXT PRIMARY KEY, rater_id TEXT NOT NULL REFERENCES raters(id), title TEXT NOT NULL,
    created_at TEXT NOT NULL, updated_at TEXT NOT NULL, deleted_at TEXT
);
INSERT INTO "conversations" VALUES('talk','ann','你好','2026-01-31T12:00:00.000000+00:00','2026-01-31T12:00:00.000000+00:00',NULL);
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, data TEXT NOT NULL, created_at TEXT NOT NULL
);
INSERT INTO "events" VALUES(1,'feedback','{"feedback_id": "f1", "rater": "ann"}','2026-01-31T12:00:00.000000+00:00');
CREATE TABLE feedback (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,
    rater_id TEXT NOT NULL REFERENCES raters(id),
    completion_id TEXT NOT NULL, choice INTEGER NOT NULL, other_completion_id TEXT, other_choice INTEGER,
    comparison_id TEXT REFERENCES comparisons(id), value REAL, winner TEXT, text TEXT,
    reason TEXT, comment TEXT, metadata TEXT NOT NULL, idempotency_key TEXT, body_digest TEXT NOT NULL,
    created_at TEXT NOT NULL, retracted_at TEXT, retracted_by TEXT,
    FOREIGN KEY (completion_id, choice) REFERENCES completions(id, choice)
);
INSERT INTO "feedback" VALUES(1,'f1','thumb','ann','c1',0,NULL,NULL,NULL,1.0,NULL,NULL,'clear','好','{}','key-1','d','2026-01-31T12:00:00.000000+00:00',NULL,NULL);
INSERT INTO "feedback" VALUES(2,'f2','correction','ann','c2',0,NULL,NULL,NULL,NULL,NULL,'hello',NULL,NULL,'{}',NULL,'d','2026-01-31T12:00:00.000000+00:00',NULL,NULL);
INSERT INTO "feedback" VALUES(3,'f3','choice','ann','c1',0,'c2',0,'q1',NULL,'A',NULL,NULL,NULL,'{}',NULL,'d','2026-01-31T12:00:00.000000+00:00',NULL,NULL);
INSERT INTO "feedback" VALUES(4,'f4','thumb','ann','c2',0,NULL,NULL,NULL,0.0,NULL,NULL,NULL,NULL,'{}','key-4','d','2026-01-31T12:00:00.000000+00:00','2026-01-31T12:00:00.000000+00:00','ann');
INSERT INTO "feedback" VALUES(5,'f5','thumb','eve','c3',0,NULL,NULL,NULL,1.0,NULL,NULL,NULL,NULL,'{}',NULL,'d','2026-01-31T12:00:00.000000+00:00',NULL,NULL);
CREATE TABLE feedback_of_version (
    version INTEGER NOT NULL REFERENCES versions(number), feedback_id TEXT NOT NULL REFERENCES feedback(id),
    PRIMARY KEY (version, feedback_id)
) WITHOUT ROWID;
INSERT INTO "feedback_of_version" VALUES(1,'f1');
CREATE TABLE learner_orders (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL CHECK (kind IN ('update', 'pause', 'resume')),
    created_at TEXT NOT NULL, done_at TEXT
);
INSERT INTO "learner_orders" VALUES(1,'update','2026-01-31T12:00:00.000000+00:00','2026-01-31T12:00:00.000000+00:00');
CREATE TABLE learner_status (
    id INTEGER PRIMARY KEY CHECK (id = 1), state TEXT NOT NULL, paused INTEGER NOT NULL, heartbeat_at TEXT,
    run_id TEXT, progress TEXT, next_at TEXT, attempted_seq INTEGER NOT NULL, detail TEXT NOT NULL
);
INSERT INTO "learner_status" VALUES(1,'down',0,'2026-01-31T12:00:00.000000+00:00',NULL,NULL,NULL,2,'{}');
CREATE TABLE raters (
    id TEXT PRIMARY KEY, created_at TEXT NOT NULL, name TEXT NOT NULL DEFAULT '',
    trust REAL, quarantined_at TEXT, quarantine_reason TEXT NOT NULL DEFAULT ''
);
INSERT INTO "raters" VALUES('ann','2026-01-31T12:00:00.000000+00:00','Ann',0.8,NULL,'');
INSERT INTO "raters" VALUES('eve','2026-01-31T12:00:00.000000+00:00','',NULL,'2026-01-31T12:00:00.000000+00:00','spam');
CREATE TABLE readiness (id INTEGER PRIMARY KEY CHECK (id = 1), mark TEXT NOT NULL);
CREATE TABLE runs (
    id TEXT PRIMARY KEY, algorithm TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'finished', 'failed')),
    settings TEXT NOT NULL, seed INTEGER NOT NULL, parent INTEGER NOT NULL REFERENCES versions(number), version INTEGER,
    items INTEGER NOT NULL, after_seq INTEGER NOT NULL, upto_seq INTEGER NOT NULL, attempt INTEGER NOT NULL,
    metrics TEXT NOT NULL, error TEXT NOT NULL, started_at TEXT NOT NULL, finished_at TEXT
);
INSERT INTO "runs" VALUES('r1','mixed','finished','{"steps": 2}',7,0,1,1,0,1,1,'{"raters": {"ann": {"share": 1.0}}}','','2026-01-31T12:00:00.000000+00:00','2026-01-31T12:00:00.000000+00:00');
CREATE TABLE traffic (
    id INTEGER PRIMARY KEY AUTOINCREMENT, live INTEGER NOT NULL REFERENCES versions(number),
    canary INTEGER REFERENCES versions(number),
    share REAL NOT NULL, reason TEXT NOT NULL, created_at TEXT NOT NULL
);
INSERT INTO "traffic" VALUES(1,0,NULL,0.0,'base model','2026-01-31T12:00:00.000000+00:00');
CREATE TABLE versions (
    number INTEGER PRIMARY KEY, parent INTEGER REFERENCES versions(number),
    state TEXT NOT NULL CHECK (state IN ('candidate', 'rejected', 'canary', 'live', 'retired', 'withdrawn')),
    digest TEXT NOT NULL, folder TEXT NOT NULL, watermark INTEGER NOT NULL, run_id TEXT, algorithm TEXT NOT NULL,
    passed INTEGER, gate TEXT, metrics TEXT NOT NULL, created_at TEXT NOT NULL, live_at TEXT, retired_at TEXT
);
INSERT INTO "versions" VALUES(0,NULL,'live','parrot','',0,NULL,'base',1,NULL,'{}','2026-01-31T12:00:00.000000+00:00','2026-01-31T12:00:00.000000+00:00',NULL);
INSERT INTO "versions" VALUES(1,0,'rejected','d1','versions/000001',1,'r1','mixed',0,'{"passed": false, "reasons": ["worse"]}','{}','2026-01-31T12:00:00.000000+00:00',NULL,NULL);
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
CREATE INDEX conversations_of_rater ON conversations(rater_id, updated_at);
CREATE UNIQUE INDEX one_live_version ON versions(state) WHERE state = 'live';
CREATE INDEX completions_of_conversation ON completions(conversation_id, created_at);
CREATE INDEX completions_of_version ON completions(version);
CREATE INDEX feedback_on_completion ON feedback(completion_id, choice);
CREATE INDEX feedback_on_comparison ON feedback(comparison_id);
CREATE UNIQUE INDEX one_feedback_per_key ON feedback(rater_id, idempotency_key) WHERE idempotency_key IS NOT NULL AND retracted_at IS NULL;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('feedback',5);
INSERT INTO "sqlite_sequence" VALUES('traffic',1);
INSERT INTO "sqlite_sequence" VALUES('events',1);
INSERT INTO "sqlite_sequence" VALUES('learner_orders',1);
COMMIT;
