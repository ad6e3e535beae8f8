"""``gauntlet config``: check specs, write their JSON Schema, show what a change does to the gates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gauntlet.cli.console import DONE, USAGE, AsJson, err, exit_codes, out, show_json, show_table, write_file
from gauntlet.core.errors import SpecError

app = typer.Typer(help="Check and compare model specs.", no_args_is_help=True)
SCHEMA = Path("include/models/model_spec.schema.json")


@app.command()
def models() -> None:
    """Name every model of this installation, one a line."""
    from gauntlet.bootstrap import services

    with exit_codes():
        for name in services().specs.names():
            out.print(name, markup=False)


@app.command()
def validate(
    paths: Annotated[list[Path] | None, typer.Argument(help="Specs or folders of them; default: all.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check specs. Every complaint names the file, the line and the key."""
    from gauntlet.core.spec import load_spec
    from gauntlet.settings import settings

    results: dict[str, str] = {}
    for path in _files(paths or [settings().models]):
        try:
            results[str(path)] = f"valid; digest {load_spec(path).digest[:12]}"
        except SpecError as error:
            results[str(path)] = str(error)
    bad = [text for text in results.values() if not text.startswith("valid")]
    if as_json:
        show_json(results)
    for path_text, text in () if as_json else results.items():
        out.print(f"{path_text}: {text}" if text.startswith("valid") else text, markup=False)
    if not results:
        err.print("no spec found: name a YAML file or a folder that holds one")
    raise typer.Exit(USAGE if bad or not results else DONE)


@app.command()
def draft(
    data: Annotated[str, typer.Argument(help="CSV or Parquet: a file, folder, glob or URL.")],
    label: Annotated[str, typer.Option("--label", help="The column to predict.")],
    model: Annotated[str | None, typer.Option("--model", help="Its name; default: the file's.")] = None,
    event_time: Annotated[str | None, typer.Option("--time", help="When a row happened; without it, no time.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="A column that is unique.")] = None,
    entity: Annotated[str | None, typer.Option("--entity", help="Who a row is about.")] = None,
    weight: Annotated[str | None, typer.Option("--weight", help="How much a row counts.")] = None,
    protected: Annotated[list[str] | None, typer.Option("--protected", help="Never a feature, never printed.")] = None,
    leave_out: Annotated[list[str] | None, typer.Option("--leave-out", help="Not a feature.")] = None,
    to: Annotated[Path | None, typer.Option("--to", help="Default: MODEL.yaml in the models' folder.")] = None,
) -> None:
    """Write a first spec for a table: types, contract, every gate. What only a person can settle says TODO."""
    import re

    from gauntlet.adapters.column_facts import facts_of
    from gauntlet.core.draft import Roles
    from gauntlet.core.draft import draft as written
    from gauntlet.core.spec import load_spec
    from gauntlet.settings import settings

    name = model or re.sub(r"\W+", "_", Path(data.rstrip("/*")).name.split(".")[0]).strip("_").lower()
    path = to or settings().models / f"{name}.yaml"
    roles = Roles(label, event_time, key, entity, weight, tuple(protected or ()), tuple(leave_out or ()))
    with exit_codes():
        if path.exists():
            raise SpecError(f"{path} exists; move it away, or name another file with --to")
        text = written(name, data, facts_of(data, settings().home / "scratch"), roles)
        write_file(path, text)
        try:
            load_spec(path)
        except SpecError:
            path.unlink()
            raise
    out.print(f"wrote {path}: {text.count('TODO')} lines want a person; then gauntlet run {name}", markup=False)


@app.command()
def schema(
    write: Annotated[Path | None, typer.Option("--write", help="Write it to this file.")] = None,
) -> None:
    """Print or write the JSON Schema of a spec, for editors."""
    from gauntlet.core.spec import json_schema

    text = json.dumps(json_schema(), indent=2, sort_keys=True) + "\n"
    if write is None:
        typer.echo(text, nl=False)
    else:
        with exit_codes():
            write_file(write, text)
        out.print(f"wrote {write}")


@app.command()
def diff(before: Path, after: Path, as_json: AsJson = False) -> None:
    """Show what differs between two specs; a loosened threshold is called by its name."""
    from gauntlet.core.spec import load_spec
    from gauntlet.core.spec_diff import differences

    with exit_codes():
        changes = differences(load_spec(before), load_spec(after))
    if as_json:
        show_json([change.__dict__ for change in changes])
        return
    show_table(
        "Changes",
        ("key", "before", "after", "meaning"),
        [(change.key, change.before, change.after, change.meaning) for change in changes],
    )


def _files(paths: list[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        found += sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    return found
