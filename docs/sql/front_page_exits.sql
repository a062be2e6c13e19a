-- Sessions of people, and those whose last page is a front page.
WITH chosen AS (
  SELECT * FROM beacons WHERE dt BETWEEN ? AND ?
), people AS (
  SELECT visitor FROM chosen GROUP BY visitor HAVING NOT bool_or(is_bot)
), pauses AS (
  SELECT visitor, time, page_path, lag(time) OVER (PARTITION BY visitor ORDER BY time) AS time_before
  FROM chosen
  WHERE visitor IN (SELECT visitor FROM people)
), sessions AS (
  SELECT
    visitor, time, page_path,
    sum(CASE WHEN time <= time_before + INTERVAL '30' MINUTE THEN 0 ELSE 1 END) OVER (PARTITION BY visitor ORDER BY time) AS number
  FROM pauses
)
SELECT count(*) AS sessions, count(*) FILTER (WHERE last_path = '/') AS exits
FROM (
  SELECT max_by(page_path, time) AS last_path
  FROM sessions
  WHERE page_path IS NOT NULL
  GROUP BY visitor, number
)
