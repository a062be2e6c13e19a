-- Beacons by the hour of their own time, in UTC. Hours without any are not there.
SELECT date_trunc('hour', time) AS hour_start, count(*) AS beacons, count(*) FILTER (WHERE is_bot) AS bots
FROM beacons
WHERE dt BETWEEN ? AND ?
GROUP BY 1
ORDER BY 1
