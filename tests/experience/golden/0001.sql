BEGIN TRANSACTION;
CREATE TABLE experience_runs (
	id TEXT NOT NULL, 
	command TEXT NOT NULL, 
	recipe JSON NOT NULL, 
	"commit" TEXT, 
	machine TEXT, 
	started DATETIME NOT NULL, 
	finished DATETIME NOT NULL, 
	report JSON NOT NULL, 
	CONSTRAINT pk_experience_runs PRIMARY KEY (id)
);
INSERT INTO "experience_runs" VALUES('5b8d9b5e-0d6c-4a53-8a53-5f3a3f2f7c11','quickstudy test runs/maml','{"about":"MAML"}','19a8c7f','AMD EPYC, 2 cores, Linux','2026-11-25 10:00:00.123456','2026-11-25 10:00:00.123456','{"test":{"seed":0}}');
CREATE TABLE experience_schema (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT experience_schema_pkc PRIMARY KEY (version_num)
);
INSERT INTO "experience_schema" VALUES('0001');
CREATE TABLE experience_strategies (
	fingerprint TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	name TEXT NOT NULL, 
	configuration JSON NOT NULL, 
	CONSTRAINT pk_experience_strategies PRIMARY KEY (fingerprint)
);
INSERT INTO "experience_strategies" VALUES('e3bb54782bce952aa10a6ae70122b9ca63b1af0a3f1283655de0cdafd00b6b58','learner','maml','{"options":{"inner_lr":0.4}}');
CREATE TABLE experience_tasks (
	fingerprint TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	name TEXT NOT NULL, 
	features JSON NOT NULL, 
	provenance JSON NOT NULL, 
	CONSTRAINT pk_experience_tasks PRIMARY KEY (fingerprint)
);
INSERT INTO "experience_tasks" VALUES('15e23b5f2e3cf892d17b88f079dbc0e9e34584655f6758d3efacabd11507278b','few-shot','digits all, 5-way 1-shot','{"shots":1.0,"ways":5.0}','{"data":{"name":"digits"},"tasks":{"n_query":15,"n_shot":1,"n_way":5,"split":"all"}}');
CREATE TABLE experience_trials (
	id TEXT NOT NULL, 
	task TEXT NOT NULL, 
	strategy TEXT NOT NULL, 
	run TEXT, 
	metric TEXT, 
	scores JSON NOT NULL, 
	seconds FLOAT, 
	cost JSON NOT NULL, 
	failure TEXT, 
	at DATETIME NOT NULL, 
	CONSTRAINT pk_experience_trials PRIMARY KEY (id), 
	CONSTRAINT fk_experience_trials_task FOREIGN KEY(task) REFERENCES experience_tasks (fingerprint), 
	CONSTRAINT fk_experience_trials_strategy FOREIGN KEY(strategy) REFERENCES experience_strategies (fingerprint), 
	CONSTRAINT fk_experience_trials_run FOREIGN KEY(run) REFERENCES experience_runs (id)
);
INSERT INTO "experience_trials" VALUES('11111111-0d6c-4a53-8a53-5f3a3f2f7c11','15e23b5f2e3cf892d17b88f079dbc0e9e34584655f6758d3efacabd11507278b','e3bb54782bce952aa10a6ae70122b9ca63b1af0a3f1283655de0cdafd00b6b58','5b8d9b5e-0d6c-4a53-8a53-5f3a3f2f7c11','accuracy','[0.5,1.0]',0.01,'{"flops":1000000000.0}',NULL,'2026-11-25 10:00:00.123456');
INSERT INTO "experience_trials" VALUES('22222222-0d6c-4a53-8a53-5f3a3f2f7c11','15e23b5f2e3cf892d17b88f079dbc0e9e34584655f6758d3efacabd11507278b','e3bb54782bce952aa10a6ae70122b9ca63b1af0a3f1283655de0cdafd00b6b58','5b8d9b5e-0d6c-4a53-8a53-5f3a3f2f7c11',NULL,'[]',NULL,'{}','out of memory','2026-11-25 10:00:00.123456');
CREATE TABLE experience_upgrades (
	revision TEXT NOT NULL, 
	quickstudy TEXT NOT NULL, 
	at DATETIME NOT NULL, 
	CONSTRAINT pk_experience_upgrades PRIMARY KEY (revision)
);
INSERT INTO "experience_upgrades" VALUES('0001','0.1.0','2026-11-25 10:04:59.196111');
CREATE INDEX ix_experience_trials_task ON experience_trials (task);
CREATE INDEX ix_experience_trials_strategy ON experience_trials (strategy);
CREATE INDEX ix_experience_trials_run ON experience_trials (run);
COMMIT;
