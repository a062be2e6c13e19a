-- Sessions of people: beacons of one visitor with no pause longer than 30 minutes.
WITH chosen AS (
  SELECT * FROM beacons WHERE dt BETWEEN ? AND ?
), people AS (
  SELECT visitor FROM chosen GROUP BY visitor HAVING NOT bool_or(is_bot)
), pauses AS (
  SELECT time, lag(time) OVER (PARTITION BY visitor ORDER BY time) AS time_before
  FROM chosen
  WHERE visitor IN (SELECT visitor FROM people)
)
SELECT count(*) AS sessions
FROM pauses
WHERE time_before IS NULL OR time > time_before + INTERVAL '30' MINUTE
