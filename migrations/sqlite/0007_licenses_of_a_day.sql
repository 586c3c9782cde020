-- How many licenses a product has can be charted too. The sums are added up anew, with this one.

ALTER TABLE daily_statistics ADD COLUMN licenses INTEGER NOT NULL DEFAULT 0;
DELETE FROM daily_statistics;
DELETE FROM consumer WHERE name = 'statistics';
