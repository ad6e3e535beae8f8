"""Save a bucket of the object store to standard output as a tar archive, or load one from standard input.

``AWS_ENDPOINT_URL``, ``AWS_ACCESS_KEY_ID`` and ``AWS_SECRET_ACCESS_KEY`` say where the store is.
Loading replaces objects of the same name and leaves others alone: objects never change, so none is lost.
"""

from __future__ import annotations

import sys
import tarfile

import s3fs


def save(files: s3fs.S3FileSystem, bucket: str) -> int:
    """Write every object of a bucket; how many there were."""
    count = 0
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:
        for key, entry in sorted(files.find(bucket, detail=True).items()):
            member = tarfile.TarInfo(str(key).removeprefix(f"{bucket}/"))
            member.size = int(entry["size"])
            with files.open(key, "rb") as content:
                archive.addfile(member, content)
            count += 1
    return count


def load(files: s3fs.S3FileSystem, bucket: str) -> int:
    """Put every member of an archive; how many there were."""
    if not files.exists(bucket):
        files.mkdir(bucket)
    count = 0
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
        for member in archive:
            content = archive.extractfile(member)
            if content is not None:
                files.pipe_file(f"{bucket}/{member.name}", content.read())
                count += 1
    return count


def main() -> int:
    """``save BUCKET`` or ``load BUCKET``."""
    known = {"save": save, "load": load}
    if len(sys.argv) != 3 or sys.argv[1] not in known:
        print(f"usage: {sys.argv[0]} save|load BUCKET", file=sys.stderr)
        return 2
    count = known[sys.argv[1]](s3fs.S3FileSystem(), sys.argv[2])
    print(f"{count} objects", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
