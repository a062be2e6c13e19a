-- What products bring. A page is its own product where the query names none. Without bots.
SELECT
  product,
  count(*) FILTER (WHERE event = 'view') AS views,
  count(*) FILTER (WHERE event = 'cart') AS carts,
  count(*) FILTER (WHERE event = 'checkout') AS checkouts,
  count(*) FILTER (WHERE event = 'paid') AS paid
FROM beacons
WHERE dt BETWEEN ? AND ? AND NOT is_bot AND product IS NOT NULL AND event IN ('view', 'cart', 'checkout', 'paid')
GROUP BY 1
ORDER BY 5 DESC, 2 DESC, 1
