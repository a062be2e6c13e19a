-- The revenue of products, in exact decimals. Without bots.
SELECT
  product, currency,
  sum(TRY_CAST(value AS decimal(18, 2))) AS revenue,
  count(*) FILTER (WHERE TRY_CAST(value AS decimal(18, 2)) IS NULL) AS without_value
FROM beacons
WHERE dt BETWEEN ? AND ? AND NOT is_bot AND event = 'paid'
GROUP BY 1, 2
ORDER BY 3 DESC, 1, 2
