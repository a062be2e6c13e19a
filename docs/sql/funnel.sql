-- Visitors that went from view to cart, checkout and paid, each step at most 30 minutes after the
-- one before. Without bots.
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
)
SELECT
  count(DISTINCT CASE WHEN view_time IS NOT NULL THEN visitor END) AS viewed,
  count(DISTINCT CASE WHEN cart_time IS NOT NULL THEN visitor END) AS carts,
  count(DISTINCT CASE WHEN checkout_time IS NOT NULL THEN visitor END) AS checkouts,
  count(DISTINCT CASE WHEN event = 'paid' AND time <= checkout_time + INTERVAL '30' MINUTE THEN visitor END) AS paid
FROM checked_out
