-- What happened on each day, added up from the log by whoever holds the place "statistics" in it. Made anew by
-- `keyledger statistics rebuild`.

CREATE TABLE daily_statistics (
    -- Days since 1970-01-01, UTC.
    day bigint NOT NULL,
    product bigint NOT NULL,
    created bigint NOT NULL,
    assigned bigint NOT NULL,
    activations bigint NOT NULL,
    deactivations bigint NOT NULL,
    refusals bigint NOT NULL,
    verifications bigint NOT NULL,
    PRIMARY KEY (day, product)
);

-- A chart of one product reads the days of that product alone.
CREATE UNIQUE INDEX daily_statistics_by_product ON daily_statistics (product, day);
