-- Visitors; one is a bot as soon as any beacon of it is.
SELECT count(*) FILTER (WHERE NOT is_bot) AS people, count(*) FILTER (WHERE is_bot) AS bots
FROM (
  SELECT visitor, bool_or(is_bot) AS is_bot
  FROM beacons
  WHERE dt BETWEEN ? AND ?
  GROUP BY visitor
)
