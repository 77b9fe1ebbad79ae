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

-- The newest value of every item of an asset.
CREATE OR REPLACE MACRO last_values(a) AS TABLE
  SELECT item, ts, value, text_of(v_num, v_int, v_bool, v_str, v_json) AS text, quality, part, "offset", idx
  FROM observations_all WHERE asset = a
  QUALIFY row_number() OVER (PARTITION BY item ORDER BY ts DESC, "offset" DESC, idx DESC) = 1
  ORDER BY item;

-- One item of an asset from t0 until t1; the first row is the value in force at t0.
CREATE OR REPLACE MACRO signal(a, i, t0, t1) AS TABLE
  SELECT ts, value, text_of(v_num, v_int, v_bool, v_str, v_json) AS text, quality, part, "offset", idx
  FROM observations WHERE asset = a AND item = i AND ts < t1 AND date <= (t1 AT TIME ZONE 'UTC')::DATE
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
