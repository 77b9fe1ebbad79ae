# The same commands as `python3 -m deploy COMMAND`, for those who like just; nothing needs it.

python := "python3 -m deploy"

# list the recipes
help:
    @just --list --unsorted

# make the environment and download the servers
setup:
    {{python}} setup

# start the local Kafka and NATS, or find them running
up:
    {{python}} up

# stop them; data are kept
down:
    {{python}} down

# what runs, where, since when, and the size of its data
status:
    {{python}} status

# everything on the simulated plant, with a live table
demo *arguments:
    {{python}} demo {{arguments}}

# run one flow on the local stack: just flow ingest
flow name *arguments:
    {{python}} flow {{name}} {{arguments}}

# what must pass before a change is published: format, lint, types, tests
check:
    {{python}} check

# the tests, or those named; just test --faults: the long ones, with kills and outages
test *arguments:
    {{python}} test {{arguments}}

# benchmarks with their references: just bench core --json FILE
bench *arguments:
    {{python}} bench {{arguments}}

# write the generated pages of docs/ afresh and check all of it
docs *arguments:
    {{python}} docs {{arguments}}

# DuckDB on the archive: just sql "select count(*) from observations"
sql *query:
    {{python}} sql {{quote(query)}}

# rebuild, verify, audit: just replay verify archive
replay *arguments:
    {{python}} replay {{arguments}}

# random faults for many minutes, then the proofs: just soak --minutes 60
soak *arguments:
    {{python}} soak {{arguments}}

# rewrite requirements.lock from pyproject.toml
lock:
    {{python}} lock
