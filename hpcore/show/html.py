"""Pages that stand by themselves: a template, the styles and scripts beside it, and data.

Nothing is loaded from elsewhere, and a page may not even ask for it: its own policy lets run
the scripts that stand here, which it knows by their hashes. What comes from a log is data;
no text of a guest's or a user's is ever read as HTML or as a program.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import jinja2
import orjson
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from hpcore.version import __version__


@cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("hpcore.show", "page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )


def page(template: str, scripts: Sequence[str], data: object, **words: Any) -> str:
    """The page `template` with `scripts`, which find `data` as JSON in the element "data"."""
    environment = _templates()
    script = "\n".join(_source(environment, name) for name in ("dom.js", *scripts))
    style = _source(environment, "style.css")
    fields: Mapping[str, Any] = {
        "script": _trusted(f"\n{script}"),
        "style": _trusted(f"\n{style}"),
        "script_hash": _hash(f"\n{script}"),
        "style_hash": _hash(f"\n{style}"),
        "data": htmlsafe_json_dumps(data, dumps=_dumps),
        "version": __version__,
    }
    return environment.get_template(template).render(**fields, **words)


def _dumps(data: object, **_: Any) -> str:
    return orjson.dumps(data).decode()


def _source(environment: jinja2.Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _trusted(text: str) -> Markup:
    """A file of ours, which is not escaped."""
    return Markup(text)


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256-" + base64.b64encode(digest).decode()
