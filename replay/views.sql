-- The archive as views: everything the manifests name when this text is read; read it again for newer rows.
-- `observations` are samples and changes, `observations_all` has the rows repeated by key frames, too; `derived` are the
-- derived events. All times are UTC; `part`, `offset`, `idx` say where in the stream a row comes from.

SET TimeZone = 'UTC';
-- DuckDB 2.0 plans an ASOF JOIN over Parquet as a nested loop, seventy times slower, unless told not to.
SET asof_loop_join_threshold = 0;

CREATE OR REPLACE MACRO files_of(folder) AS (
  SELECT list_prepend(folder || '/schema/date=1970-01-01/empty.parquet', coalesce(list(folder || '/' || path), []))
  FROM (SELECT unnest(files).path AS path
        FROM read_json(getvariable('root') || '/*/manifest/*.jsonl', format = 'newline_delimited', filename = true,
                       ignore_errors = true, columns = {files: 'STRUCT(path VARCHAR, date VARCHAR, rows BIGINT)[]'})
        WHERE starts_with(filename, folder || '/')));

SET VARIABLE observation_files = files_of(getvariable('root') || '/observations');
SET VARIABLE derived_files = files_of(getvariable('root') || '/derived');

CREATE OR REPLACE MACRO quality_of(status) AS ['Good', 'Uncertain', 'Bad', 'Bad'][(status >> 30)::INTEGER + 1];

CREATE OR REPLACE MACRO number_of(v_num, v_int, v_json) AS coalesce(v_num, v_int::DOUBLE, TRY_CAST(v_json AS DOUBLE));

CREATE OR REPLACE MACRO text_of(v_num, v_int, v_bool, v_str, v_json) AS
  coalesce(v_str, v_json, v_bool::VARCHAR, v_int::VARCHAR, v_num::VARCHAR);

CREATE OR REPLACE VIEW observations_all AS
  SELECT asset, item, ts, number_of(v_num, v_int, v_json) AS value, status < 1073741824 AS good,
         quality_of(status) AS quality, status, flags, v_num, v_int, v_bool, v_str, v_json, source,
         ts + to_microseconds(lag_us) AS received, lag_us, part, "offset", idx, date
  FROM read_parquet(getvariable('observation_files'), hive_partitioning = true, hive_types = {date: DATE},
                    union_by_name = true);

CREATE OR REPLACE VIEW observations AS SELECT * FROM observations_all WHERE flags & 2 = 0;

CREATE OR REPLACE VIEW derived AS
  SELECT asset, metric, ts, number_of(v_num, v_int, v_json) AS value, status < 1073741824 AS good,
         quality_of(status) AS quality, status, v_num, v_int, v_bool, v_str, v_json, previous, since, until,
         duration_us, id, basis_part, basis_offset, basis_idx, part, "offset", operator, operator_version, revision, date
  FROM read_parquet(getvariable('derived_files'), hive_partitioning = true, hive_types = {date: DATE},
                    union_by_name = true);

CREATE OR REPLACE MACRO model_of(v_json) AS json_transform(v_json, '{
  "type": "VARCHAR", "path": "VARCHAR", "items": "MAP(VARCHAR, STRUCT(category VARCHAR, unit VARCHAR, was VARCHAR))"}');

-- What each asset was from `since` on: its definitions as they were told, without repetitions.
CREATE OR REPLACE VIEW definitions AS
  SELECT asset, ts AS since, model.type, model.path, v_json AS definition, model.items, before.items AS items_before,
         part, "offset", idx, date
  FROM (SELECT *, lag(model) OVER told AS before, lag(v_json) OVER told IS NOT DISTINCT FROM v_json AS repeated
        FROM (SELECT *, model_of(v_json) AS model FROM observations WHERE item = '_model')
        WHERE model.path IS NOT NULL AND model.items IS NOT NULL
        WINDOW told AS (PARTITION BY asset ORDER BY "offset", idx))
  WHERE NOT repeated;

-- The items of each definition; `renamed`: it gave an item, which was called `was`, its name.
CREATE OR REPLACE VIEW items AS
  SELECT asset, each.key AS item, since, coalesce(each.value.category, 'SAMPLE') AS category, each.value.unit AS unit,
         each.value.was AS was, coalesce(items_before[each.key].was IS DISTINCT FROM each.value.was, true) AS renamed,
         part, "offset", idx
  FROM (SELECT *, unnest(map_entries(items)) AS each FROM definitions);

