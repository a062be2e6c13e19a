-- Where viewers are. Without bots.
SELECT country, count(*) AS beacons, count(DISTINCT visitor) AS visitors
FROM beacons
WHERE dt BETWEEN ? AND ? AND NOT is_bot
GROUP BY 1
ORDER BY 2 DESC, 1
