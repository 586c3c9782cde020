-- Finds the licenses that had a key once. Only the rare events by which a key is replaced are in it.
-- A payload that was damaged is no JSON: it must still be possible to look at it.

CREATE INDEX events_by_replaced_key ON events (CASE WHEN json_valid(payload) THEN payload ->> '$.LicenseKeyReplaced.from' END)
    WHERE event_type = 'LicenseKeyReplaced';