-- The present names of renamed items of an asset (NULL: of all): what was told as `former` from one offset on and before
-- the other is a value of `item`.
CREATE OR REPLACE MACRO former_names(a) AS TABLE
  WITH RECURSIVE renames AS MATERIALIZED (
    SELECT asset, was AS former, item, "offset" AS until_offset,
           coalesce(lag("offset") OVER (PARTITION BY asset, was ORDER BY "offset"), -1) AS from_offset
    FROM items WHERE renamed AND was IS NOT NULL AND (a IS NULL OR asset = a)
  ), steps AS (
    SELECT asset, former, item, from_offset, until_offset, until_offset AS reached FROM renames
    UNION ALL
    SELECT s.asset, s.former, r.item, s.from_offset, s.until_offset, r.until_offset
    FROM steps s JOIN renames r
      ON r.asset = s.asset AND r.former = s.item AND r.from_offset <= s.reached AND s.reached < r.until_offset
  )
  SELECT asset, former, item, from_offset, until_offset FROM steps
  QUALIFY row_number() OVER (PARTITION BY asset, former, until_offset ORDER BY reached DESC) = 1;

-- All rows of an asset (NULL: of all) with the present name of their item; `told_as` is the one that they were told with.
CREATE OR REPLACE MACRO renamed(a) AS TABLE
  SELECT o.* REPLACE (coalesce(n.item, o.item) AS item), o.item AS told_as
  FROM observations_all o LEFT JOIN former_names(a) n
    ON n.asset = o.asset AND n.former = o.item AND o."offset" >= n.from_offset AND o."offset" < n.until_offset
  WHERE a IS NULL OR o.asset = a;

-- Samples and changes under the present name of their item, each with the unit in which it was told.
CREATE OR REPLACE VIEW series AS
  SELECT r.*, i.unit FROM renamed(NULL) r
  ASOF LEFT JOIN items i ON i.asset = r.asset AND i.item = r.told_as AND r."offset" >= i."offset"
  WHERE r.flags & 2 = 0;

-- The newest value of every item of an asset.
CREATE OR REPLACE MACRO last_values(a) AS TABLE
  SELECT item, ts, value, text_of(v_num, v_int, v_bool, v_str, v_json) AS text, quality, part, "offset", idx
  FROM renamed(a)
  QUALIFY row_number() OVER (PARTITION BY item ORDER BY ts DESC, "offset" DESC, idx DESC) = 1
  ORDER BY item;

-- One item of an asset from t0 until t1, also under former names; the first row is the value in force at t0.
CREATE OR REPLACE MACRO signal(a, i, t0, t1) AS TABLE
  SELECT ts, value, text_of(v_num, v_int, v_bool, v_str, v_json) AS text, quality, part, "offset", idx
  FROM renamed(a)
  WHERE item = i AND told_as IN (SELECT i UNION ALL SELECT former FROM former_names(a) WHERE item = i)
    AND flags & 2 = 0 AND ts < t1 AND date <= (t1 AT TIME ZONE 'UTC')::DATE
  QUALIFY ts >= t0 OR row_number() OVER (PARTITION BY ts < t0 ORDER BY ts DESC, "offset" DESC, idx DESC) = 1
  ORDER BY ts, "offset", idx;

-- How long each asset was in each state of a metric between t0 and t1; NULL is the time nothing is known about.
CREATE OR REPLACE MACRO state_durations(m, t0, t1) AS TABLE
  SELECT asset, state, sum(seconds) AS seconds, count(*) AS times, max(seconds) AS longest_s
  FROM (SELECT asset, text_of(v_num, v_int, v_bool, v_str, v_json) AS state,
               (epoch_us(least(coalesce(lead(ts) OVER in_order, t1), t1)) - epoch_us(greatest(ts, t0))) / 1e6 AS seconds
        FROM derived WHERE metric = m AND ts < t1
        WINDOW in_order AS (PARTITION BY asset ORDER BY ts, basis_offset, basis_idx, "offset"))
  WHERE seconds > 0 GROUP BY asset, state ORDER BY asset, state;
