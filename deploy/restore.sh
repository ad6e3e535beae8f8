#!/usr/bin/env bash
# Restore what deploy/backup.sh wrote. Stop everything but postgres and objects first:
#
#   docker compose stop && docker compose up -d --wait postgres objects
#   deploy/restore.sh FOLDER --replace
#   docker compose up -d && docker compose exec model-server gauntlet doctor
#
# Nothing is touched before every file of the back-up is verified; --replace says that what is there may go.
set -euo pipefail
cd "$(dirname "$0")/.."

IN_POSTGRES=${IN_POSTGRES-docker compose exec -T postgres}
IN_SERVICE=${IN_SERVICE-docker compose run --rm --no-deps -T model-server}
STATE=${STATE-/var/lib/gauntlet}
folder=${1:?usage: deploy/restore.sh FOLDER --replace}

if [ ! -f "$folder/SHA256SUMS" ]; then
    echo "restore.sh: $folder has no SHA256SUMS: it is no complete back-up" >&2
    exit 2
fi
(cd "$folder" && sha256sum --check --quiet SHA256SUMS) || {
    echo "restore.sh: $folder is damaged; nothing was changed" >&2
    exit 1
}
if [ "${2-}" != --replace ]; then
    echo "restore.sh: this replaces the databases, $STATE and the objects; say so with --replace" >&2
    exit 2
fi
for database in gauntlet mlflow airflow; do
    echo "database $database"
    $IN_POSTGRES psql -U postgres -q -v ON_ERROR_STOP=1 -d postgres \
        -c "DROP DATABASE IF EXISTS $database WITH (FORCE)" -c "CREATE DATABASE $database OWNER $database" \
        -c "REVOKE CONNECT ON DATABASE $database FROM PUBLIC"
    $IN_POSTGRES pg_restore -U postgres --exit-on-error --dbname="$database" < "$folder/$database.dump"
done
echo "volume $STATE"
$IN_SERVICE sh -c "find '$STATE' -mindepth 1 -delete && tar -C '$STATE' -xf -" < "$folder/state.tar"
for bucket in gauntlet mlflow; do
    echo "objects $bucket"
    $IN_SERVICE python deploy/objects.py load "$bucket" < "$folder/$bucket.objects.tar"
done
echo "restored $folder; now: gauntlet doctor"
