-- Beacons by the event that they name.
SELECT event, count(*) AS beacons, count(*) FILTER (WHERE is_bot) AS bots
FROM beacons
WHERE dt BETWEEN ? AND ?
GROUP BY 1
ORDER BY 2 DESC, 1
