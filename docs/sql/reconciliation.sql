-- Request ids of real-time logs (`lines`) beside those of standard logs of the same days, which are
-- a table `standard_lines`, by the hour. Standard logs may come a day late.
WITH both_logs AS (
  SELECT dt, hour, x_edge_request_id, true AS is_standard FROM standard_lines
  UNION ALL
  SELECT dt, hour, x_edge_request_id, false AS is_standard FROM lines
), requests AS (
  SELECT dt, hour, bool_or(is_standard) AS in_standard, bool_or(NOT is_standard) AS in_realtime
  FROM both_logs
  WHERE dt BETWEEN ? AND ? AND x_edge_request_id IS NOT NULL
  GROUP BY x_edge_request_id, dt, hour
)
SELECT
  dt, hour,
  count(*) FILTER (WHERE in_standard AND in_realtime) AS in_both,
  count(*) FILTER (WHERE NOT in_realtime) AS only_standard,
  count(*) FILTER (WHERE NOT in_standard) AS only_realtime
FROM requests
GROUP BY 1, 2
ORDER BY 1, 2
