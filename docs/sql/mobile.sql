-- How much comes from phones and tablets. Without bots.
SELECT is_mobile, count(*) AS beacons, count(DISTINCT visitor) AS visitors
FROM beacons
WHERE dt BETWEEN ? AND ? AND NOT is_bot
GROUP BY 1
ORDER BY 1
