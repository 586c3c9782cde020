-- Finds the licenses that had a key once. Only the rare events by which a key is replaced are in it.

CREATE INDEX events_by_replaced_key ON events ((payload #>> '{LicenseKeyReplaced,from}'))
    WHERE event_type = 'LicenseKeyReplaced';
