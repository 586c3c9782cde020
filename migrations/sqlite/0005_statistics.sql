-- What happened on each day, added up from the log by whoever holds the place "statistics" in it. Made anew by
-- `keyledger statistics rebuild`.

CREATE TABLE daily_statistics (
    -- Days since 1970-01-01, UTC.
    day INTEGER NOT NULL,
    product INTEGER NOT NULL,
    created INTEGER NOT NULL,
    assigned INTEGER NOT NULL,
    activations INTEGER NOT NULL,
    deactivations INTEGER NOT NULL,
    refusals INTEGER NOT NULL,
    verifications INTEGER NOT NULL,
    PRIMARY KEY (day, product)
) STRICT, WITHOUT ROWID;

-- A chart of one product reads the days of that product alone.
CREATE UNIQUE INDEX daily_statistics_by_product ON daily_statistics (product, day);
