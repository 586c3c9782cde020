"""Prints the rows of Parquet files as the events that the feed shows in JSON, with the time in microseconds."""

import json
import sys

import duckdb

rows = duckdb.sql("SELECT * EXCLUDE (time), epoch_us(time) AS time FROM read_parquet($files, hive_partitioning = false) ORDER BY position",
                  params={"files": sys.argv[1:]})
for row in rows.fetchall():
    event = {name: value for name, value in zip(rows.columns, row) if value is not None}
    event["data"] = json.loads(event["data"])
    for number in ("license", "product"):
        assert event.pop(number, None) == event["data"].get(number), event
    event["id"] = str(event.pop("position"))
    event |= {"specversion": "1.0", "datacontenttype": "application/json"}
    print(json.dumps(event))
