-- Visitors with something in their cart, and those of them that never paid for it: see funnel.sql.
WITH chosen AS (
  SELECT * FROM beacons WHERE dt BETWEEN ? AND ?
), people AS (
  SELECT visitor FROM chosen GROUP BY visitor HAVING NOT bool_or(is_bot)
), viewed AS (
  SELECT visitor, time, event, max(CASE WHEN event = 'view' THEN time END) OVER up_to AS view_time
  FROM chosen
  WHERE visitor IN (SELECT visitor FROM people)
  WINDOW up_to AS (PARTITION BY visitor ORDER BY time)
), carted AS (
  SELECT *, max(CASE WHEN event = 'cart' AND time <= view_time + INTERVAL '30' MINUTE THEN time END) OVER up_to AS cart_time
  FROM viewed
  WINDOW up_to AS (PARTITION BY visitor ORDER BY time)
), checked_out AS (
  SELECT *, max(CASE WHEN event = 'checkout' AND time <= cart_time + INTERVAL '30' MINUTE THEN time END) OVER up_to AS checkout_time
  FROM carted
  WINDOW up_to AS (PARTITION BY visitor ORDER BY time)
), carts AS (
  SELECT visitor, bool_or(event = 'paid' AND time <= checkout_time + INTERVAL '30' MINUTE) AS has_paid
  FROM checked_out
  GROUP BY visitor
  HAVING max(cart_time) IS NOT NULL
)
SELECT
  count(*) AS visitors,
  count(*) FILTER (WHERE has_paid) AS paid,
  count(*) FILTER (WHERE NOT coalesce(has_paid, false)) AS abandoned
FROM carts
