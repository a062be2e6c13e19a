-- Beacons and visitors by user agent.
SELECT user_agent, is_bot, is_mobile, count(*) AS beacons, count(DISTINCT visitor) AS visitors
FROM beacons
WHERE dt BETWEEN ? AND ?
GROUP BY 1, 2, 3
ORDER BY 4 DESC, 1
LIMIT 100
