-- Events of advertisements: gross = bots + duplicates + net. Of one event with one id the earliest
-- counts; without an id of its own, the request's id tells what the log delivered twice. Not
-- billable before it is reconciled with standard logs: see reconciliation.sql.
WITH numbered AS (
  SELECT
    campaign, publisher, event, coalesce('i ' || impression_id, 'r ' || request_id) AS id, is_bot,
    row_number() OVER (
      PARTITION BY event, coalesce('i ' || impression_id, 'r ' || request_id), is_bot
      ORDER BY time, campaign, publisher
    ) AS firing
  FROM beacons
  WHERE dt BETWEEN ? AND ? AND event IN ('impression', 'viewable', 'click', 'conversion')
)
SELECT
  campaign, publisher, event, count(*) AS gross,
  count(*) FILTER (WHERE is_bot) AS bots,
  count(*) FILTER (WHERE NOT is_bot AND id IS NOT NULL AND firing > 1) AS duplicates,
  count(*) FILTER (WHERE NOT is_bot AND (id IS NULL OR firing = 1)) AS net
FROM numbered
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3
