-- One row a beacon, under the names that the other queries use, which are those of `report`.
-- Of the parameters that mean the same, the first one with a value counts.
CREATE OR REPLACE VIEW beacons AS
WITH named AS (
  SELECT
    dt, hour, "timestamp" AS time, x_edge_request_id AS request_id, c_ip, c_country AS country,
    sc_status AS status, cs_method AS method, cs_uri_query, x_edge_result_type AS result,
    replace(cs_user_agent, '%20', ' ') AS user_agent,
    coalesce(nullif(element_at(query, 'e'), ''), nullif(element_at(query, 'event'), ''), nullif(element_at(query, 'ev'), '')) AS event,
    coalesce(nullif(element_at(query, 'uid'), ''), nullif(element_at(query, 'user_id'), '')) AS uid,
    coalesce(nullif(element_at(query, 'url'), ''), nullif(element_at(query, 'u'), ''), cs_referer) AS url,
    coalesce(nullif(element_at(query, 'ref'), ''), nullif(element_at(query, 'r'), '')) AS referrer_url,
    coalesce(nullif(element_at(query, 'campaign'), ''), nullif(element_at(query, 'utm_campaign'), '')) AS campaign,
    coalesce(nullif(element_at(query, 'publisher'), ''), nullif(element_at(query, 'pub'), '')) AS publisher,
    coalesce(nullif(element_at(query, 'iid'), ''), nullif(element_at(query, 'imp'), '')) AS impression_id,
    coalesce(nullif(element_at(query, 'product'), ''), nullif(element_at(query, 'item'), ''), nullif(element_at(query, 'sku'), '')) AS product_id,
    nullif(element_at(query, 'value'), '') AS value,
    nullif(element_at(query, 'currency'), '') AS currency
  FROM lines
), parted AS (
  SELECT
    *,
    lower(regexp_extract(url, '^(?:(?:[A-Za-z][A-Za-z0-9+.-]*:)?//)?(?:[^/?#@]*@)?([^/?#]*)', 1)) AS page_host,
    coalesce(nullif(regexp_extract(url, '^(?:(?:[A-Za-z][A-Za-z0-9+.-]*:)?//)?[^/?#]*(/[^?#]*)', 1), ''), '/') AS path,
    nullif(lower(regexp_extract(referrer_url, '^(?:(?:[A-Za-z][A-Za-z0-9+.-]*:)?//)?(?:[^/?#@]*@)?([^/?#]*)', 1)), '') AS referrer_host
  FROM named
)
SELECT
  dt, hour, time, request_id, country, status, method, cs_uri_query, result, user_agent, event,
  coalesce('i ' || uid, 'a ' || coalesce(c_ip, '-') || ' ' || coalesce(user_agent, '-')) AS visitor,
  page_host || path AS page,
  CASE WHEN url IS NOT NULL THEN path END AS page_path,
  CASE
    WHEN referrer_host IS NULL THEN '(direct)'
    WHEN referrer_host = page_host THEN '(own site)'
    ELSE referrer_host
  END AS referrer,
  campaign, publisher, impression_id,
  coalesce(product_id, page_host || path) AS product,
  value, currency,
  -- Bots as most of them name themselves. `report` knows the whole list.
  coalesce(nullif(regexp_extract(lower(user_agent), 'bot|crawl|spider|slurp|externalhit|headless|preview|monitor|^curl/|^wget/|^python|^go-http-client|^java/|^okhttp|^axios|^node'), '') IS NOT NULL, false) AS is_bot,
  coalesce(nullif(regexp_extract(lower(user_agent), 'mobile|android|iphone|ipad|tablet'), '') IS NOT NULL, false) AS is_mobile
FROM parted
