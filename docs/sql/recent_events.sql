-- The latest beacons by their own time.
SELECT time, event, page, country, status, user_agent, cs_uri_query
FROM beacons
WHERE dt BETWEEN ? AND ?
ORDER BY time DESC
LIMIT 100
