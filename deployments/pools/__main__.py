"""``python -m deployments.pools FILE``: prints the base job template of a work pool, for `prefect work-pool create`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import ValidationError

from deployments.pools.template import Pool


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the base job template of a file.

    Returns:
        The exit code: 0 success, 2 the file cannot be read or is not valid.
    """
    parser = argparse.ArgumentParser(prog="python -m deployments.pools", description=__doc__)
    parser.add_argument("file", type=Path, help="file that declares a pool, such as deployments/pools/docker.yaml")
    file = parser.parse_args(arguments).file
    try:
        pool = Pool.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
    except ValidationError as error:
        for wrong in error.errors(include_url=False):
            print(f"{file}: {'.'.join(map(str, wrong['loc']))} {wrong['msg']}", file=sys.stderr)
        return 2
    except (OSError, yaml.YAMLError) as error:
        print(f"{file}: {error}", file=sys.stderr)
        return 2
    print(json.dumps(pool.template(), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
