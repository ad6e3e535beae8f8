#!/usr/bin/env bash
# Back up a running installation: three databases, the volumes, the object store.
#
#   deploy/backup.sh FOLDER
#
# Databases come first and files second: a record is written after the files it names, and files never change, so
# every file that a dumped record names is in the copy. SHA256SUMS is written last: without it there is no back-up.
# Outside Docker (as the tests run it) IN_POSTGRES, IN_SERVICE and STATE say where the commands run.
set -euo pipefail
cd "$(dirname "$0")/.."

IN_POSTGRES=${IN_POSTGRES-docker compose exec -T postgres}
IN_SERVICE=${IN_SERVICE-docker compose run --rm --no-deps -T model-server}
STATE=${STATE-/var/lib/gauntlet}
folder=${1:?usage: deploy/backup.sh FOLDER}

if [ -e "$folder/SHA256SUMS" ]; then
    echo "backup.sh: $folder already holds a back-up; give an empty folder" >&2
    exit 2
fi
mkdir -p "$folder"
chmod 700 "$folder"
for database in gauntlet mlflow airflow; do
    echo "database $database"
    $IN_POSTGRES pg_dump -U postgres --format=custom "$database" > "$folder/$database.dump"
done
echo "volume $STATE"
$IN_SERVICE tar -C "$STATE" --exclude='*.sock' -cf - . > "$folder/state.tar"
for bucket in gauntlet mlflow; do
    echo "objects $bucket"
    $IN_SERVICE python deploy/objects.py save "$bucket" > "$folder/$bucket.objects.tar"
done
(cd "$folder" && sha256sum -- *.dump *.tar > SHA256SUMS.tmp && mv SHA256SUMS.tmp SHA256SUMS)
for model in $($IN_SERVICE gauntlet config models); do
    $IN_SERVICE gauntlet sign-off "$model" backup --by "$(id -un)" --reason "deploy/backup.sh wrote $folder" > /dev/null
done
echo "wrote $folder ($(du -sh "$folder" | cut -f1))"
