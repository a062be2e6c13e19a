-- What is abnormal, by the rules of `report` that SQL can tell.
WITH chosen AS (
  SELECT * FROM beacons WHERE dt BETWEEN ? AND ?
), bursts AS (
  SELECT count(*) AS minutes
  FROM (SELECT visitor, date_trunc('minute', time) AS minute FROM chosen GROUP BY 1, 2 HAVING count(*) > 60)
), counts AS (
  SELECT
    count(*) FILTER (WHERE status >= 400) AS errors,
    count(*) FILTER (WHERE status = 0) AS aborted,
    count(*) FILTER (WHERE status < 400 AND result IN ('Error', 'LimitExceeded', 'CapacityExceeded')) AS edge_faults,
    count(*) FILTER (WHERE method NOT IN ('GET', 'HEAD')) AS methods,
    count(*) FILTER (WHERE cs_uri_query IS NULL) AS without_query,
    count(*) FILTER (WHERE request_id IS NULL) AS without_id,
    count(request_id) - count(DISTINCT request_id) AS doubled_ids,
    count(*) FILTER (WHERE user_agent IS NULL OR length(user_agent) < 20) AS no_agents,
    count(*) FILTER (WHERE length(cs_uri_query) > 800) AS long_queries
  FROM chosen
)
SELECT 'error' AS rule, errors AS count FROM counts
UNION ALL SELECT 'aborted', aborted FROM counts
UNION ALL SELECT 'edge_fault', edge_faults FROM counts
UNION ALL SELECT 'method', methods FROM counts
UNION ALL SELECT 'without_query', without_query FROM counts
UNION ALL SELECT 'without_id', without_id FROM counts
UNION ALL SELECT 'doubled_id', doubled_ids FROM counts
UNION ALL SELECT 'no_agent', no_agents FROM counts
UNION ALL SELECT 'long_query', long_queries FROM counts
UNION ALL SELECT 'burst', minutes FROM bursts
