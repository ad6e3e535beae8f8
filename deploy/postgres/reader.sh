#!/bin/bash
# A role that may read one schema of a database and write nothing: for sources and for metrics in SQL.
#
#   READER_PASSWORD=… deploy/postgres/reader.sh DATABASE SCHEMA ROLE
#
# Run it as the owner of the tables, so that tables made later can be read too. Give the address with this role in the
# spec: postgresql+psycopg://ROLE:${PASSWORD}@host/DATABASE
set -euo pipefail
database=${1:?usage: READER_PASSWORD=… deploy/postgres/reader.sh DATABASE SCHEMA ROLE}
schema=${2:?which schema}
role=${3:?which role}
: "${READER_PASSWORD:?set READER_PASSWORD}"

psql -q -v ON_ERROR_STOP=1 -v database="$database" -v schema="$schema" -v role="$role" -v password="$READER_PASSWORD" \
    --username "${POSTGRES_USER:-postgres}" --dbname "$database" <<'SQL'
CREATE ROLE :"role" LOGIN PASSWORD :'password' NOSUPERUSER NOCREATEDB NOCREATEROLE;
ALTER ROLE :"role" SET default_transaction_read_only = on;
GRANT CONNECT ON DATABASE :"database" TO :"role";
GRANT USAGE ON SCHEMA :"schema" TO :"role";
GRANT SELECT ON ALL TABLES IN SCHEMA :"schema" TO :"role";
ALTER DEFAULT PRIVILEGES IN SCHEMA :"schema" GRANT SELECT ON TABLES TO :"role";
SQL
