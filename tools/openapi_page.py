"""Renders the OpenAPI document as one HTML page without scripts and external resources."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

Schema = Mapping[str, Any]

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --accent: #07734f; }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 4rem;
       overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; } h2 { margin-top: 2.5rem; } h3 { margin: 1.8rem 0 .5rem; }
code, pre { font: .875em/1.5 ui-monospace, monospace; }
code { background: var(--soft); border-radius: .25em; padding: .1em .25em; }
pre { background: var(--soft); border: 1px solid var(--line); border-radius: .3rem; padding: .8rem;
      white-space: pre-wrap; }
.method { color: #fff; background: var(--accent); border-radius: .3rem; padding: .1rem .5rem; font-size: .85em; }
dl { margin: 0; border-top: 1px solid var(--line); }
dl > div { display: grid; grid-template-columns: minmax(9rem, 16rem) 1fr; gap: 0 1rem; padding: .45rem 0;
           border-bottom: 1px solid var(--line); }
dd { margin: 0; } small { opacity: .75; display: block; }
@media (max-width: 36rem) { dl > div { grid-template-columns: 1fr; row-gap: .15rem; } body { padding-top: .8rem; }
                            pre { font-size: .75em; padding: .6rem; } }
"""


def page(document: Schema) -> str:
    """The whole page, made from the document alone."""
    title = escape(document["info"]["title"])
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n'
        f"<body>\n<main>\n{section(document)}\n</main>\n</body>\n</html>\n"
    )


def section(document: Schema, level: int = 1) -> str:
    """The contents of the page, for use in other pages; the title is a heading of this level."""
    info, schemes = document["info"], document["components"]["securitySchemes"]
    title, part = f"h{level}", f"h{level + 1}"
    parts = [
        f'<{title} id="api">{escape(info["title"])}</{title}>',
        *(f"<p>{_marked(paragraph)}</p>" for paragraph in info["description"].split("\n\n")),
        f'<{part} id="senders">Who may send requests</{part}>',
        _rows((scheme, "", found["description"]) for scheme, found in schemes.items()),
        *_operations(document, level + 1),
        f'<{part} id="bodies">Request and response bodies</{part}>',
        *_schemas(document["components"]["schemas"], level + 2),
        '<p>The machine-readable document: <a href="openapi.json">openapi.json</a></p>',
    ]
    return "\n".join(parts)


def _operations(document: Schema, level: int) -> Iterator[str]:
    whole, part = f"h{level}", f"h{level + 1}"
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            heading = f'<span class="method">{method.upper()}</span> <code>{escape(path)}</code>'
            id_ = f"operation-{escape(operation['operationId'])}"
            yield f'<{whole} id="{id_}">{heading} {escape(operation["summary"])}</{whole}>'
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                yield f"<{part}>Body: <code>{escape(kind)}</code></{part}><p>{_type(content['schema'])}</p>"
                if "example" in content:
                    yield f"<pre>{escape(json.dumps(content['example'], indent=2, ensure_ascii=False))}</pre>"
            yield f"<{part}>Parameters</{part}>"
            yield _rows(
                (p["name"], "required" if p["required"] else "", p["description"]) for p in operation["parameters"]
            )
            yield f"<{part}>Answers</{part}>"
            answers = operation["responses"].items()
            yield _rows((status, escape(", ".join(a.get("headers", ()))), a["description"]) for status, a in answers)


def _schemas(schemas: Schema, level: int) -> Iterator[str]:
    for name, schema in schemas.items():
        if "properties" not in schema and "items" not in schema:
            continue
        yield f'<h{level} id="{escape(name)}">{escape(name)}</h{level}>'
        yield f"<p>{_marked(schema.get('description', '')) or _type(schema)}</p>"
        required = schema.get("required", ())
        rows = [
            (field, f"{_type(found)}{', required' if field in required else ''}", found.get("description", ""))
            for field, found in schema.get("properties", {}).items()
        ]
        if rows:
            yield _rows(rows)


def _rows(rows: Iterable[tuple[str, str, str]]) -> str:
    """A list of names, each with its kind (markup) and meaning."""
    lines = (
        f"<div><dt><code>{escape(name)}</code><small>{kind}</small></dt><dd>{_marked(meaning)}</dd></div>"
        for name, kind, meaning in rows
    )
    return f"<dl>{''.join(lines)}</dl>"


def _type(schema: Schema) -> str:
    """The type of a value in a few words; references become links."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rsplit("/", 1)[-1])
        return "any JSON" if name == "JsonValue" else f'<a href="#{name}">{name}</a>'
    if "const" in schema:
        return f"<code>{escape(json.dumps(schema['const']))}</code>"
    if choices := schema.get("anyOf"):
        return " or ".join(_type(choice) for choice in choices)
    kind = str(schema.get("format") or schema.get("type") or "any JSON")
    if kind == "array":
        most = f" (at most {schema['maxItems']})" if "maxItems" in schema else ""
        return f"list of {_type(schema['items'])}{most}"
    return escape(kind)


def _marked(text: str) -> str:
    """Escape a text and mark up its `code`."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
