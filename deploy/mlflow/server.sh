#!/usr/bin/env bash
# MLflow with its host checks and authentication on. The users live in MLflow's own database; the
# configuration that says so holds its password and is therefore written into memory-backed /tmp, never to a disk.
set -euo pipefail
configuration="$(mktemp --suffix=.ini)"
chmod 600 "$configuration"
cat > "$configuration" <<EOF
[mlflow]
default_permission = READ
database_uri = ${MLFLOW_BACKEND_STORE_URI//%/%%}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 30
EOF
export MLFLOW_AUTH_CONFIG_PATH="$configuration"
exec mlflow server --app-name basic-auth "$@"
