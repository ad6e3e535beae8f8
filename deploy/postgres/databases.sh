#!/bin/bash
# One database and one user each for Airflow, MLflow and Gauntlet; none can read another's.
set -euo pipefail

for name in airflow mlflow gauntlet; do
    variable="$(echo "$name" | tr '[:lower:]' '[:upper:]')_DB_PASSWORD"
    psql -v ON_ERROR_STOP=1 -v name="$name" -v password="${!variable}" --username "${POSTGRES_USER:-postgres}" <<'SQL'
CREATE USER :"name" PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE CONNECT ON DATABASE :"name" FROM PUBLIC;
SQL
done
