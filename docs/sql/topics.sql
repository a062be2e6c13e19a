-- A blog's topics: the first part of the path, behind a date if there is one. Without bots.
WITH named AS (
  SELECT nullif(regexp_extract(page_path, '^/+(?:(?:19|20)[0-9]{2}(?:-[0-9]{2}){0,2}(?:/+[0-9]{1,2}){0,2}(?:/+|$))?([^/]+)', 1), '') AS part, page_path
  FROM beacons
  WHERE dt BETWEEN ? AND ? AND NOT is_bot AND page_path IS NOT NULL
)
SELECT
  CASE
    WHEN part IS NOT NULL THEN part
    WHEN replace(page_path, '/', '') = '' THEN '(front page)'
    ELSE '(archive)'
  END AS topic,
  count(*) AS beacons
FROM named
GROUP BY 1
ORDER BY 2 DESC, 1
